package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// bus is a broker that counts what hubs tell one another, and may be down.
type bus struct {
	*realtime.MemoryBroker
	mu   sync.Mutex
	down error
	slow time.Duration
	told []string
}

func (b *bus) fail(err error) { b.mu.Lock(); b.down = err; b.mu.Unlock() }

func (b *bus) Broadcast(ctx context.Context, message []byte) error {
	b.mu.Lock()
	down, slow := b.down, b.slow
	b.told = append(b.told, string(message))
	b.mu.Unlock()
	time.Sleep(slow)
	if down != nil {
		return down
	}
	return b.MemoryBroker.Broadcast(ctx, message)
}

// apart are sessions that tell nobody what ended, so that only the bus can.
type apart struct{ *world }

func (apart) EndedSince(context.Context, string) ([]string, string, error) { return nil, "0", nil }

func TestControl(t *testing.T) {
	two := func(t *testing.T) (b *bus, w *world, one, other *site) {
		b, w = &bus{MemoryBroker: realtime.NewMemoryBroker(nil)}, &world{}
		share := func(o *realtime.Options) { o.Broker = b }
		return b, w, inBubble(t, pushing{w}, w, share), inBubble(t, apart{&world{}}, w, share)
	}

	t.Run("R1 what ends on one node is pushed to the others", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, w, one, other := two(t)
			here, there, bystander := one.join("ann/s1"), other.join("ann/s1"), other.join("ann/s2")
			start := time.Now()
			w.push("s1", "password changed")
			for _, c := range []*client{here, there} {
				code, reason := c.closed()
				require.Equal(t, 4501, code)
				require.Equal(t, "password changed", reason)
			}
			require.Zero(t, time.Since(start))
			require.True(t, bystander.live())
		})
	})

	t.Run("R1 a slow bus keeps nobody waiting, and is told of many at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, w, _, other := two(t)
			there := other.join("ann/s999")
			b.mu.Lock()
			b.slow = time.Second
			b.mu.Unlock()
			start := time.Now()
			for i := range 1000 {
				w.push(fmt.Sprint("s", i), "")
			}
			require.Zero(t, time.Since(start))
			require.Equal(t, 4501, there.code())
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			require.LessOrEqual(t, len(b.told), 5)
		})
	})

	t.Run("R1 a bus that is down breaks nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, w, one, other := two(t)
			here, there := one.join("ann/s1"), other.join("ann/s1")
			noBus := errors.New("no bus")
			b.fail(noBus)
			w.push("s1", "")
			require.Equal(t, 4501, here.code())
			require.ErrorIs(t, one.EndUser(t.Context(), "ann", ""), noBus)
			require.True(t, there.live())
			b.fail(nil)
			w.push("s1", "")
			require.Equal(t, 4501, there.code())
		})
	})

	t.Run("EndSession and EndUser reach all nodes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, one, other := two(t)
			ann, again, bob := other.join("ann/s1"), other.join("ann/s2"), other.join("bob/s3")
			require.NoError(t, one.EndSession(t.Context(), "s1", "not you"))
			code, reason := ann.closed()
			require.Equal(t, 4501, code)
			require.Equal(t, "not you", reason)
			require.True(t, again.live())
			require.NoError(t, one.EndUser(t.Context(), "ann", ""))
			code, reason = again.closed()
			require.Equal(t, 4501, code)
			require.Equal(t, "session ended", reason)
			require.True(t, bob.live())
		})
	})

	t.Run("SendUser reaches all nodes, once and in order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, one, other := two(t)
			here, there, bob := one.join("ann/s1"), other.join("ann/s2"), other.join("bob/s3")
			for i := range 50 {
				require.NoError(t, one.SendUser(t.Context(), "ann", json.RawMessage(fmt.Sprintf(`{"n": %d}`, i))))
			}
			for _, c := range []*client{here, there} {
				for i := range 50 {
					require.JSONEq(t, fmt.Sprintf(`{"message":{"data":{"n":%d}}}`, i), c.push())
				}
			}
			synctest.Wait()
			require.Empty(t, here.in)
			require.Empty(t, there.in)
			require.Empty(t, bob.in)
		})
	})

	t.Run("SendUser refuses what no connection could take", func(t *testing.T) {
		b, _, one, _ := two(t)
		for _, bad := range []string{``, `{`, "\"\xff\"", `"` + strings.Repeat("x", 600<<10) + `"`} {
			require.Error(t, one.SendUser(t.Context(), "ann", json.RawMessage(bad)))
		}
		require.Empty(t, b.told)
	})

	t.Run("R3 Reauthorize reaches all nodes", func(t *testing.T) {
		g := &gate{grant: everything}
		share := realtime.NewMemoryBroker(nil)
		one := gated(t, g, func(o *realtime.Options) { o.Broker = share })
		other := gated(t, g, func(o *realtime.Options) { o.Broker = share })
		c := other.join("ann/s1")
		c.call(`"subscribe":{"channel":"room:x"}`)
		c.push()
		g.set(realtime.Grant{}, realtime.ErrDenied)
		require.NoError(t, one.Reauthorize(t.Context(), "ann"))
		require.JSONEq(t, `{"channel":"room:x","unsubscribe":{"code":2000,"reason":"permission denied"}}`, c.push())
	})

	t.Run("R3 Reauthorize doesn't wait for a bus that hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, b := &gate{grant: everything}, &bus{MemoryBroker: realtime.NewMemoryBroker(nil), slow: time.Minute}
			s := gatedInBubble(t, g, func(o *realtime.Options) { o.Broker = b })
			c := s.join("ann/s1")
			c.subscribe("room:x", "")
			g.set(realtime.Grant{}, realtime.ErrDenied)
			done, start := make(chan error), time.Now()
			go func() { done <- s.Reauthorize(t.Context(), "ann") }()
			require.Contains(t, c.pushOf(`"unsubscribe"`), `"code":2000`)
			require.Zero(t, time.Since(start))
			require.NoError(t, <-done)
		})
	})

	t.Run("R3 a rule that panics when it is asked again ends the connection alone", func(t *testing.T) {
		g, share := &gate{grant: everything}, realtime.NewMemoryBroker(nil)
		one := gated(t, g, func(o *realtime.Options) { o.Broker = share })
		other := gated(t, g, func(o *realtime.Options) { o.Broker = share })
		a, b, bob := other.join("ann/s1"), other.join("ann/s2"), other.join("bob/s3")
		for _, c := range []*client{a, b} {
			c.call(`"subscribe":{"channel":"room:x"}`)
		}
		g.mu.Lock()
		g.hook = func(int) { panic("host") }
		g.mu.Unlock()
		require.NoError(t, one.Reauthorize(t.Context(), "ann"))
		require.Equal(t, 1011, a.code())
		require.Equal(t, 1011, b.code())
		require.Contains(t, bob.call(`"rpc":{"method":"echo"}`), "rpc")
	})

	t.Run("R3 a rule that ends its goroutine when it is asked again: no connection keeps its right", func(t *testing.T) {
		g, share := &gate{grant: everything}, realtime.NewMemoryBroker(nil)
		one := gated(t, g, func(o *realtime.Options) { o.Broker = share })
		other := gated(t, g, func(o *realtime.Options) { o.Broker = share })
		all := []*client{one.join("ann/s1"), one.join("ann/s2"), other.join("ann/s1"), other.join("ann/s2")}
		for _, c := range all {
			c.call(`"subscribe":{"channel":"room:x"}`)
		}
		g.mu.Lock()
		g.hook = func(int) { runtime.Goexit() }
		g.mu.Unlock()
		require.Error(t, one.Reauthorize(t.Context(), "ann"))
		for _, c := range all {
			require.Equal(t, 1011, c.code())
		}
	})

	t.Run("R3 a rule that has no answer in time: no connection keeps its right", func(t *testing.T) {
		g, share := &gate{grant: everything}, realtime.NewMemoryBroker(nil)
		one := gated(t, g, func(o *realtime.Options) { o.Broker = share })
		other := gated(t, g, func(o *realtime.Options) { o.Broker, o.CommandTimeout = share, time.Second })
		var all []*client
		for i := range 3 {
			c := other.join(fmt.Sprintf("ann/s%d", i))
			c.call(`"subscribe":{"channel":"room:x"}`)
			all = append(all, c)
		}
		g.set(realtime.Grant{}, context.DeadlineExceeded)
		g.mu.Lock()
		g.hook = func(n int) {
			if n == 4 { // the first that is asked again
				time.Sleep(1500 * time.Millisecond)
			}
		}
		g.mu.Unlock()
		require.NoError(t, one.Reauthorize(t.Context(), "ann"))
		for _, c := range all {
			for {
				if p := c.push(); strings.Contains(p, `"unsubscribe"`) {
					require.Contains(t, p, `"code":2500`)
					break
				}
			}
		}
	})

	t.Run("data that SendUser would refuse is not sent on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, _, one, _ := two(t)
			c := one.join("ann/s1")
			for _, data := range []string{``, `,"data":"` + strings.Repeat("x", 600<<10) + `"`, `,"data":` + strings.Repeat("[", 600) + strings.Repeat("]", 600)} {
				require.NoError(t, b.Broadcast(t.Context(), []byte(`{"node":"other","op":"send","user":"ann"`+data+`}`)))
			}
			require.NoError(t, b.Broadcast(t.Context(), []byte("{\"node\":\"other\",\"op\":\"send\",\"user\":\"ann\",\"data\":[1,\n2]}")))
			require.JSONEq(t, `{"message":{"data":[1,2]}}`, c.push())
			synctest.Wait()
			require.Empty(t, c.in)
			require.True(t, c.live())
		})
	})

	t.Run("what is no message, or none of this version, is ignored", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, _, one, other := two(t)
			a, c := one.join("ann/s1"), other.join("ann/s2")
			for _, m := range []string{``, `{`, `null`, `[]`, `{}`, `{"op":"fly","user":"ann"}`, `{"op":"end"}`, `{"op":"end","ends":[{}]}`, `{"op":"send","user":""}`, `{"op":7}`} {
				require.NoError(t, b.Broadcast(t.Context(), []byte(m)))
			}
			synctest.Wait()
			require.True(t, a.live() && c.live())
			require.Empty(t, a.in)
		})
	})
}
