package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// until is everything, for so long.
func until(d time.Duration) realtime.Grant {
	grant := everything
	grant.Expires = time.Now().Add(d)
	return grant
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

// whenAsked sets what happens when the rule is asked for the nth time and later.
func (g *gate) whenAsked(n int, f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = func(asked int) {
		if asked >= n {
			f()
		}
	}
}

// gatedInBubble is gated on connections in memory.
func gatedInBubble(t *testing.T, g *gate, change func(*realtime.Options)) *site {
	w := &world{}
	return inBubbleWith(t, w, realtime.Rules{"room:": g.rule}, func(o *realtime.Options) {
		o.Channels = map[string]realtime.Channel{"room:": {HistorySize: 1000, HistoryTTL: 100 * time.Hour}}
		if change != nil {
			change(o)
		}
	})
}

// grantedFor is Ann in room:x, by a rule that has let her in for so long; that
// she has joined she knows.
func grantedFor(t *testing.T, life time.Duration, change func(*realtime.Options)) (*gate, *site, *client) {
	g := &gate{grant: until(life)}
	s := gatedInBubble(t, g, change)
	c := s.join("ann/s1")
	c.subscribe("room:x", "")
	c.push()
	return g, s, c
}

// tick is how late the wheel may be.
const tick = 250 * time.Millisecond

func TestR3_GrantsExpire(t *testing.T) {
	in := func(name string, f func(t *testing.T)) { t.Run(name, func(t *testing.T) { synctest.Test(t, f) }) }

	in("R3 still granted it goes on, with the new expiry", func(t *testing.T) {
		g, s, c := grantedFor(t, time.Minute, nil)
		for i := range 5 {
			require.Equal(t, 1+i, g.count())
			time.Sleep(time.Minute - time.Second)
			require.Equal(t, 1+i, g.count(), "before its time")
			g.set(until(time.Minute+time.Second), nil)
			time.Sleep(time.Second + tick)
			require.Equal(t, 2+i, g.count(), "at its time")
			require.NoError(t, s.Publish(t.Context(), "room:x", fmt.Appendf(nil, "%d", i)))
			require.Contains(t, c.push(), `"pub"`)
			g.set(until(time.Minute), nil)
			require.NoError(t, s.Reauthorize(t.Context(), "ann")) // asks, too
			g.mu.Lock()
			g.asked--
			g.mu.Unlock()
		}
		g.set(everything, nil) // for good
		time.Sleep(time.Minute + tick)
		n := g.count()
		time.Sleep(30 * time.Minute)
		require.Equal(t, n, g.count())
		require.NotContains(t, c.call(`"publish":{"channel":"room:x","data":1}`), "error")
	})

	in("R3 refused: unsubscribed as by Reauthorize", func(t *testing.T) {
		g, s, c := grantedFor(t, time.Minute, nil)
		g.set(everything, nil)
		other := s.join("bob/s2")
		other.subscribe("room:x", "")
		c.push() // that he has joined
		other.push()
		g.set(realtime.Grant{}, realtime.ErrDenied)
		start := time.Now()
		require.Eventually(t, func() bool { return len(c.in) > 0 }, 2*time.Minute, time.Second)
		require.WithinDuration(t, start.Add(time.Minute), time.Now(), time.Second+tick)
		require.JSONEq(t, `{"channel":"room:x","unsubscribe":{"code":2000,"reason":"permission denied"}}`, c.push())
		require.Contains(t, other.push(), `"leave"`)
		require.JSONEq(t, `{"num_clients":1,"num_users":1}`, string(other.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"]))
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`3`)))
		require.Contains(t, other.push(), `"pub"`)
		require.Empty(t, c.in, "a message after the grant was over")
		require.True(t, c.live())
	})

	in("R3 could not tell: told to subscribe again", func(t *testing.T) {
		g, _, c := grantedFor(t, time.Minute, nil)
		g.set(everything, errors.New("down"))
		time.Sleep(time.Minute + tick)
		require.JSONEq(t, `{"channel":"room:x","unsubscribe":{"code":2500,"reason":"permission unknown"}}`, c.push())
	})

	in("R3 subscriptions of the server's making", func(t *testing.T) {
		g := &gate{grant: until(time.Minute)}
		s := gatedInBubble(t, g, func(o *realtime.Options) {
			o.Subscribe = func(realtime.Identity) []string { return []string{"room:x"} }
		})
		ann, bob := s.join("ann/s1"), s.join("bob/s2")
		g.set(everything, errors.New("down"))
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`1`)))
		ann.pushOf(`"pub"`)
		bob.pushOf(`"pub"`)
		time.Sleep(time.Minute + tick)
		require.Equal(t, 3010, ann.code(), "SDKs come back to such a channel by connecting alone")
		require.Equal(t, 3010, bob.code())

		g.set(until(time.Minute), nil)
		c := s.join("ann/s1")
		c.push()
		g.set(realtime.Grant{}, realtime.ErrDenied)
		time.Sleep(time.Minute + tick)
		require.Contains(t, c.pushOf(`"unsubscribe"`), `"code":2000`)
		require.True(t, c.live())
	})

	in("R3 what is published while the rule thinks waits for its answer", func(t *testing.T) {
		g, s, c := grantedFor(t, time.Minute, nil)
		g.set(everything, nil)
		g.whenAsked(2, func() { time.Sleep(5 * time.Second) })
		time.Sleep(time.Minute + tick)
		for i := range 10 {
			require.NoError(t, s.Publish(t.Context(), "room:x", fmt.Appendf(nil, "%d", i)))
			synctest.Wait()
		}
		require.Empty(t, c.in)
		data, offsets := c.numbers(10)
		require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, data)
		require.Equal(t, uint64(10), offsets[9])

		g.set(until(time.Minute), nil)
		g.whenAsked(100, nil)
		require.NoError(t, s.Reauthorize(t.Context(), "ann"))
		g.set(realtime.Grant{}, realtime.ErrDenied)
		g.whenAsked(4, func() { time.Sleep(5 * time.Second) })
		time.Sleep(time.Minute + tick)
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`10`)))
		require.Contains(t, c.push(), `"unsubscribe":{"code":2000`)
		time.Sleep(time.Minute)
		require.Empty(t, c.in)
	})

	in("R3 a rule that has no answer in time: the right is gone for now", func(t *testing.T) {
		g := &gate{grant: until(time.Minute)}
		slow := func(ctx context.Context, who realtime.Identity, channel string) (realtime.Grant, error) {
			if g.count() > 0 {
				<-ctx.Done()
				return realtime.Grant{}, ctx.Err()
			}
			return g.rule(ctx, who, channel)
		}
		s := inBubbleWith(t, &world{}, realtime.Rules{"room:": slow}, func(o *realtime.Options) { o.CommandTimeout = 3 * time.Second })
		c := s.join("ann/s1")
		c.subscribe("room:x", "")
		c.push()
		time.Sleep(time.Minute + tick)
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`1`)))
		start := time.Now()
		require.Contains(t, c.push(), `"unsubscribe":{"code":2500`)
		require.WithinDuration(t, start.Add(3*time.Second), time.Now(), time.Second)
	})

	in("R3 more than a queue's worth while the rule thinks: a gap is told", func(t *testing.T) {
		g, s, c := grantedFor(t, time.Minute, func(o *realtime.Options) { o.MaxQueue = 128 << 10 })
		g.set(everything, nil)
		g.whenAsked(2, func() { time.Sleep(5 * time.Second) })
		time.Sleep(time.Minute + tick)
		for range 30 {
			require.NoError(t, s.Publish(t.Context(), "room:x", kilobytes(8)))
			synctest.Wait()
		}
		start := time.Now()
		require.Contains(t, c.push(), `"unsubscribe":{"code":2500,"reason":"insufficient state"}`)
		require.Zero(t, time.Since(start))
	})

	in("R3 Reauthorize while the rule thinks", func(t *testing.T) {
		// The first answer is from before the right changed, and comes later.
		g, s, c := grantedFor(t, time.Minute, nil)
		g.set(everything, nil)
		g.mu.Lock()
		g.hook = func(n int) {
			if n == 2 {
				time.Sleep(5 * time.Second)
			}
		}
		g.mu.Unlock()
		time.Sleep(time.Minute + tick)
		require.Equal(t, 2, g.count())
		g.set(realtime.Grant{}, realtime.ErrDenied)
		start := time.Now()
		require.NoError(t, s.Reauthorize(t.Context(), "ann"))
		require.Contains(t, c.push(), `"unsubscribe":{"code":2000`)
		require.Zero(t, time.Since(start))
		time.Sleep(time.Minute)
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`1`)))
		synctest.Wait()
		require.Empty(t, c.in)
	})

	in("R3 each at its own time, whichever was given first", func(t *testing.T) {
		start := time.Now()
		asked := map[string][]time.Duration{}
		lives := map[string]time.Duration{"room:a": 3 * time.Minute, "room:b": time.Minute, "room:c": 2 * time.Minute}
		s := inBubbleWith(t, &world{}, realtime.Rules{"room:": func(_ context.Context, _ realtime.Identity, channel string) (realtime.Grant, error) {
			asked[channel] = append(asked[channel], time.Since(start).Truncate(time.Second)) // one connection's commands, or the hub
			return realtime.Grant{Expires: time.Now().Add(lives[channel])}, nil
		}}, nil)
		c := s.join("ann/s1")
		for _, channel := range []string{"room:a", "room:b", "room:c"} {
			c.subscribe(channel, "")
		}
		time.Sleep(3*time.Minute + 30*time.Second)
		synctest.Wait()
		require.Len(t, asked["room:a"], 2)
		require.Len(t, asked["room:b"], 4)
		require.Len(t, asked["room:c"], 2)
		require.WithinDuration(t, start.Add(3*time.Minute), start.Add(asked["room:a"][1]), time.Second)
		require.WithinDuration(t, start.Add(time.Minute), start.Add(asked["room:b"][1]), time.Second)
	})

	in("R3 Reauthorize may move it forward", func(t *testing.T) {
		g, s, c := grantedFor(t, time.Hour, nil)
		g.set(until(time.Second), nil)
		require.NoError(t, s.Reauthorize(t.Context(), "ann"))
		g.set(realtime.Grant{}, realtime.ErrDenied)
		start := time.Now()
		require.Contains(t, c.push(), `"unsubscribe"`)
		require.LessOrEqual(t, time.Since(start), time.Second+tick)
	})

	in("R3 who has left is not asked about", func(t *testing.T) {
		g := &gate{grant: until(time.Minute)}
		s := gatedInBubble(t, g, nil)
		c, gone := s.join("ann/s1"), s.join("ann/s1")
		c.subscribe("room:x", "")
		gone.subscribe("room:x", "")
		c.call(`"unsubscribe":{"channel":"room:x"}`)
		require.NoError(t, gone.ws.CloseNow())
		time.Sleep(5 * time.Minute)
		require.Equal(t, 2, g.count())
		require.True(t, c.live())
	})

	in("R3 Close while the rule thinks", func(t *testing.T) {
		g, s, c := grantedFor(t, time.Minute, nil)
		g.whenAsked(2, func() { time.Sleep(5 * time.Second) })
		time.Sleep(time.Minute + tick)
		require.Equal(t, 2, g.count())
		require.NoError(t, s.Close())
		require.Equal(t, 3001, c.code())
	})

	in("R3 a rule that panics when its grant has expired ends the connection alone", func(t *testing.T) {
		g, s, c := grantedFor(t, time.Minute, nil)
		g.whenAsked(2, func() { panic("host") })
		bob := s.join("bob/s2")
		require.Equal(t, 1011, c.code())
		require.True(t, bob.live())
	})

	in("R16 no timer and no goroutine of their own", func(t *testing.T) {
		g := &gate{grant: until(time.Hour)}
		s := gatedInBubble(t, g, nil)
		c := s.join("ann/s1")
		synctest.Wait()
		before := runtime.NumGoroutine()
		for i := range 100 {
			c.subscribe(fmt.Sprint("room:", i), "")
		}
		synctest.Wait()
		require.LessOrEqual(t, runtime.NumGoroutine(), before)
	})
}

func TestR4_ExpiredGrants(t *testing.T) {
	commands := []string{
		`"publish":{"channel":"room:x","data":1}`,
		`"presence":{"channel":"room:x"}`,
		`"presence_stats":{"channel":"room:x"}`,
		`"history":{"channel":"room:x","limit":1}`,
	}
	t.Run("R4 one that is over when it is given refuses, and the log says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder // read once the hub is closed
			g := &gate{grant: until(0)}
			s := gatedInBubble(t, g, func(o *realtime.Options) {
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				o.Subscribe = func(realtime.Identity) []string { return []string{"room:server"} }
			})
			c := s.dial(header{cookie: "ann/s1"})
			require.NotContains(t, string(c.call(`"connect":{}`)["connect"]), "room:server")
			for _, command := range append(commands, `"subscribe":{"channel":"room:x"}`, `"subscribe":{"channel":"room:x","recover":true}`) {
				require.Equal(t, 103, code(c.call(command)), command)
			}
			g.set(until(time.Minute), nil)
			c.subscribe("room:x", "")
			g.set(until(0), nil)
			time.Sleep(time.Second)
			require.NoError(t, s.Reauthorize(t.Context(), "ann"))
			require.Contains(t, c.pushOf(`"unsubscribe"`), `"code":2000`)
			require.NoError(t, s.Close())
			require.Equal(t, 2, strings.Count(log.String(), "expired when it is given"), log.String())
			require.Contains(t, log.String(), "others_before=6")
		})
	})
	t.Run("R4 commands are judged anew from the very moment", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{}
			s := gatedInBubble(t, g, nil)
			c := s.join("ann/s1")
			for i, command := range commands {
				g.set(until(tick/2), nil) // between two ticks
				c.subscribe("room:x", "")
				require.NotContains(t, c.call(command), "error")
				g.set(realtime.Grant{}, realtime.ErrDenied)
				time.Sleep(tick / 2)
				require.Equal(t, 1+2*i, g.count(), "asked before its time")
				require.Equal(t, 103, code(c.call(command)), command)
				require.Equal(t, 2+2*i, g.count())
				c.call(`"unsubscribe":{"channel":"room:x"}`)
				time.Sleep(tick / 2)
			}
		})
	})
}
