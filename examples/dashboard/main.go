// Command dashboard shows 200 machines whose load changes all the time, twice on one
// page: live, by a conflated board, and by polling. Between the two stands what each
// costs, measured: bytes, requests, and how late a change is seen.
//
//	go run ./examples/dashboard
//
// Then open the address it prints. README.md has the figures of one run.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gatewire/gatewire/examples/internal/site"
	"github.com/gatewire/gatewire/realtime"
)

//go:embed web
var web embed.FS

const (
	channel = "board:machines"
	every   = 200 * time.Millisecond // at most so often the board is sent
)

func main() {
	site.Main("dashboard", web, func(ctx context.Context, s *site.Site) (*realtime.Hub, error) {
		p := newPlant()
		hub, err := show(s, p)
		if err == nil {
			s.Go(func() { p.run(ctx) })
		}
		return hub, err
	})
}

// show serves a plant, live and to those who poll.
func show(s *site.Site, p *plant) (*realtime.Hub, error) {
	hub, err := realtime.New(s.Origin, realtime.Via(s.Sessions.Authenticate), s.Sessions, realtime.Rules{
		"board:": mayWatch,
	}, &realtime.Options{
		// The newest board is all there is to keep: who comes, comes back or is slow gets that one.
		Channels: map[string]realtime.Channel{
			"board:": {HistorySize: 1, HistoryTTL: time.Hour, Overflow: realtime.Latest},
		},
		RPC: map[string]realtime.RPCFunc{
			// For the page to know how old a change is, whatever its own clock says.
			"clock": realtime.Reply(func(context.Context, *realtime.Conn, struct{}) (float64, error) { return p.clock(), nil }),
		},
		MaxMessage:     1 << 10,
		CommandsPerSec: 20,
	})
	if err != nil {
		return nil, err
	}
	if p.board, err = hub.NewBoard(channel, every); err != nil {
		_ = hub.Close()
		return nil, err
	}

	m := newMeter(s)
	s.Mux.HandleFunc("/realtime", func(w http.ResponseWriter, r *http.Request) {
		if who, err := s.Sessions.Authenticate(r); err == nil {
			m.charge(r, &m.of(who.SessionID()).Live)
		}
		hub.ServeHTTP(w, r) // which refuses who is nobody
	})
	s.Mux.HandleFunc("GET /machines.json", forGuests(s, func(w http.ResponseWriter, r *http.Request, session string) {
		m.charge(r, &m.of(session).Polling)
		answer(w, p.all())
	}))
	s.Mux.HandleFunc("GET /figures.json", forGuests(s, func(w http.ResponseWriter, _ *http.Request, session string) {
		answer(w, m.of(session))
	}))
	return hub, nil
}

// mayWatch lets every guest read the board, and nobody else write it.
func mayWatch(_ context.Context, _ realtime.Identity, name string) (realtime.Grant, error) {
	if name != channel {
		return realtime.Grant{}, realtime.ErrUnknownChannel
	}
	return realtime.Grant{Recover: true}, nil
}

// forGuests refuses who isn't signed in, and passes on which session it is.
func forGuests(s *site.Site, next func(w http.ResponseWriter, r *http.Request, session string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := s.Sessions.Authenticate(r)
		if err != nil {
			http.Error(w, "sign in first", http.StatusUnauthorized)
			return
		}
		next(w, r, who.SessionID())
	}
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // only a client that went away fails it
}
