package integration_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
	"github.com/gatewire/gatewire/session"
)

// What a client sends over its socket is use of its session; that it listens isn't.
func TestS6_TalkingOnASocketIsUse(t *testing.T) {
	for name, talks := range map[string]bool{"S6 talking": true, "S6 listening": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const origin = "https://app.example"
				m, err := session.New[struct{}](session.NewMemoryStore(nil), &session.Options{TrustedOrigins: []string{origin}})
				require.NoError(t, err)
				echo := func(_ context.Context, _ *realtime.Conn, data json.RawMessage) (json.RawMessage, error) {
					return data, nil
				}
				hub, err := realtime.New(origin, realtime.Via(m.Authenticate), m, nil, &realtime.Options{RPC: map[string]realtime.RPCFunc{"echo": echo}})
				require.NoError(t, err)
				mux := http.NewServeMux()
				mux.Handle("/realtime", hub)
				mux.HandleFunc("POST /sign-in", func(w http.ResponseWriter, r *http.Request) {
					if err := m.Login(w, r, "ann"); err != nil {
						t.Error(err)
					}
				})
				server := realtimetest.Serve(m.Handler(mux))
				defer func() {
					server.Close()
					require.NoError(t, hub.Close())
					require.NoError(t, m.Close())
				}()
				res, err := server.Client().Post("http://app.example/sign-in", "", nil)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				signedIn := time.Now()
				c, err := server.Dial(t.Context(), "/realtime", http.Header{"Cookie": {res.Cookies()[0].Name + "=" + res.Cookies()[0].Value}})
				require.NoError(t, err)
				_, err = c.Connect(t.Context(), "")
				require.NoError(t, err)
				for talks && time.Since(signedIn) < 3*time.Hour {
					time.Sleep(10 * time.Minute)
					_, err := c.RPC(t.Context(), "echo", json.RawMessage(`1`))
					require.NoError(t, err, "after %v", time.Since(signedIn))
				}
				silent := time.Now()
				for c.Live() {
					time.Sleep(time.Second)
				}
				code, reason, err := c.Closed(t.Context())
				require.NoError(t, err)
				require.Equal(t, 4501, code)
				require.Equal(t, "expired", reason)
				// It is the reaper that finds it, once a minute.
				require.InDelta(t, 30*time.Minute, time.Since(silent), float64(61*time.Second))
			})
		})
	}
}
