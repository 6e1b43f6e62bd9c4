package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	front "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/chrome"
	"github.com/gatewire/gatewire/internal/proxy"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/client"
	"github.com/gatewire/gatewire/session"
)

// These tests run realtime/client in a real browser against a real hub, over a
// network that drops, delays and forgets. The page allows itself nothing but its
// own scripts and connections.

// tokenHub is a hub for people with access tokens of one session, which GET
// /token issues.
type tokenHub struct {
	*realtime.Hub
	sessions   *session.Manager[struct{}]
	id         string // of the session
	mux        *http.ServeMux
	handshakes atomic.Int32
}

func newTokenHub(t *testing.T, origin string, ttl time.Duration, o *realtime.Options, inRoom realtime.Rule) *tokenHub {
	t.Helper()
	sessions, err := session.New[struct{}](session.NewMemoryStore(nil), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sessions.Close() })
	_, who, err := sessions.BeginToken(t.Context(), session.Start{UserID: "ada"})
	require.NoError(t, err)
	sealing, _, err := jwt.GenerateSealingKeys("1")
	require.NoError(t, err)
	ring, err := jwt.NewRing(jwt.NewMemoryKeyStore(), sealing, nil)
	require.NoError(t, err)
	profile := jwt.AccessToken("https://app.example", "https://app.example")
	issuer, err := jwt.NewIssuer(profile, ring, ttl)
	require.NoError(t, err)
	verifier, err := jwt.NewVerifier[jwt.AccessClaims](profile, ring, &jwt.VerifierOptions{Skew: -1})
	require.NoError(t, err)
	o.RPC = map[string]realtime.RPCFunc{"echo": echo}
	o.Channels = map[string]realtime.Channel{"room:": {HistorySize: 1000, HistoryTTL: time.Hour}, "user:": {HistorySize: 1000, HistoryTTL: time.Hour}}
	inOwn := func(_ context.Context, who realtime.Identity, channel string) (realtime.Grant, error) {
		if channel != "user:"+who.UserID() {
			return realtime.Grant{}, realtime.ErrDenied
		}
		return realtime.Grant{Recover: true, History: true}, nil
	}
	hub, err := realtime.New(origin, realtime.Via(verifier.Authenticate), sessions, realtime.Rules{"room:": inRoom, "user:": inOwn}, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.Close() })

	h := &tokenHub{Hub: hub, sessions: sessions, id: who.SessionID(), mux: http.NewServeMux()}
	h.mux.HandleFunc("/realtime", func(w http.ResponseWriter, r *http.Request) {
		h.handshakes.Add(1)
		hub.ServeHTTP(w, r)
	})
	h.mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		token, _, err := issuer.Issue(r.Context(), jwt.AccessClaims{Subject: who.UserID(), SessionID: who.SessionID(), ClientID: "test"})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, token)
	})
	return h
}

func (h *tokenHub) say(t *testing.T, channel string, n int) {
	t.Helper()
	require.NoError(t, h.Publish(t.Context(), channel, json.RawMessage(fmt.Sprint(n))))
}

// faulty is a hub behind a faulty network, and a page on the other side.
type faulty struct {
	*window
	hub   *tokenHub
	proxy *proxy.Proxy
}

const faultyPage = `
import { Client } from '/client/realtime.js';
const log = window.log = [];
window.got = [];
window.own = [];
window.start = (options) => {
  const client = window.client = new Client('/realtime', {
    getToken: async ({ signal }) => { window.tokens = (window.tokens ?? 0) + 1; return (await fetch('/token', { signal })).text(); },
    minDelay: 50, maxDelay: 400, timeout: 3000, ...options,
  });
  for (const type of ['connecting', 'connected', 'closed', 'error']) client.on(type, ({ code, error }) => log.push(type + ' ' + (code ?? error?.code ?? '')));
  client.on('publication', ({ data }) => own.push(data));
  client.on('subscribed', ({ recovered, wasRecovering }) => { if (wasRecovering && !recovered) log.push('own lost'); });
  const room = client.subscribe('room:a');
  room.on('publication', ({ data }) => got.push(data));
  room.on('subscribed', ({ recovered, wasRecovering }) => { window.subscribed = true; if (wasRecovering) log.push(recovered ? 'recovered' : 'lost'); });
  room.on('subscribing', () => { window.subscribed = false; });
  client.connect();
};
window.ready = true;
`

func newFaulty(t *testing.T, b *chrome.Chrome, ttl time.Duration, o *realtime.Options) *faulty {
	server := httptest.NewUnstartedServer(nil)
	p, err := proxy.New(server.Listener.Addr().String(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	origin := "http://" + p.Addr()
	o.Subscribe = func(who realtime.Identity) []string { return []string{"user:" + who.UserID()} }
	h := newTokenHub(t, origin, ttl, o, inRoom)
	h.mux.Handle("GET /client/", client.Handler())
	h.mux.HandleFunc("GET /page.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, faultyPage)
	})
	h.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy",
			"default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; require-trusted-types-for 'script'; trusted-types 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		fmt.Fprint(w, `<!doctype html><title>page</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>`)
	})
	server.Config.Handler = h.mux
	server.Start()
	t.Cleanup(server.CloseClientConnections)
	f := &faulty{window: open(t, b, origin), hub: h, proxy: p}
	f.Until(patience, "window.ready")
	return f
}

// begin starts the page's client and waits until it is in its room.
func (f *faulty) begin(options string) {
	f.t.Helper()
	f.JS("start("+options+")", nil)
	f.Until(patience, "window.subscribed")
}

// whole requires that the page gets 1 to n of both channels: in order, each once,
// and that it was never told of a gap.
func (f *faulty) whole(n int) {
	f.t.Helper()
	for _, list := range []string{"got", "own"} {
		f.Until(patience, fmt.Sprintf("%s.at(-1) >= %d", list, n))
		var got []int
		f.JS(list, &got)
		want := make([]int, n)
		for i := range want {
			want[i] = i + 1
		}
		require.Equal(f.t, want, got, list)
	}
	var lost bool
	f.JS("log.includes('lost') || log.includes('own lost')", &lost)
	require.False(f.t, lost)
}

func (f *faulty) say(n int) {
	f.t.Helper()
	f.hub.say(f.t, "room:a", n)
	f.hub.say(f.t, "user:ada", n)
}

// broken is what a browser says of a network that fails; it is expected here.
const broken = `ERR_|WebSocket|request failed`

func TestClientOverFaultyNetwork(t *testing.T) {
	t.Parallel()
	b := chrome.Start(t)
	run, wait := beside(t)
	defer wait()
	run("cut off in the middle of messages", func(t *testing.T) {
		f := newFaulty(t, b, 10*time.Minute, &realtime.Options{})
		f.begin(`{}`)
		f.JS(`void (window.chatter = setInterval(() => client.rpc('echo', 'x'.repeat(2000)).catch(() => {}), 5))`, nil)
		f.proxy.Cut(40)
		n := 0
		for begin := time.Now(); time.Since(begin) < 3*time.Second || f.proxy.Cuts() <= 3 && time.Since(begin) < patience; time.Sleep(3 * time.Millisecond) {
			n++
			f.say(n)
		}
		f.proxy.Cut(0)
		f.JS(`clearInterval(chatter)`, nil)
		f.whole(n)
		t.Logf("%d messages on each of two channels, %d connections cut", n, f.proxy.Cuts())
		require.Greater(t, f.proxy.Cuts(), 3)
		f.Clean(broken)
	})
	run("answers that come too late", func(t *testing.T) {
		f := newFaulty(t, b, 10*time.Minute, &realtime.Options{})
		f.begin(`{ timeout: 700 }`)
		f.say(1)
		f.whole(1)
		f.proxy.Delay(800 * time.Millisecond)
		var code int
		f.JS(`client.rpc('echo', 1).catch((e) => e.code)`, &code)
		require.Equal(t, 3, code)
		f.JS(`void (log.length = 0)`, nil)
		f.JS(`void dispatchEvent(new Event('offline'))`, nil) // another connection, over the slow network
		f.Until(patience, `log.filter((l) => l === 'connecting 3' || l === 'connecting 2').length >= 2`)
		f.say(2)
		f.proxy.Delay(0)
		f.say(3)
		f.whole(3)
		f.Clean(broken)
	})
	run("a network that forgets", func(t *testing.T) {
		f := newFaulty(t, b, 10*time.Minute, &realtime.Options{PingInterval: time.Second})
		f.begin(`{ maxPingDelay: 1000, timeout: 1000 }`)
		f.say(1)
		f.whole(1)
		f.proxy.Vanish(true)
		f.say(2)
		f.Until(patience, `log.includes('connecting 4')`)
		f.Until(patience, `log.includes('connecting 3')`) // nor does a new connection get through
		f.say(3)
		f.proxy.Vanish(false)
		f.whole(3)
		f.Clean(broken)
	})
	run("offline and online", func(t *testing.T) {
		f := newFaulty(t, b, 10*time.Minute, &realtime.Options{})
		f.begin(`{ minDelay: 20000, maxDelay: 20000 }`) // alone it would be long in coming
		f.say(1)
		f.whole(1)
		offline := func(on bool) {
			_, err := chromedp.Call(f.Context(), network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: on, DownloadThroughput: -1, UploadThroughput: -1})
			require.NoError(t, err)
		}
		offline(true)
		f.Until(patience, `log.includes('connecting 6')`)
		f.say(2)
		f.JS(`void (Math.random = () => 1, log.length = 0)`, nil)
		offline(false)
		took := f.Until(patience, `window.subscribed`)
		t.Logf("back after %v", took)
		require.Less(t, took, 10*time.Second)
		f.whole(2)
		f.Clean(broken)
	})
	run("a page that is looked at again", func(t *testing.T) {
		f := newFaulty(t, b, 10*time.Minute, &realtime.Options{})
		f.begin(`{ timeout: 2000 }`)
		f.say(1)
		f.whole(1)
		_, err := chromedp.Call(f.Context(), target.CreateTarget, target.CreateTargetParams{URL: "about:blank", BrowserContextID: chromedp.FromContext(f.Context()).BrowserContextID})
		require.NoError(t, err) // another tab, in front of the page
		f.Until(patience, `document.visibilityState === 'hidden'`)
		f.proxy.Vanish(true) // the network changes meanwhile: the socket looks open
		f.say(2)
		time.Sleep(1100 * time.Millisecond)
		f.proxy.Vanish(false)
		_, err = chromedp.Call(f.Context(), front.BringToFront, cdp.Empty{})
		require.NoError(t, err)
		took := f.Until(patience, `document.visibilityState === 'visible' && got.at(-1) === 2`)
		t.Logf("whole again after %v; a ping would have been missed after 35 s", took)
		require.Less(t, took, 20*time.Second)
		f.whole(2)
		f.Clean(broken)
	})
	run("everything at once", func(t *testing.T) {
		f := newFaulty(t, b, 5*time.Second, &realtime.Options{PingInterval: time.Second, PongTimeout: 2 * time.Second})
		f.begin(`{ maxPingDelay: 1000, timeout: 1000 }`)
		var n atomic.Int64
		said, stop := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(said)
			for ; ; time.Sleep(10 * time.Millisecond) {
				select {
				case <-stop:
					return
				default:
				}
				for _, channel := range []string{"room:a", "user:ada"} {
					if err := f.hub.Publish(t.Context(), channel, json.RawMessage(fmt.Sprint(n.Load()+1))); err != nil {
						t.Error(err)
						return
					}
				}
				n.Add(1)
			}
		}()
		f.JS(`void (window.chatter = setInterval(() => client.rpc('echo', 'x'.repeat(500)).catch(() => {}), 10))`, nil)
		seed := uint64(time.Now().UnixNano())
		random := rand.New(rand.NewPCG(seed, 1))
		fired := map[string]int{}
		for end := time.Now().Add(stormTime(t)); time.Now().Before(end); time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond) {
			what := []string{"cut", "cut", "vanish", "delay", "offline", "away", "look"}[random.IntN(7)]
			fired[what]++
			switch what {
			case "cut":
				f.proxy.Cut(1 + random.IntN(30))
				time.Sleep(200 * time.Millisecond)
				f.proxy.Cut(0)
			case "vanish":
				f.proxy.Vanish(true)
				time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
				f.proxy.Vanish(false)
			case "delay":
				f.proxy.Delay(time.Duration(random.IntN(700)) * time.Millisecond)
				time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
				f.proxy.Delay(0)
			default:
				f.JS(map[string]string{
					"offline": `for (const name of ['offline', 'online']) dispatchEvent(new Event(name))`,
					"away":    `for (const name of ['pagehide', 'pageshow']) dispatchEvent(new PageTransitionEvent(name, { persisted: true }))`,
					"look":    `void document.dispatchEvent(new Event('visibilitychange'))`,
				}[what], nil)
			}
		}
		close(stop)
		<-said
		f.JS(`clearInterval(chatter)`, nil)
		calm := time.Now()
		f.whole(int(n.Load()))
		t.Logf("whole %v after the last fault", time.Since(calm))
		var connections int
		f.JS(`log.filter((l) => l.startsWith('connected')).length`, &connections)
		t.Logf("%d messages on each of two channels over %d connections, %v, seed %d", n.Load(), connections, fired, seed)
		f.Clean(broken)
	})
	run("a page that was frozen", func(t *testing.T) {
		f := newFaulty(t, b, 4*time.Second, &realtime.Options{PingInterval: time.Second, PongTimeout: time.Second})
		f.begin(`{}`)
		f.say(1)
		f.whole(1)
		lifecycle := func(state front.SetWebLifecycleStateState) {
			_, err := chromedp.Call(f.Context(), front.SetWebLifecycleState, front.SetWebLifecycleStateParams{State: state})
			require.NoError(t, err)
		}
		lifecycle(front.SetWebLifecycleStateStateFrozen)
		time.Sleep(4500 * time.Millisecond) // it answers no pings, and its token ends
		f.say(2)
		require.EqualValues(t, 1, f.hub.handshakes.Load(), "nothing happens in a frozen page")
		lifecycle(front.SetWebLifecycleStateStateActive)
		f.whole(2)
		var log []string
		f.JS(`log`, &log)
		t.Log(log)
		require.Contains(t, log, "recovered", "the hub had put it out")
		f.Clean(broken)
	})
	run("tokens of seconds", func(t *testing.T) {
		f := newFaulty(t, b, 4*time.Second, &realtime.Options{})
		f.begin(`{}`)
		time.Sleep(6 * time.Second)
		f.say(1)
		f.whole(1)
		var log []string
		f.JS(`log`, &log)
		log = slices.DeleteFunc(log, func(l string) bool { return strings.HasPrefix(l, "error") }) // a refresh may be late on a busy machine
		require.Equal(t, []string{"connecting 0", "connected "}, log, "the socket stays")
		require.EqualValues(t, 1, f.hub.handshakes.Load())
		var tokens int
		f.JS(`tokens`, &tokens)
		require.GreaterOrEqual(t, tokens, 3)
		require.LessOrEqual(t, tokens, 10)

		// A session that ends ends it all, and nobody knocks again.
		ended, err := f.hub.sessions.Revoke(t.Context(), "ada", f.hub.id, session.ReasonRevoked)
		require.NoError(t, err)
		require.True(t, ended)
		f.Until(patience, `log.at(-1) === 'closed 4501'`)
		time.Sleep(time.Second)
		require.EqualValues(t, 1, f.hub.handshakes.Load())
		f.Clean()
	})
}

// stormTime is how long everything goes wrong at once: $CLIENT_STORM, or a few seconds.
func stormTime(t *testing.T) time.Duration {
	t.Helper()
	if s := os.Getenv("CLIENT_STORM"); s != "" {
		d, err := time.ParseDuration(s)
		require.NoError(t, err)
		return d
	}
	return 5 * time.Second
}
