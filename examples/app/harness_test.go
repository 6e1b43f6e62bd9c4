package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// binary builds the program once for all tests that run it as a process.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gatewire-app")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	name := filepath.Join(dir, "app")
	out, err := exec.Command("go", "build", "-race", "-o", name, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

// binaryDir is where binary has put it; empty while no test has asked.
var binaryDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

// process is the program under test, running on a free port.
type process struct {
	url string
	cmd *exec.Cmd

	mu  sync.Mutex
	log bytes.Buffer
}

// start runs the program with ADDR=127.0.0.1:0, a database of its own in a
// temporary folder, and env ("NAME=value") on top; it ends with the test.
func start(t *testing.T, env ...string) *process {
	t.Helper()
	name, err := binary()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(name)}
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append([]string{"ADDR=127.0.0.1:0", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	p.cmd.Stderr = p
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		log := p.logged()
		if t.Failed() {
			t.Logf("log of the program:\n%s", log)
		}
		if strings.Contains(log, "DATA RACE") {
			t.Errorf("data race in the program:\n%s", log)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "the program ended: %s", p.logged())
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, ok, "first line on stdout: %q", line)
	p.url = url
	return p
}

// Write collects what the program logs.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// kill ends the program as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// browser is an HTTP client with cookies.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &http.Client{Jar: jar, Timeout: 30 * time.Second}
}

// call sends body as JSON (nil: none) and returns the status and the decoded answer.
func call(t *testing.T, c *http.Client, method, url string, body any) (int, map[string]any) {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		require.NoError(t, err)
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, r)
	require.NoError(t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	var out map[string]any
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	if len(raw) > 0 && strings.Contains(res.Header.Get("Content-Type"), "json") {
		require.NoError(t, json.Unmarshal(raw, &out), "%s", raw)
	}
	return res.StatusCode, out
}

type object = map[string]any

// signUp registers email with a good password.
func signUp(t *testing.T, c *http.Client, url, email string) object {
	t.Helper()
	status, out := call(t, c, "POST", url+"/auth/register", object{"email": email, "password": goodPassword, "name": strings.Split(email, "@")[0]})
	require.Equal(t, http.StatusCreated, status, "%v", out)
	return out
}

const goodPassword = "violet harbour sings at noon"

// interrupt is what Ctrl-C sends.
const interrupt = syscall.SIGINT
