package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/story"
	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

// The whole promise in one test: sign in with a provider, open a socket with
// that sign-in, sign out, and the socket is closed.
func TestSignInSocketSignOut(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	origin := "http://" + listener.Addr().String()
	op := oidctest.NewServer(t, &oidctest.Options{RedirectURIs: []string{origin + "/auth/google/callback"}, AutoPick: true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, listener, origin, oidc.Generic(op.Issuer(), op.ClientID(), op.ClientSecret()))
	}()
	defer func() {
		cancel()
		require.NoError(t, <-served)
	}()

	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar}
	res, err := browser.Get(origin + "/") // to the provider and back
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(body), "Hello, "), "%s", body)

	_, _, err = websocket.Dial(ctx, origin+"/realtime", &websocket.DialOptions{HTTPClient: browser, HTTPHeader: http.Header{"Origin": {"https://evil.example"}}})
	require.Error(t, err, "another origin's page may not use the cookie")

	story.Socket(t, browser, origin, func() {
		req, err := http.NewRequestWithContext(ctx, "POST", origin+"/logout", nil)
		require.NoError(t, err)
		req.Header.Set("Origin", origin)
		res, err := browser.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, http.StatusNoContent, res.StatusCode)
	})
}

// What the README shows is what this program runs, and an example of realtime.
func TestReadmeShowsThisProgram(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	program, err := os.ReadFile("main.go")
	require.NoError(t, err)
	example, err := os.ReadFile("../../realtime/example_conn_test.go")
	require.NoError(t, err)
	code := strings.ReplaceAll(string(program)+string(example), "\n\t", "\n")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.Len(t, blocks, 3)
	for _, b := range blocks {
		require.Contains(t, code, b[1])
	}
}
