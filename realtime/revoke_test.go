package realtime_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

func TestR1_EndedSessionsCloseTheirSockets(t *testing.T) {
	t.Run("R1 by asking, within a second, on two nodes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			broker := realtime.NewMemoryBroker(nil)
			share := func(o *realtime.Options) { o.Broker = broker }
			one, two := inBubble(t, w, w, share), inBubble(t, w, w, share)
			a, b, other := one.join("ann/s1"), two.join("ann/s1"), two.join("ann/s2")
			w.end("s1")
			start := time.Now()
			require.Equal(t, 4501, a.code())
			require.Equal(t, 4501, b.code())
			require.Less(t, time.Since(start), time.Second)
			require.True(t, other.live())
		})
	})
	t.Run("R1 by asking, with its reason", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, reasoning{w}, w, nil)
			a := s.join("ann/s1")
			w.end("s1")
			code, reason := a.closed()
			require.Equal(t, 4501, code)
			require.Equal(t, "why s1 ended", reason)
		})
	})
	t.Run("R1 by push, at once and with its reason", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, pushing{w}, w, nil)
			a := s.join("ann/s1")
			start := time.Now()
			w.push("s1", "password changed")
			code, reason := a.closed()
			require.Equal(t, 4501, code)
			require.Equal(t, "password changed", reason)
			require.Zero(t, time.Since(start))
		})
	})
	t.Run("R1 by hand", func(t *testing.T) {
		s := open(t, nil)
		a, b := s.join("ann/s1"), s.join("bob/s2")
		require.NoError(t, s.EndSession(t.Context(), "s1", "42")) // JSON: an SDK would take it for advice
		code, reason := a.closed()
		require.Equal(t, 4501, code)
		require.Equal(t, "reason: 42", reason)
		require.NoError(t, s.EndUser(t.Context(), "bob", ""))
		require.Equal(t, 4501, b.code())
	})
	t.Run("R1 a log that lost the cursor: each session is asked about", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			a, b := s.join("ann/s1"), s.join("bob/s2")
			w.set(func() { w.ended = append(w.ended, "x", "s1", "y"); w.forget = 3 })
			require.Equal(t, 4501, a.code())
			w.end("s2")
			require.Equal(t, 4501, b.code())
		})
	})
	t.Run("R1 the store unreachable for 30 s: 3004", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			a := s.join("ann/s1")
			w.set(func() { w.down = errors.New("down") })
			start := time.Now()
			require.Equal(t, 3004, a.code())
			require.WithinDuration(t, start.Add(30*time.Second), time.Now(), time.Second)
			w.set(func() { w.down = nil })
			time.Sleep(time.Second)
			s.join("ann/s1")
		})
	})
	t.Run("R1 the store unreachable at start: come back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			down := &watchless{world: w, down: true}
			s := inBubble(t, down, w, nil)
			c := s.dial(header{cookie: "ann/s1"})
			require.Equal(t, 100, code(c.call(`"connect":{}`)))
			w.set(func() { down.down = false })
			require.Contains(t, c.call(`"connect":{}`), "connect")
		})
	})
}

// watchless can't say what ended, but that sessions live.
type watchless struct {
	*world
	down bool
}

func (w *watchless) EndedSince(ctx context.Context, cursor string) ([]string, string, error) {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down {
		return nil, "", errors.New("down")
	}
	return w.world.EndedSince(ctx, cursor)
}

// The session ends between any two steps of a connect. Whatever the moment,
// no live socket is left.
func TestR2_RevocationRacingConnect(t *testing.T) {
	t.Run("R2 before the last check", func(t *testing.T) {
		s := open(t, nil)
		s.world.end("s1") // the credential is still good: a token knows nothing of sessions
		c := s.dial(header{cookie: "ann/s1"})
		c.write(`{"id":1,"connect":{}}`)
		require.Equal(t, 4501, c.code())
		require.Empty(t, c.in, "a reply before the close")
	})
	t.Run("R2 during the last check", func(t *testing.T) {
		// Alive has said yes; the push comes before the reply is out. Only a
		// connection that is registered by then is found.
		w := &world{}
		s := &site{t: t, world: w, Hub: newHub(t, w, pushing{w}, nil)}
		serve(t, s)
		w.set(func() { w.alive = func(id string) { w.push(id, "revoked") } })
		c := s.dial(header{cookie: "ann/s1"})
		c.write(`{"id":1,"connect":{}}`)
		require.Equal(t, 4501, c.code())
		require.Empty(t, c.in, "a reply before the close")
	})
	t.Run("R2 at any moment", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			for range 50 {
				w.set(func() { w.ended = nil; w.forget = 0 })
				time.Sleep(2 * time.Second) // the cursor is lost; a new one is taken
				c := s.dial(header{cookie: "ann/s1"})
				go w.end("s1")
				c.write(`{"id":1,"connect":{}}`)
				require.Equal(t, 4501, c.code())
			}
		})
	})
}

// reasoning is a world that also says why sessions ended.
type reasoning struct{ *world }

func (r reasoning) EndedReasons(ctx context.Context, cursor string) (ids, reasons []string, next string, err error) {
	ids, next, err = r.EndedSince(ctx, cursor)
	for _, id := range ids {
		reasons = append(reasons, "why "+id+" ended")
	}
	return ids, reasons, next, err
}

func TestWatchComplainsNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder // read once the hub is closed
		w := &world{}
		s := inBubble(t, w, w, func(o *realtime.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		w.set(func() { w.down = errors.New("no route") })
		time.Sleep(25*time.Second + time.Millisecond)
		w.set(func() { w.down = nil })
		time.Sleep(25 * time.Second)
		require.NoError(t, s.Close())
		require.Equal(t, 3, strings.Count(log.String(), "can't learn which sessions ended"), log.String())
		require.Equal(t, 1, strings.Count(log.String(), "learns again"), log.String())
	})
}
