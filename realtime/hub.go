package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// Hub is the realtime endpoint: an http.Handler that takes WebSocket
// connections, and the methods that reach them. Its methods may be called
// concurrently.
type Hub struct {
}

// New makes a hub for the site at origin, as "https://app.example". It starts
// the goroutines that watch the sessions; Close ends them.
func New(origin string, a Authenticator, s Sessions, rules Rules, o *Options) (*Hub, error) {
	return nil, errors.New("realtime: not finished")
}

// ServeHTTP takes a WebSocket handshake. It returns once the connection is
// made; the connection lives on.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {}

// Publish sends data, which must be JSON, to everyone in channel.
func (h *Hub) Publish(ctx context.Context, channel string, data json.RawMessage) error { return nil }

// SendUser sends data, which must be JSON, to every connection of a user on
// this hub, outside any channel.
func (h *Hub) SendUser(ctx context.Context, userID string, data json.RawMessage) error { return nil }

// EndSession closes the sockets of a session on this hub with 4501.
func (h *Hub) EndSession(ctx context.Context, sessionID, reason string) error { return nil }

// EndUser closes the sockets of a user on this hub with 4501.
func (h *Hub) EndUser(ctx context.Context, userID, reason string) error { return nil }

// Reauthorize asks the rules again for every channel a user's connections on
// this hub are in. Call it when the user's rights have changed.
func (h *Hub) Reauthorize(ctx context.Context, userID string) error { return nil }

// Drain refuses new connections and tells those there are to move, spread over
// [Options.DrainWindow]. It returns when all are gone or ctx ends.
func (h *Hub) Drain(ctx context.Context) error { return nil }

// Close closes what is left at once and ends all goroutines.
func (h *Hub) Close() error { return nil }
