// Package site is what the examples of package realtime share: guests who sign in
// by a name alone, pages with their headers, and a server until it is interrupted.
package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/client"
	"github.com/gatewire/gatewire/session"
)

// Build makes an example's own part on a site. The hub it returns is closed by
// the site; ctx ends with the site.
type Build func(ctx context.Context, s *Site) (*realtime.Hub, error)

// Site is a server on loopback with guests.
type Site struct {
	Origin   string // as "http://127.0.0.1:8080"
	Sessions *session.Manager[Guest]
	Mux      *http.ServeMux
	Server   *http.Server
	Listener net.Listener

	tasks sync.WaitGroup
}

// Go runs what ends with the context given to [Build]; the site waits for it.
func (s *Site) Go(f func()) { s.tasks.Go(f) }

// Main is the main function of the example called name, whose page is
// web/index.html. It listens on port 8080, or on another that is free.
func Main(name string, web fs.FS, build Build) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := func() error {
		l, err := net.Listen("tcp", "127.0.0.1:8080")
		if errors.Is(err, syscall.EADDRINUSE) {
			l, err = net.Listen("tcp", "127.0.0.1:0")
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s: open http://%s\n", name, l.Addr())
		return Serve(ctx, l, name, web, build)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Serve serves an example on l until ctx ends, and closes l.
func Serve(ctx context.Context, l net.Listener, name string, web fs.FS, build Build) error {
	defer l.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	// A real site has its public origin in its configuration, never taken from a request.
	origin := "http://" + l.Addr().String()
	sessions, err := session.New[Guest](session.NewMemoryStore(nil), &session.Options{
		TrustedOrigins: []string{origin},
		Cookie: session.Cookie{
			Name:     name, // cookies don't tell ports apart: one for each example on this machine
			Insecure: strings.HasPrefix(origin, "http://"),
		},
	})
	if err != nil {
		return err
	}
	defer sessions.Close()

	s := &Site{
		Origin: origin, Sessions: sessions, Mux: http.NewServeMux(), Listener: l,
		Server: &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10},
	}
	pages, err := newPages(name, web, sessions)
	if err != nil {
		return err
	}
	pages.mount(s.Mux)
	s.Mux.Handle("GET /client/", client.Handler())
	hub, err := build(ctx, s)
	defer s.tasks.Wait()
	defer stop()
	if err != nil {
		return err
	}
	defer hub.Close()
	s.Server.Handler = hardened(origin, sessions.Handler(s.Mux))

	stopped := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = hub.Drain(grace) // sockets are told to come back
		if s.Server.Shutdown(grace) != nil {
			_ = s.Server.Close()
		}
	})
	if err := s.Server.Serve(s.Listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped // Serve returns while answers are still under way
	return nil
}

// csp lets the page load this origin's own files alone, and be in no frame;
// scripts may not make markup of text.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// hardened sets what every response carries, and serves under one name alone:
// what comes under another, as localhost, is sent to the right one, and what
// isn't a plain request for a page is refused.
func hardened(origin string, next http.Handler) http.Handler {
	host := strings.TrimPrefix(origin, "http://")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer a form's Origin is null, and refused
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		switch {
		case r.Host == host:
			next.ServeHTTP(w, r)
		case r.Method == http.MethodGet && r.URL.Path == "/":
			http.Redirect(w, r, origin+"/", http.StatusTemporaryRedirect)
		default:
			http.Error(w, "not served under this name", http.StatusMisdirectedRequest)
		}
	})
}
