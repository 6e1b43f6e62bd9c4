package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// data is the next message's data.
func (c *client) message() string {
	c.t.Helper()
	var p struct {
		Message struct{ Data json.RawMessage }
	}
	require.NoError(c.t, json.Unmarshal([]byte(c.push()), &p))
	require.NotNil(c.t, p.Message.Data, "not a message")
	return string(p.Message.Data)
}

// grouped is a hub that puts everyone into one group when they connect.
func grouped(t *testing.T, o *realtime.GroupOptions, change func(*realtime.Options)) (*site, *book, *realtime.Group) {
	var g *realtime.Group
	s, b := managed(t, func(o *realtime.Options) {
		o.MaxQueue = 256 << 10
		connect := o.OnConnect
		o.OnConnect = func(ctx context.Context, c *realtime.Conn) (json.RawMessage, error) {
			if _, err := connect(ctx, c); err != nil {
				return nil, err
			}
			return nil, g.Add(c)
		}
		if change != nil {
			change(o)
		}
	})
	g, err := s.NewGroup(o)
	require.NoError(t, err)
	return s, b, g
}

func TestGroup(t *testing.T) {
	t.Run("sends to all in it, in order, and to nobody else", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, nil)
			g, err := s.NewGroup(nil)
			require.NoError(t, err)
			ann, bob, cyd := s.join("ann/s1"), s.join("bob/s2"), s.join("cyd/s3")
			require.NoError(t, g.Add(b.conn("ann")))
			require.NoError(t, g.Add(b.conn("bob")))
			require.NoError(t, g.Add(b.conn("bob")))
			require.Equal(t, 2, g.Len())
			for i := range 200 {
				require.NoError(t, g.Send(t.Context(), fmt.Appendf(nil, `{"n": %d}`, i)))
			}
			for i := range 200 {
				want := fmt.Sprintf(`{"n":%d}`, i)
				require.Equal(t, want, ann.message())
				require.Equal(t, want, bob.message())
			}
			g.Remove(b.conn("bob"))
			g.Remove(b.conn("bob"))
			g.Remove(b.conn("cyd"))
			require.Equal(t, 1, g.Len())
			require.NoError(t, g.Send(t.Context(), json.RawMessage(`"last"`)))
			require.Equal(t, `"last"`, ann.message())
			require.NoError(t, g.Add(b.conn("bob")))
			require.NoError(t, g.Send(t.Context(), json.RawMessage(`"again"`)))
			require.Equal(t, `"again"`, bob.message())
			synctest.Wait()
			require.Empty(t, bob.in)
			require.Empty(t, cyd.in)
			require.Error(t, g.Send(t.Context(), json.RawMessage(`{`)))
			require.Error(t, g.Send(t.Context(), kilobytes(600)))
		})
	})
	t.Run("whoever ends has left it, before OnClose", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var g *realtime.Group
			left := -1
			s, b := managed(t, func(o *realtime.Options) {
				o.OnClose = func(*realtime.Conn, int, string) { left = g.Len() }
			})
			g, err := s.NewGroup(nil)
			require.NoError(t, err)
			one, other := s.join("ann/s1"), s.join("bob/s2")
			gone, stays := b.conn("ann"), b.conn("bob")
			require.NoError(t, g.Add(gone))
			require.NoError(t, g.Add(stays))
			_ = one.ws.CloseNow()
			synctest.Wait()
			require.Equal(t, 1, left)
			require.ErrorIs(t, g.Add(gone), realtime.ErrClosed)
			require.Equal(t, 1, g.Len())
			require.NoError(t, g.Send(t.Context(), json.RawMessage(`1`)))
			require.Equal(t, `1`, other.message())
			require.NoError(t, s.Close())
			require.Zero(t, g.Len())
			require.NoError(t, g.Send(t.Context(), json.RawMessage(`1`)))
		})
	})
	t.Run("a message while connecting comes after the connect reply", func(t *testing.T) {
		for _, o := range []*realtime.GroupOptions{nil, {Overflow: realtime.Latest}} {
			synctest.Test(t, func(t *testing.T) {
				var g *realtime.Group
				s, _ := managed(t, func(o *realtime.Options) {
					o.OnConnect = func(ctx context.Context, c *realtime.Conn) (json.RawMessage, error) {
						if err := g.Add(c); err != nil {
							return nil, err
						}
						if err := g.Send(ctx, json.RawMessage(`"early"`)); err != nil {
							return nil, err
						}
						time.Sleep(time.Second)
						return nil, nil
					}
				})
				g, err := s.NewGroup(o)
				require.NoError(t, err)
				c := s.dial(header{cookie: "ann/s1"})
				c.write(`{"id":1,"connect":{}}`)
				require.Contains(t, c.next(), "connect")
				require.Equal(t, `"early"`, c.message())
				require.NoError(t, g.Send(t.Context(), json.RawMessage(`"late"`)))
				require.Equal(t, `"late"`, c.message())
			})
		}
	})
	t.Run("adding and removing race with ends and sends: nothing is left", func(t *testing.T) {
		var g *realtime.Group
		var conns sync.Map
		s := open(t, func(o *realtime.Options) {
			o.OnConnect = func(_ context.Context, c *realtime.Conn) (json.RawMessage, error) {
				conns.Store(c.Identity().SessionID(), c)
				return nil, nil
			}
		})
		g, err := s.NewGroup(&realtime.GroupOptions{Overflow: realtime.DropOldest, State: func(*realtime.Conn) json.RawMessage { return json.RawMessage(`"state"`) }})
		require.NoError(t, err)
		done := make(chan struct{})
		var sender, wg sync.WaitGroup
		sender.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = g.Send(context.Background(), json.RawMessage(`1`))
				}
			}
		})
		for i := range 30 {
			id := fmt.Sprint("s", i)
			c := s.join("ann/" + id)
			got, _ := conns.Load(id)
			conn := got.(*realtime.Conn)
			for range 4 {
				wg.Go(func() { _ = g.Add(conn) })
				wg.Go(func() { g.Remove(conn) })
			}
			wg.Go(func() { _ = c.ws.CloseNow() })
		}
		wg.Wait() // or the last would be added after it was looked for
		require.Eventually(t, func() bool { return g.Len() == 0 }, 20*time.Second, 10*time.Millisecond)
		close(done)
		sender.Wait()
		require.Zero(t, g.Len())
	})
	t.Run("adding and removing at once leave the group as the last says", func(t *testing.T) {
		b := &book{}
		s := open(t, b.keep)
		s.join("ann/s1")
		conn := b.conn("ann")
		g, err := s.NewGroup(nil)
		require.NoError(t, err)
		for range 20 {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 500 {
						_ = g.Add(conn)
						g.Remove(conn)
					}
				})
			}
			wg.Wait()
			require.Zero(t, g.Len())
		}
	})
	t.Run("what can't be is refused", func(t *testing.T) {
		s := open(t, nil)
		_, err := s.NewGroup(&realtime.GroupOptions{Overflow: 7})
		require.Error(t, err)
		_, err = s.NewGroup(&realtime.GroupOptions{Overflow: realtime.DropOldest})
		require.ErrorContains(t, err, "State")
		g, err := s.NewGroup(nil)
		require.NoError(t, err)
		require.Error(t, g.Tick(t.Context(), 0, nil))
	})
}

func TestR9_SlowConsumersOfGroups(t *testing.T) {
	big := func(i int) []byte { return fmt.Appendf(nil, `{"n":%d,"x":"%s"}`, i, strings.Repeat("x", 8<<10)) }
	number := func(message string) (n int) {
		var m struct{ N int }
		_ = json.Unmarshal([]byte(message), &m)
		return m.N
	}
	const n = 200

	t.Run("R9 Close: 3008, nobody else is delayed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _, g := grouped(t, nil, nil)
			slow, resume := s.stalled("slow/s9")
			fast, start := s.join("bob/s2"), time.Now()
			for i := range n {
				require.NoError(t, g.Send(t.Context(), big(i)))
				synctest.Wait()
			}
			for i := range n {
				require.Equal(t, i, number(fast.message()))
			}
			require.Zero(t, time.Since(start))
			resume()
			require.Equal(t, 3008, slow.code())
			synctest.Wait()
			require.Equal(t, 1, g.Len())
		})
	})
	t.Run("R9 Latest: only the newest waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _, g := grouped(t, &realtime.GroupOptions{Overflow: realtime.Latest}, nil)
			slow, resume := s.stalled("slow/s9")
			fast := s.join("bob/s2")
			for i := range n {
				require.NoError(t, g.Send(t.Context(), big(i)))
				synctest.Wait()
			}
			for i := range n {
				require.Equal(t, i, number(fast.message()))
			}
			resume()
			last, count := -1, 0
			for last < n-1 {
				got := number(slow.message())
				require.Greater(t, got, last)
				last = got
				count++
			}
			require.LessOrEqual(t, count, 3+8, "besides what the connection itself holds")
			require.True(t, slow.live())
			require.Zero(t, s.Snapshot(0).Gaps)
		})
	})
	t.Run("R9 Latest: with no room even for the newest the connection closes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b, g := grouped(t, &realtime.GroupOptions{Overflow: realtime.Latest}, nil)
			slow, resume := s.stalled("slow/s9")
			for s.Snapshot(0).QueueBytes < 210<<10 { // all but full of what isn't the group's
				require.NoError(t, b.conn("slow").Send(kilobytes(8)))
				synctest.Wait()
			}
			require.NoError(t, g.Send(t.Context(), kilobytes(60)))
			synctest.Wait()
			resume()
			require.Equal(t, 3008, slow.code())
		})
	})
	t.Run("R9 DropOldest: the state is sent instead of what was lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var now, asked atomic.Int64
			s, _, g := grouped(t, &realtime.GroupOptions{Overflow: realtime.DropOldest, State: func(*realtime.Conn) json.RawMessage {
				asked.Add(1)
				return fmt.Appendf(nil, `{"state":%d}`, now.Load())
			}}, nil)
			step := func(i int) {
				now.Store(int64(i)) // first the state, then what changed it
				require.NoError(t, g.Send(t.Context(), big(i)))
				synctest.Wait()
			}
			slow, resume := s.stalled("slow/s9")
			for i := range n {
				step(i)
			}
			resume()
			synctest.Wait()
			for i := range 10 {
				step(n + i)
			}
			// A client that takes states and steps has everything, in order.
			has, states, gaps := 0, 0, 0
			for has < n+9 {
				var m struct {
					State *int
					N     int
				}
				require.NoError(t, json.Unmarshal([]byte(slow.message()), &m))
				if m.State != nil {
					if *m.State > has+1 {
						gaps++
					}
					has = *m.State
					states++
					continue
				}
				require.LessOrEqual(t, m.N, has+1, "a gap nobody told of")
				has = max(has, m.N)
			}
			require.Equal(t, 2, states, "one on coming, one after the loss")
			require.Equal(t, 1, gaps)
			require.EqualValues(t, 2, asked.Load())
			require.EqualValues(t, 1, s.Snapshot(0).Gaps)
			require.True(t, slow.live())
		})
	})
	t.Run("R9 what is sent while a state is asked for follows it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _, g := grouped(t, &realtime.GroupOptions{State: func(*realtime.Conn) json.RawMessage {
				time.Sleep(time.Second)
				return json.RawMessage(`"state"`)
			}}, nil)
			c := s.join("ann/s1")
			time.Sleep(100 * time.Millisecond)
			for i := range 3 {
				require.NoError(t, g.Send(t.Context(), fmt.Append(nil, i)))
			}
			for _, want := range []string{`"state"`, `0`, `1`, `2`} {
				require.Equal(t, want, c.message())
			}
		})
	})
	t.Run("R9 a state that takes its time loses nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var now atomic.Int64
			s, _, g := grouped(t, &realtime.GroupOptions{Overflow: realtime.DropOldest, State: func(*realtime.Conn) json.RawMessage {
				n := now.Load()
				time.Sleep(time.Second)
				return fmt.Appendf(nil, `{"state":%d}`, n)
			}}, nil)
			c := s.dial(header{cookie: "ann/s1"})
			c.write(`{"id":1,"connect":{}}`)
			synctest.Wait()
			for i := 1; i <= 100; i++ { // more than can be kept: it is asked again
				now.Store(int64(i))
				require.NoError(t, g.Send(t.Context(), big(i)))
				synctest.Wait()
			}
			c.reply(1)
			require.Equal(t, `{"state":100}`, c.message())
			require.NoError(t, g.Send(t.Context(), json.RawMessage(`"next"`)))
			require.Equal(t, `"next"`, c.message())
		})
	})
	t.Run("R9 a state that is none, or panics, ends that connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b, g := grouped(t, &realtime.GroupOptions{State: func(c *realtime.Conn) json.RawMessage {
				switch c.Identity().UserID() {
				case "ann":
					panic("host")
				case "bob":
					return json.RawMessage(`{`)
				default:
					return nil
				}
			}}, nil)
			for _, who := range []string{"ann/s1", "bob/s2"} {
				c := s.dial(header{cookie: who})
				c.write(`{"id":1,"connect":{}}`)
				require.Equal(t, 1011, c.code())
			}
			c := s.join("cyd/s3")
			synctest.Wait() // until its state was asked for: that holds what is sent before
			require.NoError(t, g.Send(t.Context(), json.RawMessage(`1`)))
			require.Equal(t, `1`, c.message())
			require.Len(t, b.all(), 5)
		})
	})
	t.Run("R9 Send waits for rounds, as long as its context lets it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log := newGateLog("realtime: closed")
			s, _, g := grouped(t, nil, func(o *realtime.Options) { o.Logger = logger(log) })
			_, _ = s.stalled("slow/s9")
			fast := s.join("bob/s2")
			for held := false; !held; {
				require.NoError(t, g.Send(t.Context(), kilobytes(8)))
				synctest.Wait()
				select {
				case <-log.reached:
					held = true
				default:
				}
			}
			sent := 0
			var err error
			for ; err == nil; sent++ {
				require.Less(t, sent, 100)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err = g.Send(ctx, kilobytes(1))
				cancel()
			}
			require.ErrorIs(t, err, context.DeadlineExceeded)
			blocked := make(chan error, 1)
			go func() { blocked <- g.Send(t.Context(), json.RawMessage(`"last"`)) }()
			synctest.Wait()
			require.Empty(t, blocked)
			close(log.open)
			require.NoError(t, <-blocked)
			for fast.message() != `"last"` {
			}
			require.True(t, fast.live())
		})
	})
}

func TestTick(t *testing.T) {
	const every = 50 * time.Millisecond
	t.Run("steady, without drift", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _, g := grouped(t, nil, nil)
			c := s.join("ann/s1")
			ctx, cancel := context.WithCancel(t.Context())
			start, want := time.Now(), uint64(1)
			ended := make(chan error)
			go func() {
				ended <- g.Tick(ctx, every, func(tick uint64) json.RawMessage {
					if tick != want || time.Since(start) != time.Duration(tick)*every {
						t.Errorf("tick %d after %v, want %d", tick, time.Since(start), want)
					}
					want++
					time.Sleep(time.Duration(tick%3) * 10 * time.Millisecond) // a game that takes its time
					if tick%2 == 0 {
						return nil
					}
					return fmt.Appendf(nil, "%d", tick)
				})
			}()
			time.Sleep(100*every + every/2)
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			require.EqualValues(t, 101, want)
			for i := 1; i < 100; i += 2 {
				require.Equal(t, fmt.Sprint(i), c.message())
			}
			synctest.Wait()
			require.Empty(t, c.in, "nil is nothing to send")
		})
	})
	t.Run("one that comes too late is left out, not bunched", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, g := grouped(t, nil, nil)
			ctx, cancel := context.WithCancel(t.Context())
			start := time.Now()
			type at struct {
				tick  uint64
				after time.Duration
			}
			var got []at
			took := map[uint64]time.Duration{2: 70 * time.Millisecond, 5: 80 * time.Millisecond, 8: 10 * time.Second}
			go func() {
				_ = g.Tick(ctx, every, func(tick uint64) json.RawMessage {
					got = append(got, at{tick, time.Since(start)})
					time.Sleep(took[tick])
					return nil
				})
			}()
			time.Sleep(10*time.Second + 12*every - time.Millisecond)
			cancel()
			synctest.Wait()
			ms := time.Millisecond
			require.Equal(t, []at{
				{1, 50 * ms}, {2, 100 * ms},
				{3, 170 * ms}, // late by less than half an interval
				{4, 200 * ms}, {5, 250 * ms},
				// 6 could only come at 330, when 7 is near
				{7, 350 * ms}, {8, 400 * ms},
				{208, 10_400 * ms}, {209, 10_450 * ms}, {210, 10_500 * ms}, {211, 10_550 * ms},
			}, got)
		})
	})
	t.Run("it ends with the hub, and with data that can't be sent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _, g := grouped(t, nil, nil)
			require.Error(t, g.Tick(t.Context(), every, func(uint64) json.RawMessage { return json.RawMessage(`{`) }))
			ended := make(chan error)
			go func() { ended <- g.Tick(t.Context(), every, func(uint64) json.RawMessage { return nil }) }()
			time.Sleep(time.Second)
			require.NoError(t, s.Close())
			require.ErrorIs(t, <-ended, realtime.ErrClosed)
		})
	})
}
