package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What was answered is on disk: a kill -9 loses no account and no session.
func TestKillLosesNoAccountAndNoSession(t *testing.T) {
	db := "DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "app.db")
	first := start(t, db)
	c := browser(t)
	signUp(t, c, first.url, "ada@example.org")
	_, tokens := call(t, browser(t), "POST", first.url+"/auth/login", object{"email": "ada@example.org", "password": goodPassword, "mode": "token"})
	first.kill()

	// The same port, so that the cookie goes back.
	addr := strings.TrimPrefix(first.url, "http://")
	second := start(t, db, "ADDR="+addr)
	status, me := call(t, c, "GET", second.url+"/auth/me", nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ada@example.org", me["user"].(object)["email"])

	req, err := http.NewRequestWithContext(t.Context(), "GET", second.url+"/auth/me", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+tokens["access_token"].(string))
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode, "the signing key survived, sealed")

	status, _ = call(t, browser(t), "POST", second.url+"/auth/login", object{"email": "ada@example.org", "password": goodPassword})
	require.Equal(t, http.StatusOK, status)
}

func TestSigtermDrains(t *testing.T) {
	p := start(t)
	status, _ := call(t, browser(t), "GET", p.url+"/healthz", nil)
	require.Equal(t, http.StatusOK, status)
	begin := time.Now()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		res, err := http.Get(p.url + "/healthz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusServiceUnavailable
	}, 2*time.Second, 10*time.Millisecond, "healthz says 503 while draining")
	res, err := http.Get(p.url + "/auth/me")
	if err == nil {
		res.Body.Close()
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode, "new work is refused")
	}
	require.NoError(t, p.cmd.Wait(), "the program ends by itself, without an error")
	require.Less(t, time.Since(begin), 10*time.Second)
}

func TestMalformedVariableStopsTheProgram(t *testing.T) {
	name, err := binary()
	require.NoError(t, err)
	cmd := exec.Command(name)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"ADDR=127.0.0.1:0", "REDIS_URL=localhost"}
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, `^REDIS_URL: want redis://[^\n]+\n$`, string(out))
	left, err := os.ReadDir(cmd.Dir)
	require.NoError(t, err)
	require.Empty(t, left, "nothing is written before the configuration is good")
}

// What can't be a database is said of DATABASE_URL, on one line, and gets no key.
func TestBadDatabaseStopsTheProgram(t *testing.T) {
	name, err := binary()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("no database ", 100)), 0o600))
	for _, file := range []string{"folder", "text", "none/app.db"} {
		cmd := exec.Command(name)
		cmd.Dir = dir
		cmd.Env = []string{"ADDR=127.0.0.1:0", "DATABASE_URL=sqlite:" + file}
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Regexp(t, `^DATABASE_URL: [^\n]+\n$`, string(out))
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "no key was made")
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	p := start(t, "ALLOWED_ORIGINS=https://spa.example")
	for path, want := range map[string]object{
		"/auth/none":  {"type": "not-found", "status": 404.0},
		"/auth/login": {"type": "method-not-allowed", "status": 405.0},
	} {
		status, body := call(t, browser(t), "GET", p.url+path, nil)
		delete(body, "title")
		require.Equal(t, want, body)
		require.EqualValues(t, want["status"], status)
	}
}
