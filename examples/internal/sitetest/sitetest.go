// Package sitetest runs the examples on package site in tests.
package sitetest

import (
	"context"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/chrome"
	"github.com/gatewire/gatewire/examples/internal/site"
	"github.com/gatewire/gatewire/realtime"
)

// Patience is for a machine that is busy with other things.
const Patience = 30 * time.Second

// Server is an example that runs until its test ends.
type Server struct {
	URL string

	mu      sync.Mutex
	sockets []net.Conn
}

// Start serves an example on a port of its own.
func Start(t *testing.T, name string, web fs.FS, build site.Build) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &Server{URL: "http://" + l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- site.Serve(ctx, l, name, web, func(ctx context.Context, on *site.Site) (*realtime.Hub, error) {
			hub, err := build(ctx, on)
			s.watch(on.Server)
			return hub, err
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-served:
			require.NoError(t, err)
		case <-time.After(Patience):
			t.Error("the example does not end")
		}
	})
	return s
}

// watch keeps the server's sockets.
func (s *Server) watch(server *http.Server) {
	own := server.ConnState
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if own != nil {
			own(c, state)
		}
		if state == http.StateHijacked {
			s.mu.Lock()
			s.sockets = append(s.sockets, c)
			s.mu.Unlock()
		}
	}
}

// Cut breaks all sockets, as a network does, and waits until these pages have
// noticed, however soon they are back.
func (s *Server) Cut(pages ...*chrome.Window) {
	for _, w := range pages {
		w.JS(`(() => {
			window.noticed = false;
			const pill = document.querySelector('#connection');
			new MutationObserver(() => { noticed ||= pill.dataset.state === 'connecting'; }).observe(pill, { attributes: true });
		})()`, nil)
	}
	s.mu.Lock()
	for _, c := range s.sockets {
		_ = c.Close()
	}
	s.sockets = nil
	s.mu.Unlock()
	for _, w := range pages {
		w.Until(Patience, "noticed")
	}
}

// SignIn gives a name, and waits for the example's page to be connected.
func SignIn(w *chrome.Window, name string) {
	w.Until(Patience, "document.querySelector('#name')")
	w.Type("#name", name)
	w.Click("button.primary")
	Connected(w)
}

// Connected waits for the page to say so.
func Connected(w *chrome.Window) {
	w.Until(Patience, "document.querySelector('#connection')?.dataset.state === 'connected'")
}

// Looks saves pictures of the window, of three widths, light and dark, and fails
// the test where something reaches beyond the screen.
func Looks(t *testing.T, w *chrome.Window, name string) {
	t.Helper()
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"wide", 1280, 800}, {"between", 820, 1180}, {"narrow", 390, 844}} {
		w.Resize(size.width, size.height)
		var wider int
		w.JS("document.documentElement.scrollWidth - document.documentElement.clientWidth", &wider)
		require.Zero(t, wider, "%s: nothing reaches beyond the screen's side", size.name)
		for _, scheme := range []string{"light", "dark"} {
			w.Scheme(scheme)
			w.Shot(name + "-" + size.name + "-" + scheme)
		}
	}
	w.Resize(1280, 800)
	w.Scheme("light")
}
