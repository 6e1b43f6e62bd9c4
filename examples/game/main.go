// Command game is a small game for several players: run after the gems, and see
// the others do so. The server alone decides who is where.
//
//	go run ./examples/game
//
// Then open the address it prints, in two windows (a private one for a player of
// another name), and use the arrow keys, WASD or a finger. The page sends inputs;
// the server applies them, and tells everybody 20 times a second how the world is.
// world.go has the rules.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"time"

	"github.com/gatewire/gatewire/examples/internal/site"
	"github.com/gatewire/gatewire/realtime"
)

//go:embed web
var web embed.FS

const tick = 50 * time.Millisecond // and game.js has it

func main() { site.Main("game", web, build) }

func build(ctx context.Context, s *site.Site) (*realtime.Hub, error) { return play(ctx, s, newWorld()) }

// play makes the hub, and has the world go on until ctx ends. There are no
// channels: every connection is a player, and all are in one group.
func play(ctx context.Context, s *site.Site, w *world) (*realtime.Hub, error) {
	rules, err := json.Marshal(map[string]any{"rules": map[string]int{
		"width": width, "height": height, "radius": radius, "gem": gemRadius, "straight": straight, "diagonal": diagonal,
	}})
	if err != nil {
		return nil, err
	}
	var players *realtime.Group
	hub, err := realtime.New(s.Origin, realtime.Via(s.Sessions.Authenticate), s.Sessions, nil, &realtime.Options{
		OnConnect: func(ctx context.Context, c *realtime.Conn) (json.RawMessage, error) {
			if err := c.Send(rules); err != nil {
				return nil, err
			}
			if err := players.Add(c); err != nil {
				return nil, err
			}
			return nil, w.join(c.ID(), s.Name(ctx, c.Identity()))
		},
		// What isn't an input, as one with a position in it, ends the connection.
		OnMessage: realtime.Receive(func(_ context.Context, c *realtime.Conn, in input) { w.steer(c.ID(), in) }),
		OnClose:   func(c *realtime.Conn, _ int, _ string) { w.leave(c.ID()) },

		MaxMessage:     256,
		CommandsPerSec: 60,
		MaxPerUser:     4,
	})
	if err != nil {
		return nil, err
	}
	// Each snapshot is the whole truth, so that a slow reader needs the newest alone.
	players, err = hub.NewGroup(&realtime.GroupOptions{Overflow: realtime.Latest})
	if err != nil {
		return nil, err
	}
	s.Go(func() { _ = players.Tick(ctx, tick, w.advance) }) // until the site ends
	s.Mux.Handle("/realtime", hub)
	return hub, nil
}
