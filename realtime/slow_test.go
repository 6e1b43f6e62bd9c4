package realtime_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// stall connects a client that stops reading once it is subscribed, until the
// returned function is called.
func (s *site) stall(channel string) (c *client, resume func()) {
	s.t.Helper()
	ws, _, err := s.handshake(header{cookie: "slow/s9"})
	require.NoError(s.t, err)
	ws.SetReadLimit(-1)
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	c = &client{t: s.t, ws: ws, in: make(chan map[string]json.RawMessage, 100_000), done: make(chan struct{})}
	c.write(`{"id":1,"connect":{}}` + "\n" + `{"id":2,"subscribe":{"channel":"` + channel + `"}}`)
	for range 2 { // the two replies
		_, _, err = ws.Read(s.t.Context())
		require.NoError(s.t, err)
	}
	return c, func() { c.start() }
}

func TestR9_SlowConsumers(t *testing.T) {
	big := func(i int) []byte { return fmt.Appendf(nil, `{"n":%d,"x":"%s"}`, i, strings.Repeat("x", 8<<10)) }
	const n = 200 // of 8 KiB: beyond the queue of 256 KiB and the 64 KiB of a connection in memory
	small := func(o *realtime.Options) { o.MaxQueue = 256 << 10 }

	t.Run("R9 Close: 3008, nobody else is delayed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, small)
			slow, resume := s.stall("room:x")
			fast := s.join("bob/s2")
			fast.subscribe("room:x", "")
			start := time.Now()
			for i := range n {
				require.NoError(t, s.Publish(t.Context(), "room:x", big(i)))
				synctest.Wait()
			}
			got := 0
			for got < n {
				if strings.Contains(fast.push(), `"pub"`) {
					got++
				}
			}
			require.Zero(t, time.Since(start))
			resume()
			require.Equal(t, 3008, slow.code())
			require.Less(t, len(slow.in), n)
			require.True(t, fast.live())
		})
	})
	t.Run("R9 DropOldest: the gap is told and can be recovered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, small)
			slow, resume := s.stall("drop:x")
			for i := range n {
				require.NoError(t, s.Publish(t.Context(), "drop:x", big(i)))
				synctest.Wait()
			}
			resume()
			seen, told := uint64(0), false
			for !told {
				var p struct {
					Pub         *struct{ Offset uint64 }
					Unsubscribe *struct{ Code int }
				}
				require.NoError(t, json.Unmarshal([]byte(slow.push()), &p))
				if p.Pub != nil {
					require.Equal(t, seen+1, p.Pub.Offset)
					seen = p.Pub.Offset
				}
				if p.Unsubscribe != nil {
					require.Equal(t, 2500, p.Unsubscribe.Code)
					told = true
				}
			}
			require.Less(t, seen, uint64(n))
			slow.id = 10
			r := slow.subscribe("drop:x", "")
			require.Equal(t, uint64(n), r.Offset)
			require.True(t, slow.live())
		})
	})
	t.Run("R9 DropOldest: what was dropped is recovered, in parts if need be", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, small)
			epoch := s.join("bob/s2").subscribe("drop:x", "").Epoch
			slow, resume := s.stall("drop:x")
			for i := range n {
				require.NoError(t, s.Publish(t.Context(), "drop:x", big(i)))
				synctest.Wait()
			}
			resume()
			slow.id = 10
			seen, gaps := uint64(0), 0
			for seen < n {
				var p struct {
					Pub         *struct{ Offset uint64 }
					Unsubscribe *struct{ Code int }
				}
				require.NoError(t, json.Unmarshal([]byte(slow.push()), &p))
				if p.Pub != nil {
					require.Equal(t, seen+1, p.Pub.Offset)
					seen = p.Pub.Offset
				}
				if p.Unsubscribe == nil {
					continue
				}
				require.Equal(t, 2500, p.Unsubscribe.Code)
				gaps++
				r := slow.subscribe("drop:x", fmt.Sprintf(`,"recover":true,"offset":%d,"epoch":%q`, seen, epoch))
				require.True(t, r.Recovered)
				require.Equal(t, seen, r.Offset)
				for _, p := range r.Publications {
					require.Equal(t, seen+1, p.Offset)
					seen = p.Offset
				}
			}
			require.Greater(t, gaps, 5, "a reply holds half of MaxQueue")
			require.NoError(t, s.Publish(t.Context(), "drop:x", big(n)))
			require.Contains(t, slow.pushOf(`"pub"`), fmt.Sprintf(`"offset":%d`, n+1))
			require.True(t, slow.live())
		})
	})
	t.Run("R9 DropOldest: the gap is told though all the room is taken by something else", func(t *testing.T) {
		for _, channel := range []string{"drop:x", "board:x"} {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				s := inBubble(t, w, w, small)
				slow, resume := s.stall(channel)
				waiting := func() int {
					synctest.Wait()
					return s.Snapshot(1).QueueBytes
				}
				for free := 256 << 10; free > 60; free = 256<<10 - waiting() {
					require.NoError(t, s.SendUser(t.Context(), "slow", []byte(`"`+strings.Repeat("x", min(free-40, 8<<10))+`"`)))
				}
				require.NoError(t, s.Publish(t.Context(), channel, []byte(`"as long as what is told of it"`)))
				synctest.Wait()
				resume()
				require.Contains(t, slow.pushOf(`"unsubscribe"`), `"code":2500`)
				require.True(t, slow.live())
			})
		}
	})
	t.Run("R1 what waits is dropped when the session ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, small)
			slow, resume := s.stall("room:x")
			const sent = 24 // of which a connection in memory holds eight
			for i := range sent {
				require.NoError(t, s.SendUser(t.Context(), "slow", big(i)))
				synctest.Wait() // or one write takes several
			}
			w.end("s9")
			time.Sleep(time.Second)
			resume()
			require.Equal(t, 4501, slow.code())
			require.Less(t, len(slow.in), sent/2)
		})
	})
	t.Run("R9 Latest: only the newest waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, small)
			slow, resume := s.stall("board:x")
			for i := range n {
				require.NoError(t, s.Publish(t.Context(), "board:x", big(i)))
				synctest.Wait()
			}
			resume()
			last, count := uint64(0), 0
			for last < n {
				var p struct {
					Pub *struct{ Offset uint64 }
				}
				require.NoError(t, json.Unmarshal([]byte(slow.push()), &p))
				if p.Pub != nil {
					require.Greater(t, p.Pub.Offset, last)
					last = p.Pub.Offset
					count++
				}
			}
			require.LessOrEqual(t, count, 3+64/8, "besides what is on its way")
			require.True(t, slow.live())
			slow.id = 10
			slow.call(`"unsubscribe":{"channel":"board:x"}`)
			r := slow.subscribe("board:x", `,"recover":true,"offset":1,"epoch":"x"`)
			require.True(t, r.Recovered, "the newest value is all there is to know")
			require.Len(t, r.Publications, 1)
		})
	})
	t.Run("R9 Latest: who comes and goes doesn't take the newest's place", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, small)
			slow, resume := s.stall("board:x")
			require.NoError(t, s.Publish(t.Context(), "board:x", big(1)))
			synctest.Wait()
			require.NoError(t, s.Publish(t.Context(), "board:x", big(2)))
			synctest.Wait()
			other := s.join("bob/s2")
			other.subscribe("board:x", "")
			other.call(`"unsubscribe":{"channel":"board:x"}`)
			synctest.Wait()
			resume()
			for !strings.Contains(slow.pushOf(`"pub"`), `"n":2`) {
			}
		})
	})
	t.Run("R9 a socket that takes nothing at all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, small)
			slow, _ := s.stall("room:x")
			start := time.Now()
			require.NoError(t, s.Publish(t.Context(), "room:x", big(0)))
			fast := s.join("bob/s2")
			require.Eventually(t, func() bool {
				return string(fast.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"]) == `{"num_clients":0,"num_users":0}`
			}, time.Minute, time.Second)
			require.Less(t, time.Since(start), 40*time.Second)
			_ = slow
		})
	})
	t.Run("R9 on real sockets, many bystanders", func(t *testing.T) {
		s := open(t, small)
		slow, resume := s.stall("room:x")
		fast := s.join("bob/s2")
		fast.subscribe("room:x", "")
		for i := range 1500 {
			require.NoError(t, s.Publish(t.Context(), "room:x", big(i)))
			if i%10 == 9 {
				for range 10 {
					for !strings.Contains(fast.push(), `"pub"`) {
					}
				}
			}
		}
		resume()
		<-slow.done
		var ce websocket.CloseError
		if errors.As(slow.err, &ce) { // or cut off, when all this took longer than a peer has to answer
			require.Equal(t, websocket.StatusCode(3008), ce.Code)
		}
		require.Eventually(t, func() bool { // it may be back within LeaveGrace
			return field(fast.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"], "num_clients") == "1"
		}, 20*time.Second, 100*time.Millisecond)
	})
}
