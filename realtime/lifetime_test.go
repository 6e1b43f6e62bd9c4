package realtime_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

func TestR11_Liveness(t *testing.T) {
	t.Run("R11 pings keep a healthy connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, nil).join("ann/s1")
			time.Sleep(2 * time.Hour)
			require.True(t, c.live())
			require.Contains(t, c.call(`"rpc":{"method":"echo"}`), "rpc")
		})
	})
	t.Run("R11 no pong: 3012", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, nil).join("ann/s1")
			c.mu.Lock()
			c.mute = true
			c.mu.Unlock()
			start := time.Now()
			require.Equal(t, 3012, c.code())
			require.WithinDuration(t, start.Add(35*time.Second), time.Now(), time.Second)
		})
	})
	t.Run("R11 a half-open socket is closed and forgotten", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			s.stall("room:x") // reads nothing, answers nothing, closes nothing
			synctest.Wait()   // it has been announced
			watcher := s.join("bob/s2")
			watcher.subscribe("room:x", "")
			watcher.push()
			start := time.Now()
			require.Contains(t, watcher.push(), `"leave"`)
			require.Less(t, time.Since(start), 45*time.Second)
			time.Sleep(10 * time.Second)
			drained := make(chan error, 1)
			go func() { drained <- s.Drain(t.Context()) }()
			require.NoError(t, <-drained)
		})
	})
	t.Run("R11 a slow command is not a dead peer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, func(o *realtime.Options) {
				o.CommandTimeout = 5 * time.Minute
				o.RPC["slow"] = func(ctx context.Context, _ *realtime.Conn, _ json.RawMessage) (json.RawMessage, error) {
					select {
					case <-time.After(50 * time.Second):
					case <-ctx.Done():
					}
					return nil, nil
				}
			}).join("ann/s1")
			c.write(`{"id":5,"rpc":{"method":"slow"}}`)
			time.Sleep(time.Minute)
			require.Contains(t, c.reply(5), "rpc")
			require.True(t, c.live())
		})
	})
	t.Run("R11 Close doesn't wait for silent peers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			for range 20 {
				s.stall("room:x")
			}
			start := time.Now()
			require.NoError(t, s.Close())
			require.Less(t, time.Since(start), time.Second)
		})
	})
}

func TestR12_Drain(t *testing.T) {
	t.Run("R12 closes are spread over the window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			const n = 100
			var mu sync.Mutex
			var at []time.Duration
			start := time.Now()
			var wg sync.WaitGroup
			for i := range n {
				c := s.join(fmt.Sprintf("u%d/s%d", i, i))
				wg.Go(func() {
					if c.code() == 3001 {
						mu.Lock()
						at = append(at, time.Since(start))
						mu.Unlock()
					}
				})
			}
			start = time.Now()
			require.NoError(t, s.Drain(t.Context()))
			require.InDelta(t, 5, time.Since(start).Seconds(), 0.5)
			wg.Wait()
			require.Len(t, at, n)
			for q := range 5 { // about as many in every second
				in := 0
				for _, d := range at {
					if int(d/time.Second) == q {
						in++
					}
				}
				require.InDelta(t, n/5, in, 5)
			}
			_, r, err := s.handshake(header{cookie: "ann/s1"})
			require.Error(t, err)
			require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
		})
	})
	t.Run("R12 bounded by its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			s.stall("room:x")
			s.stall("room:x")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			start := time.Now()
			require.ErrorIs(t, s.Drain(ctx), context.DeadlineExceeded)
			require.Equal(t, 2*time.Second, time.Since(start))
		})
	})
	t.Run("R12 a rolling restart loses nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			broker := realtime.NewMemoryBroker(nil)
			share := func(o *realtime.Options) { o.Broker = broker }
			one, two := inBubble(t, w, w, share), inBubble(t, w, w, share)
			a := one.join("ann/s1")
			r := a.subscribe("room:x", "")
			for i := range 10 {
				require.NoError(t, two.Publish(t.Context(), "room:x", fmt.Appendf(nil, "%d", i)))
				if i == 4 {
					synctest.Wait()
					require.NoError(t, one.Drain(t.Context()))
				}
			}
			require.Equal(t, 3001, a.code())
			_, offsets := a.numbers(5)
			b := two.join("ann/s1").subscribe("room:x", fmt.Sprintf(`,"recover":true,"offset":%d,"epoch":"%s"`, offsets[4], r.Epoch))
			require.True(t, b.Recovered)
			require.Len(t, b.Publications, 5)
		})
	})
}

// R13: what the WebSocket library writes (pongs, the close) and what the hub
// writes share a socket. Every frame must come out whole. The wire cuts the
// connection when the library writes anything but one whole control frame, so
// this also guards the assumption that it writes them so.
func TestR13_FramesNeverInterleave(t *testing.T) {
	for name, start := range map[string]func(*site) *site{
		"R13 plain TCP": func(s *site) *site { return serve(s.t, s) },
		"R13 TLS": func(s *site) *site {
			s.server = httptest.NewTLSServer(s.Hub)
			s.t.Cleanup(func() { _ = s.Close(); s.server.Close() })
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			s := start(&site{t: t, world: w, Hub: newHub(t, w, w, func(o *realtime.Options) { o.MaxQueue = 64 << 20 })})
			url := strings.Replace(s.server.URL, "http", "ws", 1)
			ws, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{
				HTTPHeader: http.Header{"Cookie": {"session=ann/s1"}},
				HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
			})
			require.NoError(t, err)
			ws.SetReadLimit(-1)
			c := (&client{t: t, ws: ws, in: make(chan map[string]json.RawMessage, 100_000), done: make(chan struct{})}).start()
			c.call(`"connect":{}`)
			c.subscribe("plain:x", "")
			const n = 2000
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 50 {
						if err := ws.Ping(t.Context()); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			go func() {
				for i := range n {
					_ = s.Publish(context.Background(), "plain:x", fmt.Appendf(nil, `{"i":%d,"x":"%s"}`, i, bytes.Repeat([]byte("y"), i*7%2000)))
				}
			}()
			for i := 0; i < n; {
				if p := c.push(); strings.Contains(p, `"pub"`) {
					require.Contains(t, p, fmt.Sprintf(`{"i":%d,`, i))
					i++
				}
			}
			wg.Wait()
			require.NoError(t, ws.Close(websocket.StatusNormalClosure, "done"), "the close handshake, after everything")
		})
	}
	t.Run("R13 a close in the middle of broadcasts", func(t *testing.T) {
		s := open(t, nil)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = s.Publish(context.Background(), "plain:x", []byte(`"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"`))
				}
			}
		})
		for i := range 50 {
			c := s.join(fmt.Sprintf("ann/s%d", i))
			c.subscribe("plain:x", "")
			go func() { _ = s.EndSession(context.Background(), fmt.Sprintf("s%d", i), "") }()
			require.Equal(t, 4501, c.code())
		}
		close(stop)
		wg.Wait()
	})
}

func TestR16_Goroutines(t *testing.T) {
	count := func() int {
		buf := make([]byte, 8<<20)
		return strings.Count(string(buf[:runtime.Stack(buf, true)]), "realtime.(*conn).read(")
	}
	all := func() int {
		buf := make([]byte, 8<<20)
		return strings.Count(string(buf[:runtime.Stack(buf, true)]), "gatewire/realtime.(*")
	}
	s := open(t, nil)
	const n = 50
	for i := range n {
		s.join(fmt.Sprintf("u%d/s%d", i, i)).subscribe("plain:x", "")
	}
	require.Eventually(t, func() bool { return count() == n }, 5*time.Second, 20*time.Millisecond)
	buf := make([]byte, 8<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	require.NotContains(t, stacks, "realtime.(*wire).drain", "no writer while there is nothing to write")
	require.NotContains(t, stacks, "(*Hub).ServeHTTP(", "the handler has returned")
	require.NoError(t, s.Close())
	require.Eventually(t, func() bool { return all() == 0 }, time.Second, time.Millisecond, "goroutines left after Close")
	require.NoError(t, s.Close(), "again")
}

// However a connection ends, nothing of it stays in memory.
func TestR16_NothingIsKeptOfAConnection(t *testing.T) {
	s := open(t, nil)
	for name, end := range map[string]func(c *client, session string){
		"cut":           func(c *client, _ string) { _ = c.ws.CloseNow() },
		"goodbye":       func(c *client, _ string) { _ = c.ws.Close(websocket.StatusNormalClosure, "") },
		"session ended": func(c *client, session string) { require.NoError(t, s.EndSession(t.Context(), session, "")) },
		"bad request":   func(c *client, _ string) { c.write("}") },
	} {
		t.Run("R16 "+name, func(t *testing.T) {
			var all []*client
			for i := range 20 {
				c := s.join(fmt.Sprintf("u%d/s%d", i, i))
				c.subscribe("plain:x", "")
				all = append(all, c)
			}
			require.NoError(t, s.Publish(t.Context(), "plain:x", []byte(`1`)))
			kept := s.Kept()
			require.Equal(t, 20, kept())
			for i, c := range all {
				end(c, fmt.Sprintf("s%d", i))
			}
			require.Eventually(t, func() bool {
				runtime.GC()
				return kept() == 0
			}, 20*time.Second, 50*time.Millisecond)
		})
	}
}
