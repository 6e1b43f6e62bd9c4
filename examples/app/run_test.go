package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pipes is a listener in memory, so that its deadlines go by the test's clock.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A body that trickles in is cut off: it would keep a connection for ever.
func TestSlowBodyIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		server := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			ended <- err
		}), slog.New(slog.DiscardHandler))
		listener := make(pipes, 1)
		go func() { _ = server.Serve(listener) }()
		client, conn := net.Pipe()
		listener <- conn
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(io.Discard, client) })
		wg.Go(func() {
			_, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			for err == nil {
				time.Sleep(time.Second)
				_, err = client.Write([]byte(" "))
			}
		})
		begin := time.Now()
		require.Error(t, <-ended)
		require.Less(t, time.Since(begin), time.Minute)
		_ = client.Close()
		close(listener)
		_ = server.Close()
		wg.Wait()
	})
}

// The redirect to the configured name goes there whatever the request line is.
func TestLoopbackRedirectStaysHere(t *testing.T) {
	const base = "http://127.0.0.1:8080"
	h := oneLoopbackName(base, http.NotFoundHandler())
	for target, want := range map[string]string{
		"/a%2fb?c=d":           base + "/a%2fb?c=d",
		"//evil.example/":      base + "//evil.example/",
		"http:@evil.example/":  base,
		"x:.evil.example/":     base,
		"http://localhost/a@b": base + "/a@b",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		var err error
		r.URL, err = url.ParseRequestURI(target)
		require.NoError(t, err)
		r.Host = "localhost:8080"
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, want, w.Header().Get("Location"), target)
	}
}
