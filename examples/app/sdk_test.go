package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/chrome"
	"github.com/gatewire/gatewire/realtime"
)

// npmInstall installs packages, by exact version, into a folder of the test.
// Where that fails, as without a network, the test is skipped like for a tool
// that is not installed.
func npmInstall(t *testing.T, packages ...string) (dir string) {
	t.Helper()
	npm := chrome.Tool(t, "", "npm")
	dir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	args := append([]string{"install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir}, packages...)
	out, err := exec.CommandContext(ctx, npm, args...).CombinedOutput()
	if err != nil && os.Getenv("GATEWIRE_REQUIRE_TOOLS") != "1" {
		t.Skipf("npm install: %v", err)
	}
	require.NoError(t, err, "npm install:\n%s", out)
	return dir
}

// runSDK runs a script of testdata beside Centrifuge's official SDK, as it is
// published, and requires so many lines that say ok.
func runSDK(t *testing.T, name, url string, lines int) {
	t.Helper()
	node := chrome.Tool(t, "", "node")
	dir := npmInstall(t, "centrifuge@5.8.0", "ws@8.23.0")
	script, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	path := filepath.Join(dir, name) // beside its modules
	require.NoError(t, os.WriteFile(path, script, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, path, url).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	require.Equal(t, lines, strings.Count(string(out), "ok "), "%s", out)
}

func TestR17_JavaScriptSDK(t *testing.T) {
	runSDK(t, "sdk.mjs", start(t).url, 11)
}

// The app's access tokens live for minutes; these live for three seconds.
func TestR17_JavaScriptSDKRefreshes(t *testing.T) {
	t.Parallel()
	h := newTokenHub(t, "https://app.example", 3*time.Second, &realtime.Options{}, inRoom)
	server := httptest.NewServer(h.mux)
	t.Cleanup(server.Close)
	runSDK(t, "sdk_refresh.mjs", server.URL, 3)
}

// What the server does of its own accord: subscriptions, messages, refusals for
// now, moving, taking rights away.
func TestR17_JavaScriptSDKServerSide(t *testing.T) {
	t.Parallel()
	var down, barred atomic.Bool
	h := newTokenHub(t, "https://app.example", 10*time.Minute, &realtime.Options{
		Subscribe: func(who realtime.Identity) []string { return []string{"user:" + who.UserID()} },
	}, func(_ context.Context, _ realtime.Identity, channel string) (realtime.Grant, error) {
		switch {
		case down.Load():
			return realtime.Grant{}, errors.New("the database is down")
		case barred.Load():
			return realtime.Grant{}, realtime.ErrDenied
		}
		return realtime.Grant{Publish: true, Recover: true}, nil
	})
	do := func(name string, f func(r *http.Request) error) {
		h.mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			if err := f(r); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	do("say", func(r *http.Request) error {
		return h.Publish(r.Context(), r.FormValue("channel"), json.RawMessage(r.FormValue("data")))
	})
	do("tell", func(r *http.Request) error {
		return h.SendUser(r.Context(), "ada", json.RawMessage(r.FormValue("data")))
	})
	do("down", func(r *http.Request) error { down.Store(r.FormValue("is") == "true"); return nil })
	do("bar", func(r *http.Request) error { barred.Store(true); return h.Reauthorize(r.Context(), "ada") })
	do("drain", func(r *http.Request) error { return h.Drain(r.Context()) })
	server := httptest.NewServer(h.mux)
	t.Cleanup(server.Close)
	runSDK(t, "sdk_server.mjs", server.URL, 7)
}
