package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// subscribed is what a subscribe reply says.
type subscribed struct {
	Recoverable, Positioned, Recovered bool
	WasRecovering                      bool `json:"was_recovering"`
	Offset                             uint64
	Epoch                              string
	Publications                       []struct {
		Data   json.RawMessage
		Offset uint64
	}
}

func (c *client) subscribe(channel, more string) (r subscribed) {
	c.t.Helper()
	m := c.call(`"subscribe":{"channel":"` + channel + `"` + more + `}`)
	require.NotContains(c.t, m, "error", string(m["error"]))
	require.NoError(c.t, json.Unmarshal(m["subscribe"], &r))
	return r
}

// numbers reads publications until n of them came, and returns their data and offsets.
func (c *client) numbers(n int) (data []int, offsets []uint64) {
	c.t.Helper()
	for len(data) < n {
		var p struct {
			Pub *struct {
				Data   int
				Offset uint64
			}
		}
		require.NoError(c.t, json.Unmarshal([]byte(c.push()), &p))
		if p.Pub != nil {
			data, offsets = append(data, p.Pub.Data), append(offsets, p.Pub.Offset)
		}
	}
	return data, offsets
}

func TestR8_OrderAndRecovery(t *testing.T) {
	t.Run("R8 order is kept, nothing lost or doubled", func(t *testing.T) {
		const n = 3000
		s := open(t, func(o *realtime.Options) { o.CommandsPerSec = 10_000; o.MaxQueue = 8 << 20 })
		a, b := s.join("ann/s1"), s.join("bob/s2")
		a.subscribe("room:x", "")
		b.subscribe("room:x", "")
		go func() {
			for i := range n {
				a.write(fmt.Sprintf(`{"id":%d,"publish":{"channel":"room:x","data":%d}}`, 100+i, i))
			}
		}()
		data, offsets := b.numbers(n)
		for i := range n {
			require.Equal(t, i, data[i])
			require.Equal(t, uint64(i+1), offsets[i])
		}
	})
	t.Run("R8 what was missed is recovered", func(t *testing.T) {
		s := open(t, nil)
		a := s.join("ann/s1")
		r := a.subscribe("room:x", "")
		require.True(t, r.Recoverable && r.Positioned)
		require.False(t, r.WasRecovering || r.Recovered)
		for i := range 5 {
			require.NoError(t, s.Publish(t.Context(), "room:x", fmt.Appendf(nil, "%d", i)))
		}
		b := s.join("ann/s1").subscribe("room:x", `,"recover":true,"offset":2,"epoch":"`+r.Epoch+`"`)
		require.True(t, b.Recovered && b.WasRecovering)
		require.Equal(t, uint64(2), b.Offset, "the client counts on from where it was")
		require.Len(t, b.Publications, 3)
		for i, p := range b.Publications {
			require.Equal(t, uint64(3+i), p.Offset)
		}
	})
	t.Run("R8 not recovered is said out loud", func(t *testing.T) {
		s := open(t, func(o *realtime.Options) {
			o.Channels = map[string]realtime.Channel{"room:": {HistorySize: 3, HistoryTTL: time.Hour}}
			o.MaxHistory = 2
		})
		epoch := s.join("ann/s1").subscribe("room:x", "").Epoch
		for i := range 5 {
			require.NoError(t, s.Publish(t.Context(), "room:x", fmt.Appendf(nil, "%d", i)))
		}
		for name, c := range map[string]struct {
			offset    int
			epoch     string
			recovered bool
		}{
			"nothing missed":          {5, epoch, true},
			"two missed":              {3, epoch, true},
			"three: more than sent":   {2, epoch, false},
			"one is gone from memory": {1, epoch, false},
			"from the start":          {0, "", false},
			"another epoch":           {5, "other", false},
			"no epoch":                {5, "", false},
			"the future":              {6, epoch, false},
		} {
			r := s.join("ann/s1").subscribe("room:x", fmt.Sprintf(`,"recover":true,"offset":%d,"epoch":"%s"`, c.offset, c.epoch))
			require.Equal(t, c.recovered, r.Recovered, name)
			require.True(t, r.WasRecovering, name)
			if !c.recovered {
				require.Equal(t, uint64(5), r.Offset, name)
				require.Equal(t, epoch, r.Epoch, name)
				require.Empty(t, r.Publications, name)
			}
		}
	})
	t.Run("R8 from the very start", func(t *testing.T) {
		s := open(t, nil)
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`1`)))
		r := s.join("ann/s1").subscribe("room:x", `,"recover":true`)
		require.True(t, r.Recovered)
		require.Len(t, r.Publications, 1)
	})
	t.Run("R8 over a restart of the broker", func(t *testing.T) {
		epoch := open(t, nil).join("ann/s1").subscribe("room:x", "").Epoch
		r := open(t, nil).join("ann/s1").subscribe("room:x", `,"recover":true,"offset":0,"epoch":"`+epoch+`"`)
		require.False(t, r.Recovered)
	})
	t.Run("R8 on another node of one broker", func(t *testing.T) {
		broker := realtime.NewMemoryBroker(nil)
		share := func(o *realtime.Options) { o.Broker = broker }
		one, two := open(t, share), open(t, share)
		a := one.join("ann/s1")
		epoch := a.subscribe("room:x", "").Epoch
		b := two.join("bob/s2")
		b.subscribe("room:x", "")
		require.NoError(t, one.Publish(t.Context(), "room:x", []byte(`0`)))
		require.NoError(t, two.Publish(t.Context(), "room:x", []byte(`1`)))
		for _, c := range []*client{a, b} {
			data, _ := c.numbers(2)
			require.Equal(t, []int{0, 1}, data)
		}
		r := two.join("ann/s1").subscribe("room:x", `,"recover":true,"offset":1,"epoch":"`+epoch+`"`)
		require.True(t, r.Recovered)
		require.Len(t, r.Publications, 1)
		require.Contains(t, string(a.call(`"presence":{"channel":"room:x"}`)["presence"]), `"bob"`, "presence of the other node")
	})
	t.Run("R8 subscribing while others publish: a seamless join", func(t *testing.T) {
		s := open(t, func(o *realtime.Options) { o.MaxQueue = 8 << 20 })
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				_ = s.Publish(t.Context(), "room:x", fmt.Appendf(nil, "%d", i))
				time.Sleep(50 * time.Microsecond)
			}
		})
		for range 30 {
			c := s.join("ann/s1")
			at := c.subscribe("room:x", "").Offset
			_, offsets := c.numbers(20)
			for i, o := range offsets {
				require.Equal(t, at+uint64(i)+1, o)
			}
			_ = c.ws.CloseNow()
		}
		close(stop)
		wg.Wait()
	})
	t.Run("R8 a gap at the broker makes clients recover", func(t *testing.T) {
		b := &gapBroker{MemoryBroker: realtime.NewMemoryBroker(nil)}
		s := open(t, func(o *realtime.Options) { o.Broker = b })
		c := s.join("ann/s1")
		r := c.subscribe("room:x", "")
		c.push() // its own join
		b.drop(true)
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`0`)))
		b.drop(false)
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`1`))) // offset 2: 1 is missing
		require.JSONEq(t, `{"channel":"room:x","unsubscribe":{"code":2500,"reason":"insufficient state"}}`, c.push())
		r = c.subscribe("room:x", `,"recover":true,"offset":0,"epoch":"`+r.Epoch+`"`)
		require.True(t, r.Recovered)
		require.Len(t, r.Publications, 2)
		require.Contains(t, c.push(), `"join"`, "its own, and not the leave of what it was put out of")
		b.handler.Gap(nil)
		require.Contains(t, c.push(), `"code":2500`)
	})
	t.Run("R10 who subscribes again at once stays in presence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &gapBroker{MemoryBroker: realtime.NewMemoryBroker(nil), slow: time.Second}
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = b })
			c := s.join("ann/s1")
			c.subscribe("room:x", "")
			c.push() // its own join
			b.handler.Gap(nil)
			require.Contains(t, c.push(), `"code":2500`)
			c.subscribe("room:x", "")
			time.Sleep(2 * time.Second)
			require.Contains(t, string(c.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"]), `"num_clients":1`)
		})
	})
	t.Run("R8 history expires", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			c := s.join("ann/s1")
			require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`0`)))
			time.Sleep(59 * time.Minute)
			require.Contains(t, string(c.call(`"history":{"channel":"room:x","limit":-1}`)["history"]), `"data":0`)
			time.Sleep(time.Minute)
			require.JSONEq(t, `[]`, field(c.call(`"history":{"channel":"room:x","limit":-1}`)["history"], "publications"))
		})
	})
	t.Run("R8 history pages both ways", func(t *testing.T) {
		s := open(t, nil)
		c := s.join("ann/s1")
		for i := range 5 {
			require.NoError(t, s.Publish(t.Context(), "room:x", fmt.Appendf(nil, "%d", i+1)))
		}
		for query, want := range map[string]string{
			`"limit":0`:                      "",
			`"limit":2`:                      "1 2",
			`"limit":-1`:                     "1 2 3 4 5",
			`"limit":2,"since":{"offset":2}`: "3 4",
			`"limit":2,"reverse":true`:       "5 4",
			`"limit":2,"reverse":true,"since":{"offset":4}`: "3 2",
			`"limit":9,"since":{"offset":9}`:                "",
		} {
			var h struct {
				Publications []struct{ Data int }
				Offset       int
			}
			require.NoError(t, json.Unmarshal(c.call(`"history":{"channel":"room:x",` + query + `}`)["history"], &h))
			var got []string
			for _, p := range h.Publications {
				got = append(got, fmt.Sprint(p.Data))
			}
			require.Equal(t, want, strings.Join(got, " "), query)
			require.Equal(t, 5, h.Offset)
		}
		require.Equal(t, 112, code(c.call(`"history":{"channel":"room:x","limit":1,"since":{"offset":1,"epoch":"x"}}`)))
		require.Equal(t, 108, code(c.call(`"history":{"channel":"plain:x","limit":1}`)))
	})
}

func field(m json.RawMessage, name string) string {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(m, &all)
	return string(all[name])
}

// gapBroker loses events on request.
type gapBroker struct {
	*realtime.MemoryBroker
	handler realtime.Handler
	mu      sync.Mutex
	losing  bool
	slow    time.Duration // of Leave
}

func (b *gapBroker) Leave(ctx context.Context, node, channel, client string) error {
	time.Sleep(b.slow)
	return b.MemoryBroker.Leave(ctx, node, channel, client)
}

func (b *gapBroker) drop(on bool) { b.mu.Lock(); b.losing = on; b.mu.Unlock() }

func (b *gapBroker) Attach(h realtime.Handler) (realtime.Link, error) {
	b.handler = h
	return b.MemoryBroker.Attach(losing{h, b})
}

type losing struct {
	realtime.Handler
	b *gapBroker
}

func (l losing) Deliver(channel string, e realtime.Event) {
	l.b.mu.Lock()
	drop := l.b.losing
	l.b.mu.Unlock()
	if !drop {
		l.Handler.Deliver(channel, e)
	}
}

func TestServerSideSubscriptions(t *testing.T) {
	s := open(t, func(o *realtime.Options) {
		o.Subscribe = func(who realtime.Identity) []string {
			return []string{"room:all", "user:" + who.UserID(), "user:other"}
		}
	})
	c := s.dial(header{cookie: "ann/s1"})
	var reply struct{ Subs map[string]subscribed }
	require.NoError(t, json.Unmarshal(c.call(`"connect":{}`)["connect"], &reply))
	require.Len(t, reply.Subs, 2)
	require.True(t, reply.Subs["room:all"].Recoverable)
	require.Contains(t, c.push(), `"join"`)
	require.NoError(t, s.Publish(t.Context(), "room:all", []byte(`1`)))
	require.NoError(t, s.Publish(t.Context(), "room:all", []byte(`2`)))
	c.numbers(2)
	again := s.dial(header{cookie: "ann/s1"})
	m := again.call(`"connect":{"subs":{"room:all":{"recover":true,"offset":1,"epoch":"` + reply.Subs["room:all"].Epoch + `"}}}`)
	require.NoError(t, json.Unmarshal(m["connect"], &reply))
	require.True(t, reply.Subs["room:all"].Recovered)
	require.Len(t, reply.Subs["room:all"].Publications, 1)
}
