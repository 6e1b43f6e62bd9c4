package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// gate is a rule that can be changed, and counts.
type gate struct {
	mu    sync.Mutex
	grant realtime.Grant
	err   error
	asked int
	hook  func(n int)
}

func (g *gate) rule(context.Context, realtime.Identity, string) (realtime.Grant, error) {
	g.mu.Lock()
	g.asked++
	n, hook, grant, err := g.asked, g.hook, g.grant, g.err
	g.mu.Unlock()
	if hook != nil {
		hook(n)
	}
	return grant, err
}

func (g *gate) set(grant realtime.Grant, err error) {
	g.mu.Lock()
	g.grant, g.err = grant, err
	g.mu.Unlock()
}

var everything = realtime.Grant{Publish: true, Presence: true, JoinLeave: true, History: true, Recover: true}

// gated is a site whose channels are all behind g.
func gated(t *testing.T, g *gate, change func(*realtime.Options)) *site {
	w := &world{}
	o := options()
	o.Channels = map[string]realtime.Channel{"room:": {HistorySize: 10, HistoryTTL: time.Hour}}
	if change != nil {
		change(o)
	}
	h, err := realtime.New(origin, realtime.Via(w.Authenticate), w, realtime.Rules{"room:": g.rule, "roomy:": room}, o)
	require.NoError(t, err)
	return serve(t, &site{t: t, world: w, Hub: h})
}

func TestR4_OneGateForEverything(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code int
	}{
		"R4 denied":         {realtime.ErrDenied, 103},
		"R4 wrapped":        {fmt.Errorf("no: %w", realtime.ErrDenied), 103},
		"R4 unknown":        {realtime.ErrUnknownChannel, 102},
		"R4 own error":      {&realtime.Error{Code: 402, Message: "pay first"}, 402},
		"R4 can't tell":     {errors.New("database down"), 100},
		"R4 empty grant":    {nil, 103},
		"R4 deadline, down": {context.DeadlineExceeded, 100},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{err: c.err}
			s := gated(t, g, func(o *realtime.Options) {
				if c.code != 100 {
					o.Subscribe = func(realtime.Identity) []string { return []string{"room:server"} }
				}
			})
			cl := s.dial(header{cookie: "ann/s1"})
			r := cl.call(`"connect":{"subs":{"room:server":{"recover":true}}}`)
			require.Equal(t, c.err == nil, strings.Contains(string(r["connect"]), "room:server"), "server-side subscription")
			for _, command := range []string{
				`"subscribe":{"channel":"room:x"}`,
				`"subscribe":{"channel":"room:x","recover":true,"offset":1,"epoch":"e"}`,
				`"publish":{"channel":"room:x","data":1}`,
				`"presence":{"channel":"room:x"}`,
				`"presence_stats":{"channel":"room:x"}`,
				`"history":{"channel":"room:x","limit":1}`,
			} {
				r := cl.call(command)
				if c.err == nil && strings.Contains(command, "subscribe") {
					require.NotContains(t, r, "error", "reading is what an empty grant grants")
					require.NotContains(t, string(r["subscribe"]), "recoverable")
					cl.call(`"unsubscribe":{"channel":"room:x"}`)
					continue
				}
				require.Equal(t, c.code, code(r), command)
			}
		})
	}
	t.Run("R4 who can't be put into a channel for now comes back: left out, they would never learn of it", func(t *testing.T) {
		g := &gate{grant: everything}
		b := &hooked{MemoryBroker: realtime.NewMemoryBroker(nil)}
		s := gated(t, g, func(o *realtime.Options) {
			o.Broker = b
			o.Subscribe = func(realtime.Identity) []string { return []string{"room:first", "room:server"} }
		})
		refused := func() {
			t.Helper()
			c := s.dial(header{cookie: "ann/s1"})
			require.Equal(t, 100, code(c.call(`"connect":{}`)))
			require.Equal(t, 3004, c.code())
		}
		g.set(realtime.Grant{}, errors.New("database down"))
		refused()
		g.set(everything, nil)
		calls := 0
		b.enter = func() error {
			if calls++; calls == 2 {
				return errors.New("broker down")
			}
			return nil
		}
		refused()
		c := s.dial(header{cookie: "ann/s1"})
		require.Contains(t, string(c.call(`"connect":{}`)["connect"]), "room:server")
	})
	t.Run("R4 the longest prefix is asked, none is 102", func(t *testing.T) {
		g := &gate{err: realtime.ErrDenied}
		cl := gated(t, g, nil).join("ann/s1")
		require.NotContains(t, cl.call(`"subscribe":{"channel":"roomy:x"}`), "error")
		require.Equal(t, 102, code(cl.call(`"subscribe":{"channel":"other:x"}`)))
		require.Equal(t, 102, code(cl.call(`"publish":{"channel":"other:x","data":1}`)))
		for _, bad := range []string{"", "room:\\n", "room:\\u0000", "room:" + strings.Repeat("x", 255)} {
			require.Equal(t, 107, code(cl.call(`"subscribe":{"channel":"`+bad+`"}`)), bad)
		}
	})
	t.Run("R4 a message is not sent to another's channel", func(t *testing.T) {
		s := open(t, nil)
		ann, bob := s.join("ann/s1"), s.join("bob/s2")
		require.Equal(t, 103, code(bob.call(`"subscribe":{"channel":"user:ann"}`)))
		require.NotContains(t, ann.call(`"subscribe":{"channel":"user:ann"}`), "error")
		require.Equal(t, 103, code(ann.call(`"publish":{"channel":"user:ann","data":1}`)))
		require.NoError(t, s.Publish(t.Context(), "user:ann", []byte(`{"n":1}`)))
		require.JSONEq(t, `{"channel":"user:ann","pub":{"data":{"n":1}}}`, ann.push())
		require.NoError(t, s.SendUser(t.Context(), "bob", []byte(`"hi"`)))
		require.JSONEq(t, `{"message":{"data":"hi"}}`, bob.push())
	})
}

func TestR3_RightsAreAskedAgain(t *testing.T) {
	for name, again := range map[string]func(s *site, c *client){
		"R3 by Reauthorize": func(s *site, c *client) { _ = s.Reauthorize(context.Background(), "ann") },
		"R3 on refresh":     func(s *site, c *client) { c.call(`"refresh":{"token":"ann/s1"}`) },
		"R3 on sub_refresh": func(s *site, c *client) { c.call(`"sub_refresh":{"channel":"room:x"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{grant: everything}
			s := gated(t, g, nil)
			c, other := s.dial(header{}), s.join("bob/s2")
			c.call(`"connect":{"token":"ann/s1"}`)
			other.call(`"subscribe":{"channel":"room:x"}`)
			other.push()
			c.call(`"subscribe":{"channel":"room:x"}`)
			c.push()
			require.Contains(t, other.push(), `"join"`)

			again(s, c) // nothing changed: nothing happens
			require.NotContains(t, c.call(`"publish":{"channel":"room:x","data":1}`), "error")
			require.Contains(t, c.push(), `"pub"`)
			require.Contains(t, other.push(), `"pub"`)

			g.set(realtime.Grant{}, nil) // less: still in, but neither writing nor seen
			again(s, c)
			require.Equal(t, 103, code(c.call(`"publish":{"channel":"room:x","data":2}`)))
			require.Equal(t, 103, code(c.call(`"history":{"channel":"room:x","limit":1}`)))
			require.Contains(t, other.push(), `"leave"`)
			require.JSONEq(t, `{"num_clients":1,"num_users":1}`, string(other.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"]))

			g.set(realtime.Grant{}, realtime.ErrDenied) // gone
			again(s, c)
			require.JSONEq(t, `{"channel":"room:x","unsubscribe":{"code":2000,"reason":"permission denied"}}`, c.push())
			require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`3`)))
			require.Contains(t, other.push(), `"pub"`)
			require.Empty(t, c.in, "a message after the right was gone")
		})
	}
	t.Run("R3 could not tell: told to subscribe again", func(t *testing.T) {
		g := &gate{grant: everything}
		s := gated(t, g, nil)
		c := s.join("ann/s1")
		c.call(`"subscribe":{"channel":"room:x"}`)
		c.push()
		g.set(everything, errors.New("down"))
		require.NoError(t, s.Reauthorize(t.Context(), "ann"))
		require.Contains(t, c.push(), `"code":2500`)
	})
	t.Run("R3 a change racing a subscribe", func(t *testing.T) {
		// The rule has said yes when the right goes. The subscription must not
		// come to life on that answer.
		g := &gate{grant: everything}
		s := gated(t, g, nil)
		c := s.join("ann/s1")
		g.mu.Lock()
		g.hook = func(int) {
			g.set(realtime.Grant{}, realtime.ErrDenied)
			_ = s.Reauthorize(context.Background(), "ann")
		}
		g.mu.Unlock()
		require.Equal(t, 100, code(c.call(`"subscribe":{"channel":"room:x"}`)))
		require.Equal(t, 103, code(c.call(`"subscribe":{"channel":"room:x"}`)))
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`3`)))
		require.Contains(t, c.call(`"rpc":{"method":"echo"}`), "rpc")
		require.Empty(t, c.in)
	})
}

// The history of one channel has been read when the right goes, while the rule of
// another is still thinking. The reply to both must not be sent.
func TestR4_AChangeRacingAConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{grant: everything}
		asked, answer := make(chan struct{}), make(chan struct{})
		slow := func(context.Context, realtime.Identity, string) (realtime.Grant, error) {
			close(asked)
			<-answer
			return everything, nil
		}
		s := inBubbleWith(t, &world{}, realtime.Rules{"room:": g.rule, "slow:": slow}, func(o *realtime.Options) {
			o.Channels = map[string]realtime.Channel{"room:": {HistorySize: 10, HistoryTTL: time.Hour}}
			o.Subscribe = func(realtime.Identity) []string { return []string{"room:x", "slow:x"} }
		})
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte(`"for members"`)))
		c := s.dial(header{cookie: "ann/s1"})
		c.write(`{"id":1,"connect":{"subs":{"room:x":{"recover":true}}}}`)
		<-asked
		g.set(realtime.Grant{}, realtime.ErrDenied)
		require.NoError(t, s.Reauthorize(t.Context(), "ann"))
		close(answer)
		require.Equal(t, 3010, c.code())
		require.Empty(t, c.in)
	})
}

func TestPanicsInAHostsFunctionsEndTheConnectionAlone(t *testing.T) {
	g := &gate{hook: func(int) { panic("host") }}
	s := gated(t, g, nil)
	a, b := s.join("ann/s1"), s.join("bob/s2")
	a.write(`{"id":5,"subscribe":{"channel":"room:x"}}`)
	require.Equal(t, 1011, a.code())
	require.Contains(t, b.call(`"rpc":{"method":"echo"}`), "rpc")
	require.NotContains(t, s.join("ann/s1").call(`"rpc":{"method":"echo"}`), "error")
}

func TestNewRefusesUnsafeCombinations(t *testing.T) {
	w := &world{}
	via := realtime.Via(w.Authenticate)
	for name, f := range map[string]func() (*realtime.Hub, error){
		"no origin":    func() (*realtime.Hub, error) { return realtime.New("", via, w, rules(), nil) },
		"a path":       func() (*realtime.Hub, error) { return realtime.New("https://a.example/x", via, w, rules(), nil) },
		"plain http":   func() (*realtime.Hub, error) { return realtime.New("http://a.example", via, w, rules(), nil) },
		"a wildcard":   func() (*realtime.Hub, error) { return realtime.New("*", via, w, rules(), nil) },
		"no auth":      func() (*realtime.Hub, error) { return realtime.New(origin, nil, w, rules(), nil) },
		"a nil func":   func() (*realtime.Hub, error) { return realtime.New(origin, realtime.Via[person](nil), w, rules(), nil) },
		"no sessions":  func() (*realtime.Hub, error) { return realtime.New(origin, via, nil, rules(), nil) },
		"empty prefix": func() (*realtime.Hub, error) { return realtime.New(origin, via, w, realtime.Rules{"": room}, nil) },
		"no TTL": func() (*realtime.Hub, error) {
			return realtime.New(origin, via, w, rules(), &realtime.Options{Channels: map[string]realtime.Channel{"room:": {HistorySize: 1}}})
		},
		"no rule": func() (*realtime.Hub, error) {
			return realtime.New(origin, via, w, rules(), &realtime.Options{Channels: map[string]realtime.Channel{"x:": {}}})
		},
		"slow watch": func() (*realtime.Hub, error) {
			return realtime.New(origin, via, w, rules(), &realtime.Options{WatchInterval: time.Minute})
		},
		"small queue": func() (*realtime.Hub, error) {
			return realtime.New(origin, via, w, rules(), &realtime.Options{MaxQueue: 100})
		},
	} {
		_, err := f()
		require.ErrorContains(t, err, "realtime: ", name)
	}
	_, err := realtime.New("", nil, nil, nil, nil)
	require.Len(t, strings.Split(err.Error(), "\n"), 3, "all mistakes at once")
}

var _ http.Handler = (*realtime.Hub)(nil)

func TestWhatNewWasGivenIsTheHostsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o *realtime.Options
		w := &world{}
		s := inBubble(t, w, w, func(given *realtime.Options) { o = given })
		o.RPC["late"], o.Channels["plain:"] = o.RPC["echo"], o.Channels["room:"]
		delete(o.RPC, "echo")
		c := s.join("ann/s1")
		require.Equal(t, 104, code(c.call(`"rpc":{"method":"late"}`)))
		require.NotContains(t, c.call(`"rpc":{"method":"echo"}`), "error")
		require.False(t, c.subscribe("plain:x", "").Recoverable)
	})
}
