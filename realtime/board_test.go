package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// value is the next publication's data.
func (c *client) value() string {
	c.t.Helper()
	var p struct {
		Pub struct{ Data json.RawMessage }
	}
	require.NoError(c.t, json.Unmarshal([]byte(c.pushOf(`"pub"`)), &p))
	return string(p.Pub.Data)
}

// present is what a subscribe brings at once.
func (r subscribed) present() string {
	if len(r.Publications) != 1 {
		return fmt.Sprint(len(r.Publications), " publications")
	}
	return string(r.Publications[0].Data)
}

// brokenBus keeps nothing while it is down.
type brokenBus struct {
	*realtime.MemoryBroker
	mu    sync.Mutex
	down  error
	tries int
}

func (b *brokenBus) Append(ctx context.Context, channel string, p realtime.Publication, keep realtime.Keep) (realtime.Position, error) {
	b.mu.Lock()
	down := b.down
	b.tries++
	b.mu.Unlock()
	if down != nil {
		return realtime.Position{}, down
	}
	return b.MemoryBroker.Append(ctx, channel, p, keep)
}

func TestBoard(t *testing.T) {
	const every = time.Second
	set := func(t *testing.T, b *realtime.Board, key string, value any) {
		t.Helper()
		require.NoError(t, b.Set(key, value))
	}
	t.Run("at most one publication an interval, and only of changes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			b, err := s.NewBoard("board:x", every)
			require.NoError(t, err)
			defer b.Close()
			c := s.join("ann/s1")
			require.Equal(t, "0 publications", c.subscribe("board:x", "").present())

			start := time.Now()
			set(t, b, "load", 0.5)
			require.JSONEq(t, `{"load":0.5}`, c.value())
			require.Zero(t, time.Since(start), "after a quiet time at once")
			for i := range 1000 {
				set(t, b, "load", i)
				set(t, b, "up", true)
			}
			require.JSONEq(t, `{"load":999,"up":true}`, c.value())
			require.Equal(t, every, time.Since(start))
			b.Delete("load")
			b.Delete("nothing")
			require.JSONEq(t, `{"up":true}`, c.value())
			require.Equal(t, 2*every, time.Since(start))

			set(t, b, "up", true) // as it is
			time.Sleep(5 * every)
			set(t, b, "up", false) // and back again within an interval
			require.JSONEq(t, `{"up":false}`, c.value())
			set(t, b, "up", true)
			set(t, b, "up", false)
			time.Sleep(5 * every)
			require.Empty(t, c.in, "nothing has changed")
		})
	})
	t.Run("newcomers, those who come back, and slow readers get the present", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			broker := realtime.NewMemoryBroker(nil)
			share := func(o *realtime.Options) { o.Broker, o.MaxQueue = broker, 256<<10 }
			w := &world{}
			writer, other := inBubble(t, w, w, share), inBubble(t, w, w, share)
			b, err := writer.NewBoard("board:x", every)
			require.NoError(t, err)
			slow, resume := other.stall("board:x")
			big := strings.Repeat("x", 20<<10)
			for i := range 100 {
				set(t, b, "n", i)
				set(t, b, "big", fmt.Sprint(i, big))
				time.Sleep(every / 10)
			}
			time.Sleep(every)
			now := fmt.Sprintf(`{"big":"%s","n":99}`, fmt.Sprint(99, big))

			c := other.join("ann/s1")
			r := c.subscribe("board:x", "")
			require.Equal(t, now, r.present())
			require.False(t, r.Recovered, "it had nothing to recover")
			c.call(`"unsubscribe":{"channel":"board:x"}`)
			r = c.subscribe("board:x", fmt.Sprintf(`,"recover":true,"offset":%d,"epoch":%q`, r.Offset-3, r.Epoch))
			require.True(t, r.Recovered)
			require.Equal(t, now, r.present())
			c.call(`"unsubscribe":{"channel":"board:x"}`)
			r = c.subscribe("board:x", fmt.Sprintf(`,"recover":true,"offset":%d,"epoch":%q`, r.Offset, r.Epoch))
			require.True(t, r.Recovered)
			require.Equal(t, "0 publications", r.present(), "it has it")

			resume()
			for count := 1; slow.value() != now; count++ {
				require.Less(t, count, 5+3, "besides what the connection itself holds")
			}
			require.True(t, slow.live())
		})
	})
	t.Run("it outlasts its HistoryTTL", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			b, err := s.NewBoard("board:x", every)
			require.NoError(t, err)
			empty, err := s.NewBoard("board:y", every)
			require.NoError(t, err)
			defer empty.Close()
			set(t, b, "k", 1)
			time.Sleep(150 * time.Minute)
			c := s.join("ann/s1")
			require.JSONEq(t, `{"k":1}`, c.subscribe("board:x", "").present())
			require.Equal(t, "0 publications", c.subscribe("board:y", "").present())
			require.Less(t, c.subscribe("board:z", "").Offset, uint64(1))
			b.Close()
			set(t, b, "k", 2)
			time.Sleep(time.Hour)
			d := s.join("bob/s2")
			require.Equal(t, "0 publications", d.subscribe("board:x", "").present(), "closed, and forgotten")
		})
	})
	t.Run("a broker that is down: the newest follows once it is back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			bus := &brokenBus{MemoryBroker: realtime.NewMemoryBroker(nil)}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = bus })
			b, err := s.NewBoard("board:x", every)
			require.NoError(t, err)
			c := s.join("ann/s1")
			c.subscribe("board:x", "")
			set(t, b, "k", 1)
			require.JSONEq(t, `{"k":1}`, c.value())
			bus.mu.Lock()
			bus.down, bus.tries = errors.New("down"), 0
			bus.mu.Unlock()
			set(t, b, "k", 2)
			set(t, b, "k", 3)
			time.Sleep(10*every - every/2)
			bus.mu.Lock()
			require.InDelta(t, 9, bus.tries, 1)
			bus.down = nil
			bus.mu.Unlock()
			require.JSONEq(t, `{"k":3}`, c.value())
		})
	})
	t.Run("what can't be is refused, and leaves the key as it was", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.MaxQueue = 256 << 10 })
			for _, channel := range []string{"room:x", "plain:x"} {
				_, err := s.NewBoard(channel, every)
				require.ErrorContains(t, err, "Latest")
			}
			_, err := s.NewBoard("nowhere:x", every)
			require.ErrorIs(t, err, realtime.ErrUnknownChannel)
			_, err = s.NewBoard("board:x", 0)
			require.Error(t, err)
			b, err := s.NewBoard("board:x", every)
			require.NoError(t, err)
			set(t, b, "k", "kept")
			for _, bad := range []any{func() {}, json.RawMessage(`{`), strings.Repeat("x", 64<<10), json.RawMessage(strings.Repeat("[", 600) + strings.Repeat("]", 600))} {
				require.Error(t, b.Set("k", bad))
			}
			require.Error(t, b.Set("\xff", 1))
			set(t, b, "half", strings.Repeat("x", 40<<10))
			set(t, b, "half", strings.Repeat("y", 40<<10)) // in its own place
			require.Error(t, b.Set("other", strings.Repeat("x", 30<<10)))
			b.Delete("half")
			set(t, b, "other", strings.Repeat("x", 30<<10))
			b.Delete("other")
			synctest.Wait()
			time.Sleep(2 * every)
			require.JSONEq(t, `{"k":"kept"}`, s.join("ann/s1").subscribe("board:x", "").present())
		})
	})
}
