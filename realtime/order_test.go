package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// hooked is a broker that calls back in the middle of things.
type hooked struct {
	*realtime.MemoryBroker
	handler realtime.Handler
	publish func(e realtime.Event)
	enter   func() error // after it has entered
	before  func()       // before it enters
	leave   func()
	leaving func(ctx context.Context) error // in place of leaving
}

func (b *hooked) Attach(h realtime.Handler) (realtime.Link, error) {
	b.handler = h
	return b.MemoryBroker.Attach(h)
}

func (b *hooked) Publish(ctx context.Context, channel string, e realtime.Event) error {
	if b.publish != nil {
		b.publish(e)
	}
	return b.MemoryBroker.Publish(ctx, channel, e)
}

func (b *hooked) Enter(ctx context.Context, node, channel string, c realtime.ClientInfo, ttl time.Duration) error {
	if b.before != nil {
		b.before()
	}
	err := b.MemoryBroker.Enter(ctx, node, channel, c, ttl)
	if b.enter != nil {
		err = b.enter()
	}
	return err
}

func (b *hooked) Leave(ctx context.Context, node, channel, client string) error {
	if b.leave != nil {
		b.leave()
	}
	if b.leaving != nil {
		if err := b.leaving(ctx); err != nil {
			return err
		}
	}
	return b.MemoryBroker.Leave(ctx, node, channel, client)
}

func TestR10_Presence(t *testing.T) {
	nobody := func(c *client) {
		c.t.Helper()
		require.JSONEq(c.t, `{"num_clients":0,"num_users":0}`, string(c.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"]))
	}
	t.Run("R10 a node that died leaves no ghosts for longer than three beats", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			broker := realtime.NewMemoryBroker(nil)
			w := &world{}
			c := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = broker }).join("ann/s1")
			require.NoError(t, broker.Enter(t.Context(), "killed", "room:x", realtime.ClientInfo{Client: "c", User: "bob"}, 30*time.Second))
			require.Contains(t, string(c.call(`"presence":{"channel":"room:x"}`)["presence"]), `"bob"`)
			time.Sleep(30 * time.Second)
			nobody(c)
		})
	})
	t.Run("R10 an entry that failed after it took effect", func(t *testing.T) {
		b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil), enter: func() error { return errors.New("timeout") }}
		c := open(t, func(o *realtime.Options) { o.Broker = b }).join("ann/s1")
		require.Equal(t, 100, code(c.call(`"subscribe":{"channel":"room:x"}`)))
		nobody(c)
	})
	t.Run("R10 a close while entering", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil)}
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = b })
			c, watcher := s.join("ann/s1"), s.join("bob/s2")
			b.before = func() {
				_ = s.EndSession(context.Background(), "s1", "")
				time.Sleep(time.Second) // what the close undoes is undone
			}
			c.write(`{"id":5,"subscribe":{"channel":"room:x"}}`)
			require.Equal(t, 4501, c.code())
			time.Sleep(5 * time.Second)
			nobody(watcher)
		})
	})
	t.Run("R10 a leave never overtakes its join", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil)}
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = b })
			c, watcher := s.join("ann/s1"), s.join("bob/s2")
			watcher.subscribe("room:x", "")
			watcher.push()
			b.publish = func(e realtime.Event) {
				if e.Kind == realtime.EventJoin {
					_ = s.EndSession(context.Background(), "s1", "")
					time.Sleep(time.Second)
				}
			}
			c.write(`{"id":5,"subscribe":{"channel":"room:x"}}`)
			require.Contains(t, watcher.push(), `"join"`)
			require.Contains(t, watcher.push(), `"leave"`)
		})
	})
}

func TestR10_AQuickReconnectDoesNotFlap(t *testing.T) {
	users := func(c *client) string {
		c.t.Helper()
		return field(c.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"], "num_users")
	}
	// Two nodes on one broker: bob watches ann from the second.
	world := func(t *testing.T) (one, other *site, ann, bob *client) {
		broker, w := realtime.NewMemoryBroker(nil), &world{}
		share := func(o *realtime.Options) { o.Broker = broker }
		one, other = inBubble(t, w, w, share), inBubble(t, w, w, share)
		ann, bob = one.join("ann/s1"), other.join("bob/s2")
		bob.subscribe("room:x", "")
		require.Contains(t, bob.push(), `"join"`)
		ann.subscribe("room:x", "")
		require.Contains(t, bob.push(), `"join"`)
		return one, other, ann, bob
	}
	for name, lose := range map[string]func(one *site, ann *client){
		"R10 a connection that broke": func(_ *site, ann *client) { _ = ann.ws.CloseNow() },
		"R10 a page that is reloaded": func(_ *site, ann *client) { _ = ann.ws.Close(websocket.StatusGoingAway, "") },
		"R10 a node that drains":      func(one *site, _ *client) { _ = one.Drain(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, other, ann, bob := world(t)
				lose(one, ann)
				<-ann.done
				time.Sleep(500 * time.Millisecond)
				require.Equal(t, "2", users(bob))
				again := other.join("ann/s1")
				again.subscribe("room:x", "")
				require.Contains(t, bob.push(), `"join"`)
				require.Equal(t, "2", users(bob))
				start := time.Now()
				require.Contains(t, bob.push(), `"leave"`)
				require.LessOrEqual(t, time.Since(start), 2*time.Second)
				require.JSONEq(t, `{"num_clients":2,"num_users":2}`, string(bob.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"]))
			})
		})
	}
	t.Run("R10 who doesn't come back is gone after the grace", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, ann, bob := world(t)
			start := time.Now()
			_ = ann.ws.CloseNow()
			require.Contains(t, bob.push(), `"leave"`)
			require.Equal(t, 2*time.Second, time.Since(start))
			require.Equal(t, "1", users(bob))
		})
	})
	for name, lose := range map[string]func(one *site, ann *client){
		"R10 who says goodbye leaves at once":    func(_ *site, ann *client) { _ = ann.ws.Close(websocket.StatusNormalClosure, "") },
		"R10 who is put out leaves at once":      func(one *site, _ *client) { _ = one.EndUser(context.Background(), "ann", "") },
		"R10 a node that closes leaves no ghost": func(one *site, _ *client) { _ = one.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, _, ann, bob := world(t)
				start := time.Now()
				lose(one, ann)
				require.Contains(t, bob.push(), `"leave"`)
				require.Less(t, time.Since(start), time.Second)
				require.Equal(t, "1", users(bob))
			})
		})
	}
}

// Its node lives and beats, so what a store that was down still lists would stay.
func TestR10_AStoreThatWasDownKeepsNoGhosts(t *testing.T) {
	clients := func(c *client) string {
		c.t.Helper()
		return field(c.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"], "num_clients")
	}
	outage := func(t *testing.T) (down *atomic.Bool, s *site, ann, bob *client) {
		down = &atomic.Bool{}
		b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil), leaving: func(context.Context) error {
			if down.Load() {
				return errors.New("the store is down")
			}
			return nil
		}}
		w := &world{}
		s = inBubble(t, w, w, func(o *realtime.Options) { o.Broker = b })
		ann, bob = s.join("ann/s1"), s.join("bob/s2")
		ann.subscribe("room:x", "")
		return down, s, ann, bob
	}
	t.Run("R10 who left meanwhile is gone after the next beat", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			down, _, ann, bob := outage(t)
			down.Store(true)
			_ = ann.ws.CloseNow()
			time.Sleep(15 * time.Second)
			require.Equal(t, "1", clients(bob))
			down.Store(false)
			time.Sleep(10 * time.Second)
			require.Equal(t, "0", clients(bob))
		})
	})
	t.Run("R10 who came back meanwhile stays", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			down, _, ann, bob := outage(t)
			down.Store(true)
			ann.call(`"unsubscribe":{"channel":"room:x"}`)
			ann.subscribe("room:x", "")
			down.Store(false)
			time.Sleep(30 * time.Second)
			require.Equal(t, "1", clients(bob))
		})
	})
	t.Run("R10 one that fails again is not in the others' way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var calls, failed atomic.Int64
			b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil), leaving: func(context.Context) error {
				if n := calls.Add(1); n <= 32 || n%2 == 0 {
					failed.Add(1)
					return errors.New("the store is down")
				}
				return nil
			}}
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = b })
			c := s.join("ann/s1")
			for i := range 32 {
				c.subscribe(fmt.Sprintf("room:%d", i), "")
			}
			_ = c.ws.CloseNow()
			time.Sleep(80 * time.Second)
			require.Greater(t, failed.Load(), int64(32))
			for i := range 32 {
				clients, _, err := b.Stats(t.Context(), fmt.Sprintf("room:%d", i))
				require.NoError(t, err)
				require.Zero(t, clients)
			}
		})
	})
	t.Run("R11 a store that hangs delays Close by one timeout, not by one a channel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil), leaving: func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}}
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = b })
			c := s.join("ann/s1")
			for i := range 20 {
				c.subscribe(fmt.Sprintf("room:%d", i), "")
			}
			start := time.Now()
			require.NoError(t, s.Close())
			require.Less(t, time.Since(start), 10*time.Second)
		})
	})
}

func TestR8_GapsAreToldOnce(t *testing.T) {
	t.Run("R8 a gap inside of one round", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &gapBroker{MemoryBroker: realtime.NewMemoryBroker(nil)}
			s, fast, release := heldRound(t, b, "once:x")
			defer release()
			for _, lost := range []bool{false, true, false} {
				b.drop(lost)
				require.NoError(t, s.Publish(t.Context(), "once:x", []byte(`1`)))
			}
			release()
			require.Contains(t, fast.pushOf(`"unsubscribe"`), `"code":2500`)
		})
	})
	t.Run("R3 who enters while all may be lost is judged anew: that rights have changed may be lost, too", func(t *testing.T) {
		g := &gate{grant: everything}
		b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil)}
		s := gated(t, g, func(o *realtime.Options) { o.Broker = b })
		c := s.join("ann/s1")
		g.hook = func(n int) {
			if n == 1 { // another hub says so, and isn't heard
				g.set(realtime.Grant{}, realtime.ErrDenied)
				b.handler.Gap(nil)
			}
		}
		require.Equal(t, 100, code(c.call(`"subscribe":{"channel":"room:x"}`)))
		require.Equal(t, 103, code(c.call(`"subscribe":{"channel":"room:x"}`)))
	})
	t.Run("R8 a round of two epochs is a gap, not a publication in the wrong place", func(t *testing.T) {
		for _, channel := range []string{"room:x", "drop:x", "board:x"} {
			b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil)}
			s := open(t, func(o *realtime.Options) { o.Broker = b })
			for range 2 {
				require.NoError(t, s.Publish(t.Context(), channel, []byte(`1`)))
			}
			_, top, err := b.Read(t.Context(), channel, realtime.ReadFilter{Keep: realtime.Keep{Size: 10, TTL: time.Hour}})
			require.NoError(t, err)
			b.enter = func() error { // what was published before the history was read comes late
				for _, at := range []realtime.Position{{Offset: 2, Epoch: "before"}, {Offset: 3, Epoch: "before"}, {Offset: 1, Epoch: top.Epoch}, top} {
					b.handler.Deliver(channel, realtime.Event{Kind: realtime.EventPublication, Publication: realtime.Publication{Offset: at.Offset, Epoch: at.Epoch, Data: []byte(`2`)}})
				}
				return nil
			}
			for range 20 { // they are mostly in one round
				c := s.join("ann/s1")
				c.subscribe(channel, `,"recover":true,"offset":2,"epoch":"`+top.Epoch+`"`)
				require.Contains(t, c.push(), `"code":2500`, channel)
				require.NoError(t, c.ws.CloseNow())
			}
		}
	})
	t.Run("R8 channels of the server's making: the connection comes back", func(t *testing.T) {
		b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil)}
		s := open(t, func(o *realtime.Options) {
			o.Broker = b
			o.Subscribe = func(realtime.Identity) []string { return []string{"room:all"} }
		})
		c := s.join("ann/s1")
		c.push() // its own join
		b.handler.Gap(nil)
		require.Equal(t, 3010, c.code(), "SDKs don't subscribe to them again")
	})
	t.Run("R8 told at once, not after a subscription that follows", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil)}
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = b })
			c := s.join("ann/s1")
			c.subscribe("room:x", "")
			c.push()
			block := make(chan struct{})
			b.leave = func() { <-block } // a broker that is slow to clean up
			defer close(block)
			b.handler.Gap([]string{"room:x"})
			require.Contains(t, c.push(), `"code":2500`)
		})
	})
	t.Run("R8 Latest: a value that has expired is not recovered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			c := s.join("ann/s1")
			epoch := c.subscribe("board:x", `,"recover":true`).Epoch
			c.push()
			require.NoError(t, s.Publish(t.Context(), "board:x", []byte(`1`)))
			c.push()
			time.Sleep(time.Hour)
			again := func(offset int, epoch string) bool {
				return s.join("ann/s1").subscribe("board:x", fmt.Sprintf(`,"recover":true,"offset":%d,"epoch":"%s"`, offset, epoch)).Recovered
			}
			require.True(t, again(1, epoch), "the client has it")
			require.False(t, again(0, epoch), "the client has missed it for good")
			require.False(t, again(1, "another"))
		})
	})
}

func TestR8_MemoryIsBounded(t *testing.T) {
	b := realtime.NewMemoryBroker(&realtime.MemoryOptions{MaxBytes: 16 * 100 << 10})
	keep := realtime.Keep{Size: 1000, TTL: time.Hour}
	add := func(channel string, n int) {
		_, err := b.Append(t.Context(), channel, realtime.Publication{Data: kilobytes(n), Time: time.Now()}, keep)
		require.NoError(t, err)
	}
	for i := range 100 {
		add(fmt.Sprint("room:", i), 0)
	}
	for range 100 {
		add("room:hot", 10)
	}
	pubs, top, err := b.Read(t.Context(), "room:hot", realtime.ReadFilter{Limit: 1000, Keep: keep})
	require.NoError(t, err)
	require.Equal(t, uint64(100), top.Offset)
	require.Len(t, pubs, 4, "half of a sixteenth of MaxBytes")
	require.Equal(t, uint64(100), pubs[3].Offset)
	for i := range 100 {
		pubs, _, err := b.Read(t.Context(), fmt.Sprint("room:", i), realtime.ReadFilter{Limit: 1, Keep: keep})
		require.NoError(t, err)
		require.Len(t, pubs, 1, "one channel drives out nobody else's")
	}
}

// Whoever may enter any channel makes one with every name.
func TestR9_ChannelsOfNothingDriveOutNoHistory(t *testing.T) {
	const rooms = 16
	b := realtime.NewMemoryBroker(&realtime.MemoryOptions{MaxChannels: 16 * 2 * rooms}) // however they fall into shards
	keep := realtime.Keep{Size: 10, TTL: time.Hour}
	for i := range rooms {
		_, err := b.Append(t.Context(), fmt.Sprint("room:", i), realtime.Publication{Data: kilobytes(0), Time: time.Now()}, keep)
		require.NoError(t, err)
	}
	for i := range 10_000 {
		_, _, err := b.Read(t.Context(), fmt.Sprint("room:made up ", i), realtime.ReadFilter{Keep: keep})
		require.NoError(t, err)
	}
	for i := range rooms {
		_, top, err := b.Read(t.Context(), fmt.Sprint("room:", i), realtime.ReadFilter{Keep: keep})
		require.NoError(t, err)
		require.Equal(t, uint64(1), top.Offset)
	}
}

// An answer of the rule that is older than the last Reauthorize must not
// outlive it.
func TestR3_AnOldAnswerDoesNotReplaceANewerOne(t *testing.T) {
	g := &gate{grant: everything}
	s := gated(t, g, nil)
	c := s.join("ann/s1")
	c.call(`"subscribe":{"channel":"room:x"}`)
	c.push()
	var changed atomic.Bool
	g.mu.Lock()
	g.hook = func(int) { // the rule has said yes; the answer is still on its way
		if changed.CompareAndSwap(false, true) {
			g.set(realtime.Grant{}, nil)
			_ = s.Reauthorize(context.Background(), "ann")
		}
	}
	g.mu.Unlock()
	require.NoError(t, s.Reauthorize(t.Context(), "ann"))
	require.Equal(t, 103, code(c.call(`"publish":{"channel":"room:x","data":1}`)))
}

func TestR1_ALostCursorWithManySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		s := inBubble(t, w, w, nil)
		const n = 200
		clients := make([]*client, n)
		for i := range clients {
			clients[i] = s.join(fmt.Sprintf("u%d/s%d", i, i))
		}
		w.set(func() {
			w.alive = func(string) { time.Sleep(300 * time.Millisecond) } // a minute, one after another
			w.ended, w.forget = append(w.ended, "x", "s7", "y"), 3
		})
		require.Equal(t, 4501, clients[7].code())
		time.Sleep(time.Second)
		start := time.Now()
		w.end("s8") // found by the cursor while others are still in doubt
		require.Equal(t, 4501, clients[8].code())
		require.LessOrEqual(t, time.Since(start), time.Second)
		time.Sleep(2 * time.Minute)
		for i, c := range clients {
			require.Equal(t, i != 7 && i != 8, c.live(), i)
		}
	})
}

func TestNothingComesBeforeTheConnectReply(t *testing.T) {
	s := open(t, func(o *realtime.Options) { o.MaxQueue = 64 << 20 })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = s.SendUser(context.Background(), "ann", []byte(`1`))
				}
			}
		})
	}
	for range 200 {
		c := s.dial(header{cookie: "ann/s1"})
		c.write(`{"id":1,"connect":{}}`)
		require.Contains(t, c.next(), "connect")
		_ = c.ws.CloseNow()
	}
	close(stop)
	wg.Wait()
}

// Everything at once: what is left in the end is nothing.
func TestR16_EverythingAtOnce(t *testing.T) {
	broker := realtime.NewMemoryBroker(nil)
	var logins atomic.Int64
	nodes := make([]*site, 2)
	w := &world{}
	for i := range nodes {
		nodes[i] = &site{t: t, world: w, Hub: newHub(t, w, pushing{w}, func(o *realtime.Options) {
			o.Broker = broker
			o.Subscribe = func(who realtime.Identity) []string { return []string{"room:all", "user:" + who.UserID()} }
			o.DrainWindow = 100 * time.Millisecond
		})}
		serve(t, nodes[i])
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	repeat := func(f func()) {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					f()
				}
			}
		})
	}
	for range 12 {
		repeat(func() {
			n := logins.Add(1)
			s := nodes[n%2]
			ws, _, err := s.handshake(header{cookie: fmt.Sprintf("u%d/s%d", n%20, n)})
			if err != nil {
				time.Sleep(time.Millisecond)
				return // draining
			}
			ws.SetReadLimit(-1)
			c := (&client{t: t, ws: ws, in: make(chan map[string]json.RawMessage, 100_000), done: make(chan struct{})}).start()
			c.write(`{"id":1,"connect":{}}`)
			for i := range rand.IntN(6) {
				c.write(strings.ReplaceAll(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"room:%d","recover":true}}`+"\n"+
					`{"id":%d,"publish":{"channel":"room:%d","data":1}}`+"\n"+`{"id":%d,"unsubscribe":{"channel":"room:%d"}}`+"\n"+
					`{"id":%d,"refresh":{"token":"u/s"}}`, 10*i+2, i%3, 10*i+3, i%3, 10*i+4, (i+1)%3, 10*i+5), "u/s", fmt.Sprintf("u%d/s%d", n%20, n)))
			}
			switch rand.IntN(3) {
			case 0:
				w.push(fmt.Sprintf("s%d", n), "revoked")
			case 1:
				_ = nodes[0].EndUser(context.Background(), fmt.Sprintf("u%d", n%20), "")
			}
			_ = ws.CloseNow()
			<-c.done
		})
	}
	repeat(func() { _ = nodes[0].Publish(context.Background(), "room:all", []byte(`1`)) })
	repeat(func() { _ = nodes[1].SendUser(context.Background(), "u3", []byte(`1`)) })
	repeat(func() { _ = nodes[1].Reauthorize(context.Background(), "u3"); time.Sleep(time.Millisecond) })
	time.Sleep(700 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	wg.Go(func() { _ = nodes[1].Drain(ctx) })
	require.NoError(t, nodes[0].Close()) // under load
	time.Sleep(200 * time.Millisecond)
	close(done)
	wg.Wait()
	require.NoError(t, nodes[1].Close())
	for _, channel := range []string{"room:all", "room:0", "room:1", "room:2"} {
		clients, _, err := broker.Stats(t.Context(), channel)
		require.NoError(t, err)
		require.Zero(t, clients, "ghosts in "+channel)
	}
}
