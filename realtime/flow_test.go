package realtime_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// gateLog is a log that stops who writes the message until it is opened. A
// round that closes a slow connection writes one, so it stops rounds.
type gateLog struct {
	slog.Handler
	message string
	reached chan struct{}
	open    chan struct{}
	once    sync.Once
}

func newGateLog(message string) *gateLog {
	return &gateLog{
		Handler: slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}),
		message: message, reached: make(chan struct{}), open: make(chan struct{}),
	}
}

func (g *gateLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == g.message {
		g.once.Do(func() { close(g.reached) })
		<-g.open
	}
	return nil
}

// heldRound returns a site with a round under way in room:x that doesn't end
// before release is called, and a client whose turn is in every round.
func heldRound(t *testing.T, broker realtime.Broker, channel string) (s *site, fast *client, release func()) {
	g := newGateLog("realtime: closed")
	w := &world{}
	s = inBubble(t, w, w, func(o *realtime.Options) {
		o.MaxQueue, o.Logger, o.Broker = 256<<10, slog.New(g), broker
		o.Channels["once:"] = realtime.Channel{HistorySize: 100_000, HistoryTTL: time.Hour}
	})
	s.stall(channel)
	fast = s.join("bob/s2")
	fast.subscribe(channel, "")
	for held := false; !held; {
		require.NoError(t, s.Publish(t.Context(), channel, kilobytes(8)))
		synctest.Wait()
		select {
		case <-g.reached:
			held = true
		default:
		}
	}
	return s, fast, sync.OnceFunc(func() { close(g.open) })
}

func kilobytes(n int) []byte { return fmt.Appendf(nil, `"%s"`, strings.Repeat("x", n<<10)) }

func TestR9_PublisherFasterThanRounds(t *testing.T) {
	t.Run("R9 it waits, and nothing is lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, fast, release := heldRound(t, nil, "room:x")
			defer release()
			n := 0
			for ; n < 1000; n++ {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err := s.Publish(ctx, "room:x", kilobytes(1))
				cancel()
				if err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					break
				}
			}
			require.Less(t, n, 100, "MaxQueue is 256 KiB")
			published := make(chan error, 1)
			go func() { published <- s.Publish(t.Context(), "room:x", []byte(`"last"`)) }()
			synctest.Wait()
			require.Empty(t, published)
			release()
			require.NoError(t, <-published)
			last := uint64(0)
			for {
				var p struct {
					Pub *struct {
						Data   string
						Offset uint64
					}
				}
				require.NoError(t, json.Unmarshal([]byte(fast.push()), &p))
				if p.Pub != nil {
					require.Equal(t, last+1, p.Pub.Offset)
					last = p.Pub.Offset
					if p.Pub.Data == "last" {
						return
					}
				}
			}
		})
	})
	t.Run("R9 on another node: the gap is told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			broker := realtime.NewMemoryBroker(nil)
			s, fast, release := heldRound(t, broker, "plain:x")
			defer release()
			w := &world{}
			other := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = broker })
			for range 1000 {
				require.NoError(t, other.Publish(t.Context(), "plain:x", kilobytes(1)))
			}
			release()
			pubs := 0
			for {
				p := fast.push()
				if strings.Contains(p, `"unsubscribe":{"code":2500`) {
					break
				}
				pubs++
			}
			require.Less(t, pubs, 300)
			fast.subscribe("plain:x", "")
			require.NoError(t, s.Publish(t.Context(), "plain:x", []byte(`1`)))
			require.JSONEq(t, `{"channel":"plain:x","join":null}`, strings.Replace(fast.pushOf(`"pub"`), `"pub":{"data":1}`, `"join":null`, 1))
		})
	})
	t.Run("R9 Latest: the newest is kept", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			broker := realtime.NewMemoryBroker(nil)
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker, o.MaxQueue = broker, 256<<10 })
			c := s.join("bob/s2")
			c.subscribe("board:x", "")
			for i := range 2000 { // faster than goroutines are switched
				require.NoError(t, s.Publish(t.Context(), "board:x", fmt.Appendf(nil, `{"i":%d,"x":%s}`, i, kilobytes(1))))
			}
			for !strings.Contains(c.pushOf(`"pub"`), `{"i":1999,`) {
			}
			require.True(t, c.live())
		})
	})
}

// holding is a Metrics that stops the next round once it is armed, until it is
// opened.
type holding struct {
	meter
	armed, open chan struct{}
}

func newHolding() *holding {
	return &holding{armed: make(chan struct{}), open: make(chan struct{})}
}

func (h *holding) Delivered(int) {
	select {
	case <-h.armed:
		<-h.open
	default:
	}
}

func TestR9_WhatWaitsForARound(t *testing.T) {
	t.Run("R9 Latest: joins don't drive out the newest", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, m, broker := &world{}, newHolding(), realtime.NewMemoryBroker(nil)
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Broker, o.Metrics, o.MaxQueue = broker, m, 256<<10 })
			c := s.join("bob/s2")
			c.subscribe("board:x", "")
			synctest.Wait()
			close(m.armed)
			require.NoError(t, s.Publish(t.Context(), "board:x", []byte(`"old"`)))
			synctest.Wait()
			require.NoError(t, s.Publish(t.Context(), "board:x", fmt.Appendf(nil, `{"new":%s}`, kilobytes(63))))
			for i := range 10 {
				join := realtime.Event{Kind: realtime.EventJoin, Client: realtime.ClientInfo{Client: fmt.Sprint(i), User: strings.Repeat("x", 200)}}
				require.NoError(t, broker.Publish(t.Context(), "board:x", join))
			}
			close(m.open)
			synctest.Wait()
			require.NoError(t, s.Publish(t.Context(), "board:x", []byte(`"end"`)))
			newest := false
			for p := ""; !strings.Contains(p, `"end"`); {
				p = c.pushOf(`"pub"`)
				newest = newest || strings.Contains(p, `{"new":`)
			}
			require.True(t, newest)
		})
	})
	t.Run("R9 what clients say of themselves is not more than it counts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, m, broker := &world{}, newHolding(), realtime.NewMemoryBroker(nil)
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Metrics, o.Broker = m, broker })
			c := s.join("bob/s2")
			c.subscribe("plain:x", "")
			synctest.Wait()
			close(m.armed)
			info := &realtime.ClientInfo{Client: "x", User: "ann", Info: fmt.Appendf(nil, `"%s"`, strings.Repeat("<", 1000))}
			for range 200 {
				e := realtime.Event{Kind: realtime.EventPublication, Publication: realtime.Publication{Data: []byte(`1`), Info: info}}
				require.NoError(t, broker.Publish(t.Context(), "plain:x", e))
			}
			synctest.Wait()
			close(m.open)
			for range 200 {
				c.pushOf(`"pub"`)
			}
		})
	})
	for _, char := range []string{"<", `"`} { // of one byte, more as JSON
		t.Run("R9 messages of a few bytes in a channel with a long name are not too much for a reader who reads: "+char, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m := &world{}, newHolding()
				s := inBubble(t, w, w, func(o *realtime.Options) { o.Metrics = m })
				channel := "plain:" + strings.Repeat(char, 249)
				c := s.join("bob/s2")
				c.subscribe(strings.ReplaceAll(channel, `"`, `\"`), "")
				synctest.Wait()
				close(m.armed)
				time.AfterFunc(time.Second, func() { close(m.open) })
				for range 3000 {
					require.NoError(t, s.Publish(t.Context(), channel, []byte(`1`)))
					synctest.Wait() // what isn't held is read
				}
				for range 3000 {
					c.pushOf(`"pub"`)
				}
			})
		})
	}
}

// pushOf returns the next push that contains what.
func (c *client) pushOf(what string) string {
	c.t.Helper()
	for {
		if p := c.push(); strings.Contains(p, what) {
			return p
		}
	}
}

func TestR9_Replies(t *testing.T) {
	big := func(o *realtime.Options) {
		o.MaxQueue = 256 << 10
		o.RPC["big"] = func(_ context.Context, _ *realtime.Conn, data json.RawMessage) (json.RawMessage, error) {
			var n int
			return kilobytes(max(n, 100)), json.Unmarshal(data, &n)
		}
		o.RPC["huge"] = func(context.Context, *realtime.Conn, json.RawMessage) (json.RawMessage, error) {
			return kilobytes(300), nil
		}
	}
	t.Run("R9 whoever asks for much at once is served as fast as they read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, big).join("ann/s1")
			var lines []string
			for i := range 50 {
				lines = append(lines, fmt.Sprintf(`{"id":%d,"rpc":{"method":"big","data":0}}`, 100+i))
			}
			c.write(strings.Join(lines, "\n"))
			for i := range 50 {
				require.Contains(t, c.reply(100+i), "rpc")
			}
		})
	})
	t.Run("R9 a slow reader that keeps reading is not cut off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) {
				big(o)
				o.MaxQueue = 1 << 20
				o.RPC["huge"] = func(context.Context, *realtime.Conn, json.RawMessage) (json.RawMessage, error) {
					return kilobytes(600), nil
				}
			})
			s.wrap = func(c net.Conn) net.Conn { return slowReads{c} }
			c := s.join("ann/s1")
			start := time.Now()
			require.Contains(t, c.call(`"rpc":{"method":"huge"}`), "rpc")
			require.Greater(t, time.Since(start), 30*time.Second, "slower than WriteTimeout and a ping")
		})
	})
	t.Run("R9 a reply that fits no queue is an error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, big).join("ann/s1")
			require.Equal(t, 106, code(c.call(`"rpc":{"method":"huge"}`)))
			require.True(t, c.live())
		})
	})
	t.Run("R9 presence of a crowd", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			b := &crowd{realtime.NewMemoryBroker(nil)}
			c := inBubble(t, w, w, func(o *realtime.Options) { o.Broker = b }).join("ann/s1")
			require.Contains(t, c.call(`"presence":{"channel":"room:x"}`), "presence")
			require.True(t, c.live())
		})
	})
	t.Run("R9 what was missed in all channels of the server's making", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, func(o *realtime.Options) {
				o.Subscribe = func(realtime.Identity) []string { return []string{"room:a", "room:b", "room:c"} }
				o.MaxQueue = 256 << 10
			})
			subs := map[string]any{}
			for _, channel := range []string{"room:a", "room:b", "room:c"} {
				require.NoError(t, s.Publish(t.Context(), channel, bytes.ReplaceAll(kilobytes(100), []byte("x"), []byte("<"))))
				subs[channel] = map[string]any{"recover": true}
			}
			// A reply holds that of one; for the others the client comes back.
			for n := 1; n <= 3; n++ {
				q, err := json.Marshal(subs)
				require.NoError(t, err)
				c := s.dial(header{cookie: "ann/s1"})
				var reply struct{ Subs map[string]subscribed }
				require.NoError(t, json.Unmarshal(c.call(`"connect":{"subs":` + string(q) + `}`)["connect"], &reply))
				got := 0
				for channel, r := range reply.Subs {
					require.True(t, r.Recovered, "nothing is missing")
					for _, p := range r.Publications {
						r.Offset = p.Offset
						got++
					}
					subs[channel] = map[string]any{"recover": true, "offset": r.Offset, "epoch": r.Epoch}
				}
				require.Equal(t, 1, got)
				if n < 3 {
					require.Equal(t, 3010, c.code())
				} else {
					require.NotContains(t, c.call(`"rpc":{"method":"echo"}`), "error")
				}
			}
		})
	})
	t.Run("R9 Latest: what a connect reply has no room for follows it", func(t *testing.T) {
		s := open(t, func(o *realtime.Options) {
			o.MaxQueue, o.Info = 128<<10, nil
			o.Subscribe = func(realtime.Identity) []string { return []string{"board:a", "board:b"} }
		})
		for _, channel := range []string{"board:a", "board:b"} {
			require.NoError(t, s.Publish(t.Context(), channel, []byte(`"old"`)))
			require.NoError(t, s.Publish(t.Context(), channel, kilobytes(40)))
		}
		for _, had := range []string{`{}`, `{"subs":{"board:b":{"recover":true,"offset":1}}}`} {
			c := s.dial(header{cookie: "ann/s1"})
			var reply struct{ Subs map[string]subscribed }
			require.NoError(t, json.Unmarshal(c.call(`"connect":` + had)["connect"], &reply))
			require.Len(t, reply.Subs["board:a"].Publications, 1)
			require.Empty(t, reply.Subs["board:b"].Publications)
			require.Equal(t, uint64(1), uint64(reply.Subs["board:b"].Offset), "where a client goes on from that gets no further")
			var got struct {
				Channel string
				Pub     struct{ Offset int }
			}
			require.NoError(t, json.Unmarshal([]byte(c.pushOf(`"pub"`)), &got))
			require.Equal(t, "board:b", got.Channel)
			require.Equal(t, 2, got.Pub.Offset)
		}
	})
	t.Run("R9 data larger than a queue is refused to its publisher", func(t *testing.T) {
		s := open(t, func(o *realtime.Options) { o.MaxQueue, o.MaxMessage = 100<<10, 90<<10 })
		require.Error(t, s.Publish(t.Context(), "room:x", kilobytes(60)))
		require.Equal(t, 106, code(s.join("ann/s1").call(`"publish":{"channel":"room:x","data":`+string(kilobytes(60))+`}`)))
	})
}

type crowd struct{ *realtime.MemoryBroker }

func (crowd) List(_ context.Context, _ string, limit int) ([]realtime.ClientInfo, error) {
	all := make([]realtime.ClientInfo, limit)
	for i := range all {
		all[i] = realtime.ClientInfo{Client: fmt.Sprintf("%026d", i), User: fmt.Sprintf("user-%d", i), Info: json.RawMessage(kilobytes(1))}
	}
	return all, nil
}

// slowReads reads 16 KiB a second.
type slowReads struct{ net.Conn }

func (c slowReads) Read(p []byte) (int, error) {
	time.Sleep(125 * time.Millisecond)
	return c.Conn.Read(p[:min(len(p), 2<<10)])
}

// A peer that has said goodbye but reads nothing leaves a queue behind.
func TestR16_CloseEndsWritersToo(t *testing.T) {
	s := open(t, func(o *realtime.Options) { o.MaxQueue = 128 << 20 })
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nCookie: session=ann/s1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	require.NoError(t, err)
	br := bufio.NewReaderSize(conn, 16)
	for line := ""; line != "\r\n"; {
		line, err = br.ReadString('\n')
		require.NoError(t, err)
	}
	m := `{"id":1,"connect":{}}`
	_, err = conn.Write(append([]byte{0x81, 0x80 | byte(len(m)), 0, 0, 0, 0}, m...))
	require.NoError(t, err)
	_, err = br.ReadByte()
	require.NoError(t, err)
	for range 32 {
		require.NoError(t, s.SendUser(t.Context(), "ann", kilobytes(1<<10)))
	}
	_, err = conn.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 3, 0xe8})
	require.NoError(t, err)
	time.Sleep(1500 * time.Millisecond) // the hub lingers for a second
	require.NoError(t, s.Close())
	buf := make([]byte, 8<<20)
	require.Eventually(t, func() bool {
		return !strings.Contains(string(buf[:runtime.Stack(buf, true)]), "realtime.(*wire).drain")
	}, time.Second, time.Millisecond)
}

func TestR14_DeepData(t *testing.T) {
	s := open(t, nil)
	a, b := s.join("ann/s1"), s.join("bob/s2")
	b.subscribe("room:x", "")
	deep := func(n int) string { return strings.Repeat("[", n) + `"]]\"[["` + strings.Repeat("]", n) }
	require.Equal(t, 107, code(a.call(`"publish":{"channel":"room:x","data":`+deep(9998)+`}`)), "no parser takes it once it is wrapped")
	require.Equal(t, 107, code(a.call(`"publish":{"channel":"room:x","data":`+deep(501)+`}`)))
	require.NotContains(t, a.call(`"publish":{"channel":"room:x","data":`+deep(500)+`}`), "error")
	require.Contains(t, b.pushOf(`"pub"`), deep(500))
}

func TestR7_MessagesOfNothingCount(t *testing.T) {
	s := open(t, func(o *realtime.Options) { o.CommandsPerSec = 10 })
	for name, m := range map[string]string{"R7 empty": "", "R7 blank": " ", "R7 lines": "\n\n\n\n"} {
		t.Run(name, func(t *testing.T) {
			c := s.join("ann/s1")
			for range 100 {
				c.write(m)
			}
			require.Equal(t, 3501, c.code())
		})
	}
}
