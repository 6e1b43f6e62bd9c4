package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gatewire/gatewire/internal/origin"
)

const (
	drainAtLeast = time.Second     // so that a load balancer sees the 503
	drainAtMost  = 8 * time.Second // the process ends within 10
	closeAtMost  = time.Second     // of which this is for what is left
)

// run is the program: it serves until ctx ends, drains, and returns. The first
// line on stdout is the address.
func run(ctx context.Context, getenv func(string) string, stdout, stderr io.Writer) error {
	cfg, err := readConfig(getenv)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: cfg.logLevel}))

	listener, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return fmt.Errorf("ADDR: %w", err)
	}
	defer listener.Close()
	if cfg.baseURL == "" {
		if cfg.baseURL, err = origin.Parse("http://" + listener.Addr().String()); err != nil {
			return fmt.Errorf("BASE_URL: %w", err)
		}
	}
	a, err := newApp(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closeWithin(closeAtMost, a, log)

	server := newServer(a, log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "listening on http://%s\n", listener.Addr())
	log.Info("serving", "url", cfg.baseURL)

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	return drain(a, server, log)
}

// closeWithin closes an app and says what went wrong. One that takes longer, as
// while a store hangs, ends with the process.
func closeWithin(limit time.Duration, a io.Closer, log *slog.Logger) {
	closed := make(chan error, 1)
	go func() { closed <- a.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			log.Warn("closing", "err", err)
		}
	case <-time.After(limit):
		log.Warn("not everything was closed in time")
	}
}

// newServer bounds how long a client may take to send a request; an upgraded
// connection is its handler's own and has no deadline.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// drain refuses new work, tells the sockets to move, and waits for what is
// under way. The listener stays open meanwhile, so that health checks see it.
func drain(a *app, server *http.Server, log *slog.Logger) error {
	log.Info("draining")
	a.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), drainAtMost)
	defer cancel()
	seen := time.After(drainAtLeast)
	if err := a.hub.Drain(ctx); err != nil {
		log.Warn("some sockets did not move in time", "err", err)
	}
	<-seen
	if err := server.Shutdown(ctx); err != nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		log.Warn("some requests did not end in time")
		return server.Close()
	}
	return nil
}
