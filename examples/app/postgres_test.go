package main

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/pgtest"
)

var secretKeys = "SECRET_KEYS=k1:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))

// postgres starts a server for this test. Without PostgreSQL it skips the
// test, or fails it under make test.
func postgres(t *testing.T) *pgtest.Server {
	t.Helper()
	server, err := pgtest.Start()
	child.Require(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return server
}

// Two processes that start at once on one empty database: who signed up at one
// is known at the other, and who signs out at one is out at the other. Neither
// kill -9 nor a restart of the server loses what was answered.
func TestTwoProcessesOnPostgres(t *testing.T) {
	server := postgres(t)
	env := []string{"DATABASE_URL=" + server.URL(), secretKeys}
	one, two := start(t, env...), start(t, env...)
	ada, eve := browser(t), browser(t) // cookies don't care about ports
	signUp(t, ada, one.url, "ada@example.org")
	signUp(t, eve, two.url, "eve@example.org")
	for _, p := range []*process{one, two} {
		status, me := call(t, ada, "GET", p.url+"/auth/me", nil)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "ada@example.org", me["user"].(object)["email"])
	}
	status, _ := call(t, ada, "POST", two.url+"/auth/logout", object{})
	require.Less(t, status, 300)
	status, _ = call(t, ada, "GET", one.url+"/auth/me", nil)
	require.Equal(t, http.StatusUnauthorized, status)

	one.kill()
	require.NoError(t, server.Crash())
	status, _ = call(t, eve, "GET", two.url+"/auth/me", nil)
	require.Equal(t, http.StatusServiceUnavailable, status, "neither signed in nor signed out")
	require.NoError(t, server.Run())
	one = start(t, env...)
	for _, p := range []*process{one, two} {
		// The pool finds out about each broken connection by using it.
		require.Eventually(t, func() bool {
			status, _ = call(t, eve, "GET", p.url+"/auth/me", nil)
			return status != http.StatusServiceUnavailable
		}, 20*time.Second, 50*time.Millisecond, "heals without a restart")
		require.Equal(t, http.StatusOK, status)
	}
	status, _ = call(t, ada, "POST", one.url+"/auth/login", object{"email": "ada@example.org", "password": goodPassword})
	require.Equal(t, http.StatusOK, status)
}

// A database that can't be had stops the program with one line that says why,
// without the password.
func TestPostgresOutOfReach(t *testing.T) {
	server := postgres(t)
	name, err := binary()
	require.NoError(t, err)
	good, err := url.Parse(server.URL())
	require.NoError(t, err)
	password, _ := good.User.Password()
	change := func(f func(*url.URL)) string {
		u := *good
		f(&u)
		return u.String()
	}
	for what, tc := range map[string]struct{ url, want string }{
		"nobody there":   {change(func(u *url.URL) { u.Host = "127.0.0.1:1" }), "DATABASE_URL: PostgreSQL at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		"no such host":   {change(func(u *url.URL) { u.Host = "nowhere.invalid" }), "DATABASE_URL: PostgreSQL at nowhere.invalid:5432: "},
		"wrong password": {change(func(u *url.URL) { u.User = url.UserPassword("gatewire", password+"x") }), "password authentication failed for user \"gatewire\""},
		"no such name":   {change(func(u *url.URL) { u.Path = "/nothing" }), "database \"nothing\" does not exist"},
		"no encryption":  {change(func(u *url.URL) { u.RawQuery = "sslmode=require" }), "refused TLS"},
	} {
		t.Run(what, func(t *testing.T) {
			cmd := exec.Command(name)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{"ADDR=127.0.0.1:0", "DATABASE_URL=" + tc.url, secretKeys}
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(out), tc.want)
			require.Equal(t, 1, strings.Count(string(out), "\n"), "%s", out)
			require.NotContains(t, string(out), password)
		})
	}
}

// Processes on one database count guesses together, whichever it is.
func TestA2_ProcessesCountGuessesTogether(t *testing.T) {
	for name, database := range map[string]func(*testing.T) string{
		"PostgreSQL": func(t *testing.T) string { return postgres(t).URL() },
		"SQLite":     func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "app.db") },
	} {
		t.Run(name, func(t *testing.T) {
			env := []string{"DATABASE_URL=" + database(t), secretKeys}
			one, two := start(t, env...), start(t, env...)
			signUp(t, browser(t), one.url, "ada@example.org")
			guess := func(p *process) int {
				status, _ := call(t, browser(t), "POST", p.url+"/auth/login", object{"email": "ada@example.org", "password": "a guess"})
				return status
			}
			for range 15 {
				require.Equal(t, http.StatusUnauthorized, guess(one))
				require.Equal(t, http.StatusUnauthorized, guess(two))
			}
			require.Equal(t, http.StatusTooManyRequests, guess(one))
			require.Equal(t, http.StatusTooManyRequests, guess(two))
		})
	}
}
