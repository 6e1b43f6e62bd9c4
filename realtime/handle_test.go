package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
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

// book notes what handlers were told.
type book struct {
	mu    sync.Mutex
	lines []string
	conns map[string]*realtime.Conn // by user
}

func (b *book) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

func (b *book) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.lines...)
}

func (b *book) conn(user string) *realtime.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conns[user]
}

// keep makes a hub keep the book.
func (b *book) keep(o *realtime.Options) {
	b.conns = map[string]*realtime.Conn{}
	o.OnConnect = func(_ context.Context, c *realtime.Conn) (json.RawMessage, error) {
		b.note("connect %s", c.Identity().UserID())
		b.mu.Lock()
		b.conns[c.Identity().UserID()] = c
		b.mu.Unlock()
		return nil, nil
	}
	o.OnClose = func(c *realtime.Conn, code int, reason string) {
		b.note("close %s %d %s", c.Identity().UserID(), code, reason)
	}
}

// managed is a hub without rules, that keeps a book.
func managed(t *testing.T, change func(*realtime.Options)) (*site, *book) {
	w, b := &world{}, &book{}
	o := options()
	o.Channels = nil
	b.keep(o)
	if change != nil {
		change(o)
	}
	h, err := realtime.New(origin, realtime.Via(w.Authenticate), w, nil, o)
	require.NoError(t, err)
	return inMemory(&site{t: t, world: w, Hub: h}), b
}

func TestOnConnect(t *testing.T) {
	t.Run("its data is in the connect reply, and what it sends comes after", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := managed(t, func(o *realtime.Options) {
				o.OnConnect = func(_ context.Context, c *realtime.Conn) (json.RawMessage, error) {
					if err := c.Send(json.RawMessage(`"first"`)); err != nil {
						return nil, err
					}
					return json.RawMessage(`{"motd":
						"hi"}`), c.Send(json.RawMessage(`"second"`))
				}
			})
			c := s.dial(header{cookie: "ann/s1"})
			c.write(`{"id":1,"connect":{}}`)
			r := c.next()
			require.JSONEq(t, `{"motd":"hi"}`, field(r["connect"], "data"))
			require.JSONEq(t, `{"message":{"data":"first"}}`, c.push())
			require.JSONEq(t, `{"message":{"data":"second"}}`, c.push())
		})
	})
	t.Run("a connection that ends meanwhile can't be sent to", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, func(o *realtime.Options) {
				o.OnConnect = func(_ context.Context, c *realtime.Conn) (json.RawMessage, error) {
					_ = c.Close(4400, "later")
					return nil, c.Send(json.RawMessage(`1`))
				}
			})
			c := s.dial(header{cookie: "ann/s1"})
			c.write(`{"id":1,"connect":{}}`)
			require.Equal(t, 4400, c.code())
			synctest.Wait()
			require.Empty(t, b.all(), "Send said ErrClosed, so OnConnect did not let it in")
		})
	})
	for name, test := range map[string]struct {
		refuse func(c *realtime.Conn) error
		code   int
		close  int
		reason string
	}{
		"an Error is the reply":          {func(*realtime.Conn) error { return &realtime.Error{Code: 403, Message: "banned"} }, 403, 3507, "banned"},
		"one that may pass":              {func(*realtime.Conn) error { return &realtime.Error{Code: 450, Message: "full", Temporary: true} }, 450, 3004, "full"},
		"denied":                         {func(*realtime.Conn) error { return realtime.ErrDenied }, 103, 3507, "permission denied"},
		"any other error may pass":       {func(*realtime.Conn) error { return errors.New("secret") }, 100, 3004, "internal server error"},
		"closed by the handler":          {func(c *realtime.Conn) error { _ = c.Close(4555, "no"); return realtime.ErrDenied }, 0, 4555, "no"},
		"a panic ends this connection":   {func(*realtime.Conn) error { panic("host") }, 0, 1011, "internal error"},
		"data that isn't JSON ends it":   {nil, 0, 1011, "internal error"},
		"closed by the handler, but let": {func(c *realtime.Conn) error { return c.Close(4556, "later") }, 0, 4556, "later"},
	} {
		t.Run("refusals: "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, b := managed(t, func(o *realtime.Options) {
					o.OnConnect = func(_ context.Context, c *realtime.Conn) (json.RawMessage, error) {
						if c.Identity().UserID() != "ann" {
							return nil, nil
						}
						if test.refuse == nil {
							return json.RawMessage(`{`), nil
						}
						return nil, test.refuse(c)
					}
				})
				c := s.dial(header{cookie: "ann/s1"})
				c.write(`{"id":1,"connect":{}}`)
				if test.code != 0 {
					r := c.reply(1)
					require.Equal(t, test.code, code(r))
					require.NotContains(t, string(r["error"]), "secret")
				}
				got, reason := c.closed()
				require.Equal(t, test.close, got)
				require.Equal(t, test.reason, reason)
				synctest.Wait()
				if name == "data that isn't JSON ends it" || name == "closed by the handler, but let" {
					require.Len(t, b.all(), 1, "OnConnect let it in")
				} else {
					require.Empty(t, b.all(), "OnClose is of connections that were let in")
				}
				s.join("bob/s2")
			})
		})
	}
}

// As FailNow of a test does: nobody else is kept waiting by that.
func TestAHandlerThatEndsItsGoroutine(t *testing.T) {
	exit := func(context.Context, *realtime.Conn, json.RawMessage) { runtime.Goexit() }
	for name, open := range map[string]func() (*site, *book){
		"on real sockets": func() (*site, *book) {
			b := &book{}
			return open(t, func(o *realtime.Options) { b.keep(o); o.OnMessage = exit }), b
		},
		"in memory": func() (*site, *book) { return managed(t, func(o *realtime.Options) { o.OnMessage = exit }) },
	} {
		t.Run(name, func(t *testing.T) {
			s, b := open()
			for _, calls := range []int{0, 1, 20} { // by a worker, and by the reader of a lively connection
				c := s.join("ann/s1")
				for range calls {
					c.call(`"rpc":{"method":"echo"}`)
				}
				c.write(`{"send":{"data":1}}`)
				require.Equal(t, 1011, c.code())
			}
			require.NotContains(t, s.join("bob/s2").call(`"rpc":{"method":"echo"}`), "error")
			require.NoError(t, s.Close())
			require.Contains(t, b.all(), "close ann 1011 internal error")
		})
	}
}

// careless is a world that panics when it is told that a session is used.
type careless struct{ *world }

func (careless) KeepAlive(context.Context, string) error { panic("host") }

func TestSessionsThatPanicWhenOneIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		s := inBubble(t, careless{w}, w, nil)
		ann, bob := s.join("ann/s1"), s.join("bob/s2")
		time.Sleep(11 * time.Second)
		ann.write(`{"send":{"data":1}}`)
		require.Equal(t, 1011, ann.code())
		require.True(t, bob.live())
	})
}

func TestOnClose(t *testing.T) {
	t.Run("once, with what ended it", func(t *testing.T) {
		for name, test := range map[string]struct {
			end  func(s *site, b *book, c *client)
			want string
		}{
			"the client":        {func(_ *site, _ *book, c *client) { _ = c.ws.Close(websocket.StatusNormalClosure, "bye") }, "close ann 1000 bye"},
			"a lost connection": {func(_ *site, _ *book, c *client) { _ = c.ws.CloseNow() }, "close ann 1006 connection lost"},
			"the host":          {func(_ *site, b *book, _ *client) { _ = b.conn("ann").Close(4400, "moved") }, "close ann 4400 moved"},
			"its session": {func(s *site, _ *book, _ *client) {
				_ = s.EndSession(context.Background(), "s1", "signed out")
			}, "close ann 4501 signed out"},
			"a bad command":     {func(_ *site, _ *book, c *client) { c.write(`{`) }, "close ann 3501 bad request"},
			"a handler's panic": {func(_ *site, _ *book, c *client) { c.write(`{"send":{"data":1}}`) }, "close ann 1011 internal error"},
			"no pong":           {func(_ *site, _ *book, c *client) { c.mu.Lock(); c.mute = true; c.mu.Unlock(); time.Sleep(time.Minute) }, "close ann 3012 no pong"},
			"the hub":           {func(s *site, _ *book, _ *client) { _ = s.Close() }, "close ann 3001 shutdown"},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, b := managed(t, func(o *realtime.Options) {
						o.OnMessage = func(context.Context, *realtime.Conn, json.RawMessage) { panic("host") }
					})
					c := s.join("ann/s1")
					test.end(s, b, c)
					time.Sleep(10 * time.Second)
					require.Equal(t, []string{"connect ann", test.want}, b.all())
					require.NoError(t, s.Close())
					require.Len(t, b.all(), 2)
				})
			})
		}
	})
	t.Run("a client's reason is plain text", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, nil)
			_ = s.join("ann/s1").ws.Close(4000, "a\n\x00\xff\x1b[31m\u009bé")
			synctest.Wait()
			require.Equal(t, []string{"connect ann", "close ann 4000 a    [31m é"}, b.all())
		})
	})
	t.Run("after the handler that runs, and not when the peer has answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, func(o *realtime.Options) {
				o.RPC["slow"] = func(ctx context.Context, _ *realtime.Conn, _ json.RawMessage) (json.RawMessage, error) {
					<-ctx.Done() // the connection is over
					time.Sleep(time.Second)
					return nil, nil
				}
			})
			ws, _, err := s.handshake(header{cookie: "ann/s1"})
			require.NoError(t, err)
			require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte(`{"id":1,"connect":{}}`+"\n"+`{"id":2,"rpc":{"method":"slow"}}`)))
			synctest.Wait() // the client reads nothing, not even the close
			require.NoError(t, s.EndSession(t.Context(), "s1", ""))
			time.Sleep(900 * time.Millisecond)
			require.Equal(t, []string{"connect ann"}, b.all())
			time.Sleep(200 * time.Millisecond)
			require.Equal(t, []string{"connect ann", "close ann 4501 session ended"}, b.all())
			_ = ws.CloseNow()
		})
	})
	t.Run("when OnConnect is overtaken by the end, after it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, func(o *realtime.Options) {
				o.OnConnect = func(context.Context, *realtime.Conn) (json.RawMessage, error) {
					time.Sleep(time.Second)
					return nil, nil
				}
			})
			c := s.dial(header{cookie: "ann/s1"})
			c.write(`{"id":1,"connect":{}}`)
			synctest.Wait()
			require.NoError(t, s.EndSession(t.Context(), "s1", ""))
			time.Sleep(500 * time.Millisecond)
			require.Empty(t, b.all())
			time.Sleep(time.Second)
			require.Equal(t, []string{"close ann 4501 session ended"}, b.all())
		})
	})
	t.Run("when it was let in, is found nowhere any more, and no handler runs", func(t *testing.T) {
		require.EqualValues(t, 1, realtime.Afterwards(true, true, true, false), "once")
		require.Zero(t, realtime.Afterwards(false, true, true, false))
		require.Zero(t, realtime.Afterwards(true, true, false, false))
		require.Zero(t, realtime.Afterwards(true, true, true, true))
		require.Zero(t, realtime.Afterwards(true, false, false, false))
	})
	t.Run("once, when a handler ends as the connection does", func(t *testing.T) {
		var closed atomic.Int32
		s, b := managed(t, func(o *realtime.Options) {
			o.OnMessage = func(context.Context, *realtime.Conn, json.RawMessage) { time.Sleep(100 * time.Microsecond) }
			o.OnClose = func(*realtime.Conn, int, string) { closed.Add(1) }
		})
		const n = 300
		for i := range n {
			c := s.join(fmt.Sprint("ann/s", i))
			conn := b.conn("ann")
			c.write(`{"send":{"data":1}}`)
			time.Sleep(time.Duration(i) * time.Microsecond)
			_ = conn.Close(4400, "now")
			_ = c.ws.CloseNow()
		}
		require.NoError(t, s.Close())
		require.EqualValues(t, n, closed.Load())
	})
	t.Run("Hub.Close waits for it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var done atomic.Int32
			s, _ := managed(t, func(o *realtime.Options) {
				o.OnClose = func(*realtime.Conn, int, string) {
					time.Sleep(time.Minute)
					done.Add(1)
				}
			})
			for i := range 5 {
				s.join(fmt.Sprintf("ann/s%d", i))
			}
			require.NoError(t, s.Close())
			require.EqualValues(t, 5, done.Load())
		})
	})
	t.Run("one that panics is logged", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := managed(t, func(o *realtime.Options) {
				o.OnClose = func(*realtime.Conn, int, string) { panic("host") }
			})
			s.join("ann/s1")
			require.NoError(t, s.Close())
		})
	})
	t.Run("on real sockets, everything at once", func(t *testing.T) {
		var connected, closed, running, wrong atomic.Int64
		s := open(t, func(o *realtime.Options) {
			busy := sync.Map{}
			enter := func(c *realtime.Conn) func() {
				if _, there := busy.LoadOrStore(c, true); there {
					wrong.Add(1)
				}
				running.Add(1)
				return func() { busy.Delete(c) }
			}
			o.OnConnect = func(_ context.Context, c *realtime.Conn) (json.RawMessage, error) {
				defer enter(c)()
				connected.Add(1)
				return nil, nil
			}
			o.OnMessage = func(_ context.Context, c *realtime.Conn, _ json.RawMessage) {
				defer enter(c)()
				time.Sleep(time.Millisecond)
			}
			o.OnClose = func(c *realtime.Conn, _ int, _ string) {
				enter(c) // for good: nothing of it may run any more
				closed.Add(1)
			}
		})
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				c := s.dial(header{cookie: fmt.Sprintf("ann/s%d", i)})
				c.write(`{"id":1,"connect":{}}` + strings.Repeat("\n"+`{"send":{"data":1}}`, 20))
				switch i % 4 {
				case 0:
					_ = c.ws.CloseNow()
				case 1:
					_ = s.EndSession(t.Context(), fmt.Sprintf("s%d", i), "")
				case 2:
					c.write(`{`)
				}
				_ = c.ws.CloseNow()
			})
		}
		wg.Wait()
		require.NoError(t, s.Close())
		require.Equal(t, connected.Load(), closed.Load())
		require.Zero(t, wrong.Load())
	})
}

func TestConn(t *testing.T) {
	t.Run("Send is in order, and refuses what isn't JSON", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, nil)
			c := s.join("ann/s1")
			conn := b.conn("ann")
			for i := range 100 {
				require.NoError(t, conn.Send(fmt.Appendf(nil, `{"n": %d}`, i)))
			}
			for i := range 100 {
				require.JSONEq(t, fmt.Sprintf(`{"message":{"data":{"n":%d}}}`, i), c.push())
			}
			for _, bad := range []string{``, `{`, "\"\xff\"", `"` + strings.Repeat("x", 600<<10) + `"`} {
				require.Error(t, conn.Send(json.RawMessage(bad)))
			}
			require.True(t, c.live())
			require.Len(t, conn.ID(), 26)
		})
	})
	t.Run("what a handler sends arrives before its answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := managed(t, func(o *realtime.Options) {
				o.RPC["both"] = func(_ context.Context, c *realtime.Conn, _ json.RawMessage) (json.RawMessage, error) {
					return nil, c.Send(json.RawMessage(`1`))
				}
			})
			c := s.join("ann/s1")
			c.write(`{"id":7,"rpc":{"method":"both"}}`)
			require.JSONEq(t, `{"message":{"data":1}}`, c.push())
			require.Contains(t, c.reply(7), "rpc")
		})
	})
	t.Run("R9 Send never waits: a full queue closes with 3008", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, func(o *realtime.Options) { o.MaxQueue = 256 << 10 })
			slow, resume := s.stalled("ann/s1")
			conn, start := b.conn("ann"), time.Now()
			var err error
			for n := 0; err == nil; n++ {
				require.Less(t, n, 100)
				err = conn.Send(kilobytes(8))
			}
			require.ErrorIs(t, err, realtime.ErrQueueFull)
			require.ErrorIs(t, conn.Send(json.RawMessage(`1`)), realtime.ErrClosed)
			require.Zero(t, time.Since(start))
			resume()
			require.Equal(t, 3008, slow.code())
		})
	})
	t.Run("R9 what waits for the connect reply is bounded, too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var err error
			s, _ := managed(t, func(o *realtime.Options) {
				o.MaxQueue = 256 << 10
				o.OnConnect = func(_ context.Context, c *realtime.Conn) (json.RawMessage, error) {
					for n := 0; err == nil && n < 100; n++ {
						err = c.Send(kilobytes(8))
					}
					return nil, nil
				}
			})
			c := s.dial(header{cookie: "ann/s1"})
			c.write(`{"id":1,"connect":{}}`)
			require.Equal(t, 3008, c.code())
			synctest.Wait()
			require.ErrorIs(t, err, realtime.ErrQueueFull)
		})
	})
	t.Run("after the end: ErrClosed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, nil)
			c := s.join("ann/s1")
			conn := b.conn("ann")
			_ = c.ws.CloseNow()
			synctest.Wait()
			require.ErrorIs(t, conn.Send(json.RawMessage(`1`)), realtime.ErrClosed)
			require.NoError(t, conn.Close(4000, "again"))
			require.Equal(t, "ann", conn.Identity().UserID())
		})
	})
	t.Run("Close takes a host's own codes, and no others", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, nil)
			c := s.join("ann/s1")
			for _, bad := range []int{-1, 0, 1000, 1006, 3000, 3001, 3999, 5000, 69536} {
				require.Error(t, b.conn("ann").Close(bad, "no"))
			}
			synctest.Wait()
			require.True(t, c.live())
			require.NoError(t, b.conn("ann").Close(4000, ""))
			got, reason := c.closed()
			require.Equal(t, 4000, got)
			require.NotEmpty(t, reason)
		})
	})
	t.Run("Identity is that of the newest token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, b := managed(t, nil)
			end := time.Now().Add(time.Minute).Unix()
			c := s.dial(header{bearer: fmt.Sprintf("ann/s1/%d", end)})
			require.Contains(t, c.call(`"connect":{}`), "connect")
			require.Equal(t, end, b.conn("ann").Identity().ExpiresAt().Unix())
			require.NotContains(t, c.call(fmt.Sprintf(`"refresh":{"token":"ann/s1/%d"}`, end+60)), "error")
			require.Equal(t, end+60, b.conn("ann").Identity().ExpiresAt().Unix())
		})
	})
}

// stalled connects a client that reads no more than the connect reply, until
// the returned function is called.
func (s *site) stalled(cred string) (c *client, resume func()) {
	s.t.Helper()
	ws, _, err := s.handshake(header{cookie: cred})
	require.NoError(s.t, err)
	ws.SetReadLimit(-1)
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	c = &client{t: s.t, ws: ws, in: make(chan map[string]json.RawMessage, 100_000), done: make(chan struct{}), id: 10}
	c.write(`{"id":1,"connect":{}}`)
	_, _, err = ws.Read(s.t.Context())
	require.NoError(s.t, err)
	return c, func() { c.start() }
}

func TestTypedHandlers(t *testing.T) {
	type move struct {
		X, Y int
		To   struct{ Name string } `json:"to"`
	}
	type moved struct {
		Sum int    `json:"sum"`
		Who string `json:"who"`
	}
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		s, _ := managed(t, func(o *realtime.Options) {
			o.RPC["move"] = realtime.Reply(func(_ context.Context, c *realtime.Conn, in move) (moved, error) {
				if in.X < 0 {
					return moved{}, &realtime.Error{Code: 400, Message: "out of the field"}
				}
				return moved{in.X + in.Y, c.Identity().UserID()}, nil
			})
			o.RPC["bad"] = realtime.Reply(func(context.Context, *realtime.Conn, struct{}) (any, error) { return func() {}, nil })
			o.RPC["panics"] = realtime.Reply(func(context.Context, *realtime.Conn, panicky) (any, error) { return nil, nil })
			o.OnMessage = realtime.Dispatch(map[string]realtime.MessageFunc{
				"move": realtime.Receive(func(_ context.Context, c *realtime.Conn, in move) {
					b.note("%s moves %d", c.Identity().UserID(), in.X)
				}),
				"raw": func(_ context.Context, _ *realtime.Conn, data json.RawMessage) { b.note("raw %s", data) },
			})
		})
		c := s.join("ann/s1")
		rpc := func(method, data string) map[string]json.RawMessage {
			return c.call(`"rpc":{"method":"` + method + `"` + data + `}`)
		}
		require.JSONEq(t, `{"data":{"sum":3,"who":"ann"}}`, string(rpc("move", `,"data":{"X":1,"Y":2}`)["rpc"]))
		require.JSONEq(t, `{"data":{"sum":0,"who":"ann"}}`, string(rpc("move", ``)["rpc"]))
		require.Equal(t, 400, code(rpc("move", `,"data":{"X":-1}`)))
		require.Equal(t, 100, code(rpc("bad", ``)))
		for data, message := range map[string]string{
			`{"X":1,"Z":2}`:                          `bad request: unknown member "Z"`,
			`{"X":"1"}`:                              `bad request: X can't be a string`,
			`{"X":1.5}`:                              `bad request: X can't be a number 1.5`,
			`{"X":99999999999999999999}`:             `bad request: X can't be a number 99999999999999999999`,
			`{"to":{"Name":7}}`:                      `bad request: to.Name can't be a number`,
			`[1]`:                                    `bad request: can't be an array`,
			`"x"`:                                    `bad request: can't be a string`,
			`{"` + strings.Repeat("n", 500) + `":1}`: `bad request: unknown member "` + strings.Repeat("n", 227),
		} {
			r := rpc("move", `,"data":`+data)
			require.Equal(t, 107, code(r), data)
			var e struct{ Message string }
			require.NoError(t, json.Unmarshal(r["error"], &e))
			require.Equal(t, message, e.Message)
		}

		c.write(`{"send":{"data":{"type":"move","data":{"X":5}}}}`)
		c.write(`{"send":{"data":{"type":"raw","data":[1,2]}}}`)
		c.write(`{"send":{"data":{"type":"raw"}}}`)
		c.call(`"rpc":{"method":"echo"}`)
		require.Equal(t, []string{"ann moves 5", "raw [1,2]", "raw "}, b.all())
		for _, bad := range []struct{ data, reason string }{
			{`{"type":"fly"}`, "unknown message type fly"},
			{`{"type":"move","data":{"Q":1}}`, `bad request: unknown member "Q"`},
			{`{"kind":"move"}`, `bad request: unknown member "kind"`},
			{`7`, "bad request: can't be a number"},
		} {
			c := s.join("bob/s2")
			c.write(`{"send":{"data":` + bad.data + `}}`)
			got, reason := c.closed()
			require.Equal(t, 3501, got)
			require.Equal(t, bad.reason, reason)
		}
		require.True(t, c.live())
		c.write(`{"id":77,"rpc":{"method":"panics","data":1}}`)
		require.Equal(t, 1011, c.code(), "and nobody else's")
	})
	t.Run("the handler under no name takes the rest", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &book{}
			s, _ := managed(t, func(o *realtime.Options) {
				o.OnMessage = realtime.Dispatch(map[string]realtime.MessageFunc{
					"": func(_ context.Context, _ *realtime.Conn, data json.RawMessage) { b.note("rest %s", data) },
				})
			})
			c := s.join("ann/s1")
			c.write(`{"send":{"data":{"type":"new","data":1}}}`)
			c.call(`"rpc":{"method":"echo"}`)
			require.Equal(t, []string{"rest 1"}, b.all())
		})
	})
}

type panicky struct{}

func (*panicky) UnmarshalJSON([]byte) error { panic("host") }

func TestSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := realtime.NewMemoryBroker(nil)
		share := func(o *realtime.Options) { o.Broker = broker }
		one, here := managed(t, share)
		other, there := managed(t, share)
		ann, again, bob := one.join("ann/s1"), other.join("cyd/s1"), other.join("bob/s3")

		require.NoError(t, one.SendSession(t.Context(), "s1", json.RawMessage(`"session"`)))
		ids := []string{here.conn("ann").ID(), there.conn("bob").ID(), here.conn("ann").ID(), "nobody's"}
		require.NoError(t, one.SendConns(t.Context(), ids, json.RawMessage(`"conns"`)))
		require.NoError(t, one.SendUser(t.Context(), "bob", json.RawMessage(`"user"`)))
		require.NoError(t, one.SendConns(t.Context(), nil, json.RawMessage(`"none"`)))
		require.NoError(t, one.SendSession(t.Context(), "", json.RawMessage(`"none"`)))
		require.Error(t, one.SendSession(t.Context(), "s1", json.RawMessage(`{`)))
		require.Error(t, one.SendConns(t.Context(), ids, json.RawMessage(`{`)))
		synctest.Wait()

		for c, want := range map[*client][]string{ann: {"session", "conns"}, again: {"session"}, bob: {"conns", "user"}} {
			require.Len(t, c.in, len(want))
			for _, text := range want {
				require.JSONEq(t, fmt.Sprintf(`{"message":{"data":%q}}`, text), c.push())
			}
		}
		many := []string{there.conn("bob").ID()}
		for i := range 5000 {
			many = append(many, fmt.Sprint("X", i))
		}
		require.NoError(t, one.SendConns(t.Context(), many, json.RawMessage(`"many"`)))
		require.JSONEq(t, `{"message":{"data":"many"}}`, bob.push())
		synctest.Wait()
		require.Empty(t, bob.in)
	})
}

func TestWithoutRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := managed(t, nil)
		c := s.join("ann/s1")
		require.Equal(t, 102, code(c.call(`"subscribe":{"channel":"room:x"}`)))
		require.ErrorIs(t, s.Publish(t.Context(), "room:x", json.RawMessage(`1`)), realtime.ErrUnknownChannel)
		require.Contains(t, c.call(`"rpc":{"method":"echo","data":1}`), "rpc")
	})
	_, err := realtime.New(origin, realtime.Via((&world{}).Authenticate), &world{}, nil, &realtime.Options{
		Channels: map[string]realtime.Channel{"room:": {}},
	})
	require.ErrorContains(t, err, "no rule for this prefix")
}
