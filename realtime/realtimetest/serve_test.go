package realtimetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
	"github.com/gatewire/gatewire/session"
)

// host serves app, in a bubble or not.
func host(t *testing.T) (*realtimetest.Server, *session.Manager[struct{}], *realtime.Hub) {
	handler, sessions, hub, err := app()
	require.NoError(t, err)
	s := realtimetest.Serve(handler)
	t.Cleanup(func() {
		require.NoError(t, hub.Close())
		s.Close()
		s.Close() // again
		require.NoError(t, sessions.Close())
	})
	return s, sessions, hub
}

func joined(t *testing.T, s *realtimetest.Server, user string) *realtimetest.Client {
	t.Helper()
	c, err := join(t.Context(), s, user)
	require.NoError(t, err)
	return c
}

func code(t *testing.T, c *realtimetest.Client, within time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	code, _, err := c.Closed(ctx)
	require.NoError(t, err)
	return code
}

// What happens in hours on a clock, to a host's own handler.
func TestServeInFakeTime(t *testing.T) {
	bubble := func(name string, f func(t *testing.T, s *realtimetest.Server, sessions *session.Manager[struct{}], hub *realtime.Hub)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, sessions, hub := host(t)
				f(t, s, sessions, hub)
			})
		})
	}
	bubble("pings are answered", func(t *testing.T, s *realtimetest.Server, _ *session.Manager[struct{}], _ *realtime.Hub) {
		c := joined(t, s, "ann")
		time.Sleep(20 * time.Minute)
		require.True(t, c.Live())
	})
	bubble("one who answers none is closed", func(t *testing.T, s *realtimetest.Server, _ *session.Manager[struct{}], _ *realtime.Hub) {
		c := joined(t, s, "ann")
		c.Mute()
		start := time.Now()
		require.Equal(t, 3012, code(t, c, time.Minute))
		require.WithinDuration(t, start.Add(35*time.Second), time.Now(), time.Second)
	})
	bubble("revoked", func(t *testing.T, s *realtimetest.Server, sessions *session.Manager[struct{}], _ *realtime.Hub) {
		ann, bob := joined(t, s, "ann"), joined(t, s, "bob")
		_, err := sessions.RevokeUser(t.Context(), "ann", session.ReasonSignedOut)
		require.NoError(t, err)
		require.Equal(t, 4501, code(t, ann, time.Second))
		require.True(t, bob.Live())
	})
	bubble("a session at its end", func(t *testing.T, s *realtimetest.Server, _ *session.Manager[struct{}], _ *realtime.Hub) {
		c := joined(t, s, "ann")
		require.Equal(t, 4501, code(t, c, 1000*time.Hour))
	})
	bubble("drained", func(t *testing.T, s *realtimetest.Server, _ *session.Manager[struct{}], hub *realtime.Hub) {
		c := joined(t, s, "ann")
		require.NoError(t, hub.Drain(t.Context()))
		require.Equal(t, 3001, code(t, c, time.Second))
		_, err := s.Dial(t.Context(), "/realtime", nil)
		var refused *realtimetest.HandshakeError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, http.StatusServiceUnavailable, refused.Status)
	})
	bubble("gone without a goodbye", func(t *testing.T, s *realtimetest.Server, _ *session.Manager[struct{}], hub *realtime.Hub) {
		c := joined(t, s, "ann")
		c.Cut()
		require.Equal(t, 1006, code(t, c, time.Second))
		_, err := c.RPC(t.Context(), "x", nil)
		var end *realtimetest.CloseError
		require.ErrorAs(t, err, &end)
		start := time.Now()
		require.NoError(t, hub.Drain(t.Context()))
		require.Zero(t, time.Since(start), "the hub has noticed")
	})
	bubble("a goodbye", func(t *testing.T, s *realtimetest.Server, _ *session.Manager[struct{}], hub *realtime.Hub) {
		c := joined(t, s, "ann")
		start := time.Now()
		c.Close()
		require.Equal(t, 1000, code(t, c, time.Second))
		require.Zero(t, time.Since(start))
	})
	bubble("nothing comes", func(t *testing.T, s *realtimetest.Server, _ *session.Manager[struct{}], _ *realtime.Hub) {
		c := joined(t, s, "ann")
		start := time.Now()
		_, err := c.Next(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(start))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_, err = c.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 11*time.Minute, time.Since(start))
	})
	bubble("the server closed", func(t *testing.T, s *realtimetest.Server, _ *session.Manager[struct{}], _ *realtime.Hub) {
		c := joined(t, s, "ann")
		s.Close()
		require.Equal(t, 1006, code(t, c, time.Second))
		_, err := s.Dial(t.Context(), "/realtime", nil)
		require.Error(t, err)
	})
}

// everyone may do everything, in channels with a history.
func talkative(t *testing.T, change func(*realtime.Options)) (*realtimetest.Server, *realtime.Hub) {
	o := &realtime.Options{
		Channels: map[string]realtime.Channel{"room:": {HistorySize: 100, HistoryTTL: time.Hour}},
		RPC: map[string]realtime.RPCFunc{"echo": func(_ context.Context, _ *realtime.Conn, data json.RawMessage) (json.RawMessage, error) {
			return data, nil
		}},
		Info:   func(who realtime.Identity) json.RawMessage { return json.RawMessage(`"` + who.UserID() + `"`) },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(o)
	}
	hub, err := realtime.New("https://app.example", realtime.Via(anybody), immortal{}, realtime.Rules{
		"room:": func(context.Context, realtime.Identity, string) (realtime.Grant, error) {
			return realtime.Grant{Publish: true, Presence: true, JoinLeave: true, History: true, Recover: true}, nil
		},
	}, o)
	require.NoError(t, err)
	s := realtimetest.Serve(hub)
	t.Cleanup(func() {
		require.NoError(t, hub.Close())
		s.Close()
	})
	return s, hub
}

// immortal are sessions that never end.
type immortal struct{}

func (immortal) Alive(context.Context, string) (bool, error) { return true, nil }
func (immortal) EndedSince(context.Context, string) ([]string, string, error) {
	return nil, "0", nil
}

// named is whoever a bearer token names.
type named string

func (n named) UserID() string                   { return string(n) }
func (n named) SessionID() string                { return "session of " + string(n) }
func (n named) AuthTime() time.Time              { return time.Time{} }
func (n named) ExpiresAt() time.Time             { return time.Time{} }
func (n named) Grants() (scopes, roles []string) { return nil, nil }

func anybody(r *http.Request) (named, error) {
	return named(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")), nil
}

// What a client sends and is told.
func TestClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		heard := make(chan string, 1)
		s, hub := talkative(t, func(o *realtime.Options) {
			o.OnConnect = func(context.Context, *realtime.Conn) (json.RawMessage, error) { return json.RawMessage(`"hello"`), nil }
			o.OnMessage = func(_ context.Context, who *realtime.Conn, data json.RawMessage) {
				heard <- who.Identity().UserID() + " " + string(data)
			}
		})
		for _, scheme := range []string{"http", "https"} {
			res, err := s.Client().Get(scheme + "://app.example/")
			require.NoError(t, err)
			require.Equal(t, http.StatusUpgradeRequired, res.StatusCode)
			require.NoError(t, res.Body.Close())
		}
		ann, err := s.Dial(ctx, "/", nil)
		require.NoError(t, err)
		answer, err := ann.Connect(ctx, "ann")
		require.NoError(t, err)
		require.NotEmpty(t, answer.Client)
		require.JSONEq(t, `"hello"`, string(answer.Data))
		bob, err := s.Dial(ctx, "/", http.Header{"Authorization": {"Bearer bob"}})
		require.NoError(t, err)
		_, err = bob.Connect(ctx, "")
		require.NoError(t, err)

		at, err := ann.Subscribe(ctx, "room:x", nil)
		require.NoError(t, err)
		require.True(t, at.Recoverable)
		next := func(c *realtimetest.Client) realtimetest.Push {
			t.Helper()
			p, err := c.Next(ctx)
			require.NoError(t, err)
			return p
		}
		require.Equal(t, "ann", next(ann).Join.User)
		_, err = bob.Subscribe(ctx, "room:x", nil)
		require.NoError(t, err)
		require.Equal(t, "bob", next(ann).Join.User)
		require.NoError(t, bob.Publish(ctx, "room:x", json.RawMessage(`{"n":1}`)))
		p := next(ann)
		require.Equal(t, "room:x", p.Channel)
		require.JSONEq(t, `{"n":1}`, string(p.Publication.Data))
		require.Equal(t, uint64(1), p.Publication.Offset)
		require.Equal(t, "bob", p.Publication.Info.User)
		require.JSONEq(t, `"bob"`, string(p.Publication.Info.Info))
		require.NoError(t, bob.Unsubscribe(ctx, "room:x"))
		require.Equal(t, "bob", next(ann).Leave.User)
		require.NoError(t, hub.SendUser(ctx, "ann", json.RawMessage(`"psst"`)))
		require.JSONEq(t, `"psst"`, string(next(ann).Message))

		echoed, err := ann.RPC(ctx, "echo", json.RawMessage(`[1,2]`))
		require.NoError(t, err)
		require.JSONEq(t, `[1,2]`, string(echoed))
		_, err = ann.RPC(ctx, "none", nil)
		var refused *realtime.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, uint32(104), refused.Code)
		require.NoError(t, ann.Send(ctx, json.RawMessage(`"hello"`)))
		require.Equal(t, `ann "hello"`, <-heard)
		require.NoError(t, ann.Refresh(ctx, "ann"))
		stats, err := ann.Do(ctx, "presence_stats", map[string]string{"channel": "room:x"})
		require.NoError(t, err)
		require.JSONEq(t, `{"num_clients":1,"num_users":1}`, string(stats))

		carol, err := s.Dial(ctx, "/", nil)
		require.NoError(t, err)
		_, err = carol.Connect(ctx, "carol")
		require.NoError(t, err)
		missed, err := carol.Subscribe(ctx, "room:x", &realtime.Position{Offset: at.Offset, Epoch: at.Epoch})
		require.NoError(t, err)
		require.True(t, missed.Recovered)
		require.Len(t, missed.Publications, 1)
		require.JSONEq(t, `{"n":1}`, string(missed.Publications[0].Data))

		synctest.Wait()
		require.NotEmpty(t, bob.Pending())
		require.Empty(t, bob.Pending())
		require.NoError(t, hub.EndUser(ctx, "ann", "enough"))
		for {
			if _, err = ann.Next(ctx); err != nil {
				break
			}
		}
		var end *realtimetest.CloseError
		require.ErrorAs(t, err, &end)
		require.Equal(t, realtimetest.CloseError{Code: 4501, Reason: "enough"}, *end)
		require.False(t, ann.Live())
	})
}

func TestClientThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, hub := talkative(t, func(o *realtime.Options) { o.MaxQueue = 128 << 10 })
		slow, err := s.Dial(ctx, "/", nil)
		require.NoError(t, err)
		_, err = slow.Connect(ctx, "ann")
		require.NoError(t, err)
		_, err = slow.Subscribe(ctx, "room:x", nil)
		require.NoError(t, err)
		slow.Pause()
		for range 100 {
			require.NoError(t, hub.Publish(ctx, "room:x", json.RawMessage(`"`+strings.Repeat("x", 8<<10)+`"`)))
			synctest.Wait()
		}
		slow.Resume()
		require.Equal(t, 3008, code(t, slow, time.Minute))
	})
}

// The transport is a net.Conn like a socket: buffers, ends, deadlines.
func TestConnections(t *testing.T) {
	pair := func(t *testing.T) (client, server net.Conn) {
		taken := make(chan net.Conn, 1)
		s := realtimetest.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				taken <- c
			}
		}))
		t.Cleanup(s.Close)
		client, err := s.DialContext(t.Context(), "tcp", "app.example:80")
		require.NoError(t, err)
		_, err = io.WriteString(client, "GET / HTTP/1.1\r\nHost: app.example\r\n\r\n")
		require.NoError(t, err)
		return client, <-taken
	}
	in := func(name string, f func(t *testing.T, client, server net.Conn)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pair(t)
				defer client.Close()
				defer server.Close()
				f(t, client, server)
			})
		})
	}
	in("what was written before the end can be read after it", func(t *testing.T, client, server net.Conn) {
		_, err := server.Write(make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, server.Close())
		b, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Len(t, b, 1000)
		_, err = client.Write([]byte("x"))
		require.Error(t, err)
		_, err = server.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = server.Write([]byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
	})
	in("a full buffer keeps the writer waiting, in order", func(t *testing.T, client, server net.Conn) {
		var written atomic.Bool
		want := make([]byte, 300<<10)
		for i := range want {
			want[i] = byte(i % 251)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = server.Write(want)
			written.Store(true)
			_ = server.Close()
		})
		synctest.Wait()
		require.False(t, written.Load())
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, want, got)
		wg.Wait()
	})
	in("deadlines", func(t *testing.T, client, server net.Conn) {
		start := time.Now()
		require.NoError(t, client.SetReadDeadline(start.Add(time.Second)))
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var timeout net.Error
		require.True(t, errors.As(err, &timeout) && timeout.Timeout())
		require.Equal(t, time.Second, time.Since(start))
		require.NoError(t, client.SetReadDeadline(time.Time{})) // lifted
		_, err = server.Write([]byte("x"))
		require.NoError(t, err)
		_, err = client.Read(make([]byte, 1))
		require.NoError(t, err)

		require.NoError(t, client.SetDeadline(time.Now().Add(time.Second)))
		require.NoError(t, client.SetDeadline(time.Now().Add(time.Hour))) // the earlier one counts no more
		n, err := client.Write(make([]byte, 100<<10))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Positive(t, n)
		require.Equal(t, time.Hour+time.Second, time.Since(start))
		require.NoError(t, client.SetReadDeadline(time.Now().Add(-time.Second)))
		_, err = client.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}
