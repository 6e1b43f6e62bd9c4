package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/chrome"
	"github.com/gatewire/gatewire/realtime/client"
)

// These tests run realtime/client in a real browser against a server that does
// what its script says: answers, delays, refuses, drops.

// stage is the server and the window of one script.
type stage struct {
	*window
	t      *testing.T
	server *httptest.Server
	peers  chan *peer
	refuse atomic.Int32 // handshakes still to be refused
	came   atomic.Int32 // handshakes so far
}

// stagePage keeps the events of one client, and counts the page's timers.
const stagePage = `
const timers = new Set();
const { setTimeout: set, clearTimeout: clear } = window;
window.setTimeout = (f, ms) => { const id = set(() => { timers.delete(id); f(); }, ms); timers.add(id); return id; };
window.clearTimeout = (id) => { timers.delete(id); clear(id); };
window.timers = timers;

const events = [];
const waiters = [];
window.log = events;
function tell(type, detail) {
  if (detail.error) detail = { code: detail.error.code, message: detail.error.message };
  events.push([type, detail]);
  const i = waiters.findIndex((w) => w.type === type);
  if (i >= 0) waiters.splice(i, 1)[0].resolve(take(type));
}
function take(type) {
  const i = events.findIndex(([t]) => t === type);
  return i >= 0 ? events.splice(i, 1)[0][1] : undefined;
}
window.next = (type) => take(type) ?? new Promise((resolve) => waiters.push({ type, resolve }));
window.follow = (emitter, prefix, types) => {
  for (const type of types) emitter.on(type, (detail) => tell(prefix + type, detail));
  return emitter;
};
import('/client/realtime.js').then((module) => {
  Object.assign(window, module);
  window.start = (options) => {
    window.client = follow(new Client('/ws', { minDelay: 20, maxDelay: 200, ...options }), '', ['connecting', 'connected', 'closed', 'message', 'error', 'subscribed', 'publication', 'join', 'leave', 'unsubscribed']);
    client.connect();
  };
  window.join = (channel, options) => follow(client.subscribe(channel, options), channel + ' ', ['subscribed', 'publication', 'join', 'leave', 'subscribing', 'unsubscribed']);
  window.ready = true;
});
`

func newStage(t *testing.T, b *chrome.Chrome) *stage {
	s := &stage{t: t, peers: make(chan *peer, 16)}
	mux := http.NewServeMux()
	mux.Handle("GET /client/", client.Handler())
	mux.HandleFunc("GET /stage.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, stagePage)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", csp)
		fmt.Fprint(w, `<!doctype html><title>stage</title><link rel="icon" href="data:,"><script src="/stage.js"></script>`)
	})
	mux.HandleFunc("GET /elsewhere", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<!doctype html><title>elsewhere</title><link rel="icon" href="data:,">`)
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		s.came.Add(1)
		if s.refuse.Add(-1) >= 0 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		p := &peer{t: t, conn: conn, done: make(chan struct{})}
		s.peers <- p
		<-p.done
	})
	s.server = httptest.NewServer(mux)
	t.Cleanup(s.server.Close)
	s.window = open(t, b, s.server.URL)
	s.Until(patience, "window.ready")
	t.Cleanup(func() {
		for {
			select {
			case p := <-s.peers:
				p.drop()
			default:
				return
			}
		}
	})
	return s
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// peer waits for the next connection.
func (s *stage) peer() *peer {
	s.t.Helper()
	select {
	case p := <-s.peers:
		s.t.Cleanup(p.drop)
		return p
	case <-time.After(10 * time.Second):
		s.t.Fatal("no connection")
		return nil
	}
}

// quiet fails the test if another connection comes.
func (s *stage) quiet() {
	s.t.Helper()
	select {
	case <-s.peers:
		s.t.Fatal("the client came back")
	case <-time.After(500 * time.Millisecond): // its delays are 200 ms at most
	}
}

// next waits for an event of the page's client.
func (s *stage) next(event string) object {
	s.t.Helper()
	var detail object
	s.JS("next("+quote(event)+")", &detail)
	return detail
}

// settled asserts that the client has ended and left no timer behind.
func (s *stage) settled() {
	s.t.Helper()
	var state string
	s.JS("client.state", &state)
	require.Equal(s.t, "closed", state)
	var timers int
	s.JS("timers.size", &timers)
	require.Zero(s.t, timers, "timers left")
	s.quiet()
}

// connected starts a client and answers its connect command.
func (s *stage) connected(options string) *peer {
	s.t.Helper()
	s.JS("start("+options+")", nil)
	p := s.peer()
	p.welcome()
	s.next("connected")
	return p
}

// peer is the server's end of one connection.
type peer struct {
	t     *testing.T
	conn  *websocket.Conn
	lines []object
	done  chan struct{}
}

// frame reads one frame: the lines in it.
func (p *peer) frame() []object {
	p.t.Helper()
	_, data, err := p.conn.Read(timeout(p.t))
	require.NoError(p.t, err)
	var lines []object
	for line := range strings.SplitSeq(string(data), "\n") {
		var o object
		require.NoError(p.t, json.Unmarshal([]byte(line), &o), "%s", data)
		lines = append(lines, o)
	}
	return lines
}

// command reads the next command, which must be the named one, and returns its
// id and what it holds.
func (p *peer) command(name string) (id int, params object) {
	p.t.Helper()
	if len(p.lines) == 0 {
		p.lines = p.frame()
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	require.Contains(p.t, line, name, "%v", line)
	number, _ := line["id"].(float64)
	return int(number), line[name].(object)
}

// send sends one frame of lines.
func (p *peer) send(lines ...string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.Write(timeout(p.t), websocket.MessageText, []byte(strings.Join(lines, "\n"))))
}

// answer sends the reply to a command, as `"rpc":{}`.
func (p *peer) answer(id int, reply string) {
	p.t.Helper()
	p.send(fmt.Sprintf(`{"id":%d,%s}`, id, reply))
}

func (p *peer) welcome() object {
	p.t.Helper()
	id, params := p.command("connect")
	p.answer(id, `"connect":{"client":"c1","version":"1","ping":25,"pong":true}`)
	return params
}

func (p *peer) close(code int, reason string) {
	_ = p.conn.Close(websocket.StatusCode(code), reason)
	p.drop()
}

// drop cuts the connection as a lost network would.
func (p *peer) drop() {
	_ = p.conn.CloseNow()
	select {
	case <-p.done:
	default:
		close(p.done)
	}
}

func TestClientInBrowser(t *testing.T) {
	t.Parallel()
	b := chrome.Start(t)
	run, wait := beside(t)
	defer wait()
	for name, script := range map[string]func(t *testing.T, s *stage){
		"commands and replies":           clientCommands,
		"recovers after a drop":          clientRecovers,
		"says when it could not recover": clientNotRecovered,
		"keeps the order within a frame": clientOrder,
		"batches commands":               clientBatches,
		"ends on terminal codes":         clientTerminal,
		"reconnects on other codes":      clientReconnects,
		"moves within a window":          clientMoves,
		"backs off with full jitter":     clientBacksOff,
		"times out":                      clientTimeouts,
		"answers pings, misses them":     clientPings,
		"fetches and refreshes tokens":   clientTokens,
		"ends without a token":           clientNoToken,
		"retries temporary errors":       clientTemporary,
		"is unsubscribed by the server":  clientUnsubscribed,
		"takes pushes":                   clientPushes,
		"wakes with the browser":         clientWakes,
		"close ends everything":          clientClose,
		"garbage is no protocol":         clientGarbage,
		"what the server subscribes":     clientServed,
		"hostile servers":                clientHostile,
		"listeners that close":           clientListeners,
		"asks for one token at a time":   clientOneToken,
		"tokens that hang":               clientHangingToken,
		"stale tokens are not used":      clientStaleToken,
		"checks when it wakes":           clientChecks,
		"floods are bounded":             func(t *testing.T, s *stage) { clientFloods(t, b, s) },
		"the back/forward cache":         clientPutAway,
		"options that make no sense":     clientOptions,
	} {
		run(name, func(t *testing.T) {
			s := newStage(t, b)
			script(t, s)
			s.Clean(`ERR_|503|WebSocket|of the page`) // nothing was thrown, and no promise left rejected
		})
	}
}

// beside runs subtests that mostly wait, four at a time however few processors
// there are.
func beside(t *testing.T) (run func(name string, test func(t *testing.T)), wait func()) {
	var running sync.WaitGroup
	places := make(chan struct{}, 4)
	return func(name string, test func(t *testing.T)) {
		running.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			t.Run(name, test)
		})
	}, running.Wait
}

func clientCommands(t *testing.T, s *stage) {
	s.JS(`start()`, nil)
	p := s.peer()
	id, params := p.command("connect")
	require.Equal(t, object{}, params)
	p.answer(id, `"connect":{"client":"c1","data":{"unread":3},"ping":25,"pong":true}`)
	require.Equal(t, object{"client": "c1", "data": object{"unread": 3.0}}, s.next("connected"))

	for _, c := range []struct {
		call, command, params, reply, want string
	}{
		{`client.publish('room:a', { text: 'x' })`, "publish", `{"channel":"room:a","data":{"text":"x"}}`, `"publish":{}`, `null`},
		{`client.presence('room:a')`, "presence", `{"channel":"room:a"}`, `"presence":{"presence":{"c1":{"user":"u","client":"c1"}}}`, `{"c1":{"user":"u","client":"c1"}}`},
		{`client.presenceStats('room:a')`, "presence_stats", `{"channel":"room:a"}`, `"presence_stats":{"num_clients":3,"num_users":2}`, `{"clients":3,"users":2}`},
		{`client.history('room:a', { limit: 2, reverse: true, since: { offset: 7, epoch: 'e' } })`, "history",
			`{"channel":"room:a","limit":2,"reverse":true,"since":{"offset":7,"epoch":"e"}}`, `"history":{"publications":[{"data":1,"offset":6}],"offset":9,"epoch":"e"}`,
			`{"publications":[{"data":1,"offset":6}],"offset":9,"epoch":"e"}`},
		{`client.rpc('echo', [1, 2])`, "rpc", `{"method":"echo","data":[1,2]}`, `"rpc":{"data":[1,2]}`, `[1,2]`},
		{`client.rpc('none').catch((e) => ({ name: e.name, code: e.code, message: e.message, temporary: e.temporary }))`, "rpc", `{"method":"none"}`,
			`"error":{"code":104,"message":"method not found"}`, `{"name":"RealtimeError","code":104,"message":"method not found","temporary":false}`},
	} {
		s.JS(`void (window.result = `+c.call+`)`, nil)
		id, params := p.command(c.command)
		require.NotZero(t, id)
		got, err := json.Marshal(params)
		require.NoError(t, err)
		require.JSONEq(t, c.params, string(got), c.call)
		p.answer(id, c.reply)
		var result json.RawMessage
		s.JS(`result.then((r) => r ?? null)`, &result)
		require.JSONEq(t, c.want, string(result), c.call)
	}

	s.JS(`client.send({ seen: 1 })`, nil)
	id, params = p.command("send")
	require.Zero(t, id, "a message has no id: it has no answer")
	require.Equal(t, object{"data": object{"seen": 1.0}}, params)

	s.JS(`void (window.room = join('room:a'))`, nil)
	id, params = p.command("subscribe")
	require.Equal(t, object{"channel": "room:a"}, params)
	p.answer(id, `"subscribe":{}`)
	require.Equal(t, object{"recovered": false, "wasRecovering": false}, s.next("room:a subscribed"))
	var same bool
	s.JS(`client.subscribe('room:a') === room`, &same)
	require.True(t, same)
	s.JS(`room.unsubscribe()`, nil)
	_, params = p.command("unsubscribe")
	require.Equal(t, object{"channel": "room:a"}, params)
	require.Equal(t, object{"code": 0.0, "reason": "unsubscribed"}, s.next("room:a unsubscribed"))
}

// position answers a subscribe command of a channel that recovers.
func (p *peer) position(rest string) object {
	p.t.Helper()
	id, params := p.command("subscribe")
	p.answer(id, `"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1"`+rest+`}`)
	return params
}

func clientRecovers(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	s.JS(`void join('room:a')`, nil)
	require.NotContains(t, p.position(`,"offset":4`), "recover", "nothing was seen yet")
	s.next("room:a subscribed")
	p.send(`{"push":{"channel":"room:a","pub":{"data":{"n":5},"offset":5,"info":{"user":"u","client":"c9"}}}}`)
	pub := s.next("room:a publication")
	require.Equal(t, object{"user": "u", "client": "c9"}, pub["info"])
	p.drop()
	require.Equal(t, 1006.0, s.next("room:a subscribing")["code"])

	p = s.peer()
	p.welcome()
	// The offset is where the client was: it counts on publication by publication.
	params := p.position(`,"recovered":true,"was_recovering":true,"offset":5,"publications":[{"data":{"n":6},"offset":6},{"data":{"n":7},"offset":7}]`)
	require.Equal(t, true, params["recover"])
	require.Equal(t, 5.0, params["offset"])
	require.Equal(t, "e1", params["epoch"])
	require.Equal(t, object{"recovered": true, "wasRecovering": true}, s.next("room:a subscribed"))
	require.Equal(t, 6.0, s.next("room:a publication")["offset"])
	require.Equal(t, 7.0, s.next("room:a publication")["offset"])

	p.drop()
	p = s.peer()
	p.welcome()
	require.Equal(t, 7.0, p.position(``)["offset"], "recovery goes on where the last one ended")
}

func clientNotRecovered(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	s.JS(`void join('room:a', { since: { offset: 3, epoch: 'old' } })`, nil)
	params := p.position(`,"recovered":false,"was_recovering":true,"offset":40`)
	require.Equal(t, []any{true, 3.0, "old"}, []any{params["recover"], params["offset"], params["epoch"]})
	require.Equal(t, object{"recovered": false, "wasRecovering": true}, s.next("room:a subscribed"))
	p.drop()
	p = s.peer()
	p.welcome()
	params = p.position(``)
	require.Equal(t, []any{40.0, "e1"}, []any{params["offset"], params["epoch"]}, "from now on the new position counts")
}

func clientOrder(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	s.JS(`void join('room:a')`, nil)
	id, _ := p.command("subscribe")
	p.send(`{"push":{"channel":"room:a","pub":{"data":"of an earlier subscription","offset":9}}}`,
		fmt.Sprintf(`{"id":%d,"subscribe":{"recoverable":true,"epoch":"e","offset":1}}`, id),
		`{"push":{"channel":"room:a","pub":{"data":"live","offset":2}}}`)
	require.Equal(t, "live", s.next("room:a publication")["data"])
	s.next("room:a subscribed")
	p.drop()
	p = s.peer()
	p.welcome()
	require.Equal(t, 2.0, p.position(``)["offset"], "the publication beside the reply is not asked for again")
}

func clientBatches(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	s.JS(`for (let i = 0; i < 3; i++) void client.rpc('m', i)`, nil)
	require.Len(t, p.frame(), 3, "commands of one turn share a frame")
	s.JS(`for (let i = 0; i < 3; i++) void client.rpc('m', 'x'.repeat(10000))`, nil)
	for range 3 {
		require.Len(t, p.frame(), 1, "but frames stay small")
	}
}

func clientTerminal(t *testing.T, s *stage) {
	for _, code := range []int{3500, 3501, 3504, 3999, 4500, 4501, 4999, 1009} {
		p := s.connected(`{}`)
		s.JS(`void join('room:a')`, nil)
		p.position(``)
		s.next("room:a subscribed")
		p.close(code, "a reason")
		require.Equal(t, object{"code": float64(code), "reason": "a reason"}, s.next("closed"))
		require.Equal(t, object{"code": float64(code), "reason": "a reason"}, s.next("room:a unsubscribed"))
		s.JS(`log.splice(0)`, nil)
	}
	s.settled()
	p := s.connected(`{}`)
	p.send(`{"push":{"disconnect":{"code":4501,"reason":"session ended"}}}`)
	require.Equal(t, object{"code": 4501.0, "reason": "session ended"}, s.next("closed"))
	var code int
	s.JS(`client.rpc('late').catch((e) => e.code)`, &code)
	require.Equal(t, 4501, code, "what ended it is told again")
	s.settled()

	s.JS(`start()`, nil)
	p = s.peer()
	id, _ := p.command("connect")
	p.answer(id, `"error":{"code":101,"message":"unauthorized"}`)
	require.Equal(t, object{"code": 101.0, "reason": "unauthorized"}, s.next("closed"))
	s.settled()
	var again string
	s.JS(`(() => { try { client.connect(); } catch (e) { return e.message; } })()`, &again)
	require.Contains(t, again, "make a new one")
}

func clientReconnects(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	for _, code := range []int{1000, 1001, 1011, 3000, 3004, 3005, 3008, 3012, 3499, 4000, 4499} {
		s.JS(`log.splice(0)`, nil)
		p.close(code, "for now")
		detail := s.next("connecting")
		require.Equal(t, []any{float64(code), "for now"}, []any{detail["code"], detail["reason"]})
		p = s.peer()
		p.welcome()
		s.next("connected")
	}
}

func clientMoves(t *testing.T, s *stage) {
	s.JS(`void (Math.random = () => 0.5)`, nil)
	p := s.connected(`{ minDelay: 10000, maxDelay: 10000, moveWindow: 300 }`)
	s.JS(`log.splice(0)`, nil)
	p.close(3001, "shutdown")
	require.Equal(t, 150.0, s.next("connecting")["delay"], "anywhere within the window, not the backoff")
	s.peer().welcome()
	s.next("connected")
}

func clientBacksOff(t *testing.T, s *stage) {
	s.refuse.Store(6)
	s.JS(`void (Math.random = () => 1)`, nil)
	s.JS(`start({ minDelay: 10, maxDelay: 100 })`, nil)
	require.Equal(t, 0.0, s.next("connecting")["delay"])
	for _, want := range []float64{10, 20, 40, 80, 100, 100} {
		require.Equal(t, want, s.next("connecting")["delay"])
	}
	p := s.peer()
	p.welcome()
	s.next("connected")
	p.drop() // a server that accepts and drops is spared too
	require.Equal(t, 100.0, s.next("connecting")["delay"])
	s.JS(`void (Math.random = () => 0.25)`, nil)
	s.peer().drop()
	require.Equal(t, 25.0, s.next("connecting")["delay"], "the whole delay is random")
}

func clientTimeouts(t *testing.T, s *stage) {
	s.JS(`start({ timeout: 300 })`, nil)
	s.next("connecting")
	p := s.peer()
	p.command("connect") // not answered
	require.Equal(t, 3.0, s.next("connecting")["code"])
	p = s.peer()
	p.welcome()
	s.next("connected")
	var code int
	s.JS(`client.rpc('slow').catch((e) => e.code)`, &code)
	require.Equal(t, 3, code)
	id, _ := p.command("rpc")
	p.answer(id, `"rpc":{}`) // too late, and harmless
	s.JS(`void join('room:a')`, nil)
	p.command("subscribe") // not answered: what the server knows is uncertain, so everything begins again
	require.Equal(t, 3.0, s.next("connecting")["code"])
	s.peer()
	s.JS(`client.rpc('waits').catch((e) => e.code)`, &code)
	require.Equal(t, 3, code, "a command that waits for the connection times out as well")
}

func clientPings(t *testing.T, s *stage) {
	s.JS(`start({ maxPingDelay: 2000 })`, nil)
	s.next("connecting")
	p := s.peer()
	id, _ := p.command("connect")
	p.answer(id, `"connect":{"client":"c","ping":1,"pong":true}`)
	for range 3 {
		time.Sleep(500 * time.Millisecond)
		p.send(`{}`)
		require.Equal(t, []object{{}}, p.frame())
	}
	require.Equal(t, 4.0, s.next("connecting")["code"], "pings that stop are missed")
	p = s.peer()
	id, _ = p.command("connect")
	p.answer(id, `"connect":{"client":"c"}`)
	s.next("connected")
	p.send(`{}`)
	s.JS(`void client.rpc('m')`, nil)
	p.command("rpc") // no pong before it: none was asked for
}

func clientTokens(t *testing.T, s *stage) {
	s.JS(`void (window.asked = 0)`, nil)
	// What the client waits for, whatever a busy machine makes of it.
	s.JS(`void (window.waits = [], window.plain = setTimeout, window.setTimeout = (f, ms, ...args) => (waits.push(ms), plain(f, ms, ...args)))`, nil)
	s.JS(`start({ getToken: async () => 'token' + ++asked })`, nil)
	p := s.peer()
	id, params := p.command("connect")
	require.Equal(t, "token1", params["token"])
	p.answer(id, `"error":{"code":109,"message":"token expired"}`)
	p = s.peer()
	id, params = p.command("connect")
	require.Equal(t, "token2", params["token"], "109 asks for a new one")
	p.answer(id, `"connect":{"client":"c","expires":true,"ttl":1}`)
	id, params = p.command("refresh")
	require.Equal(t, "token3", params["token"])
	var waits []float64
	s.JS(`waits`, &waits)
	require.True(t, slices.ContainsFunc(waits, func(ms float64) bool { return ms > 600 && ms < 1000 }), "before the second is over: %v", waits)
	p.answer(id, `"error":{"code":100,"message":"internal","temporary":true}`)
	id, params = p.command("refresh")
	require.Equal(t, "token4", params["token"], "and again")
	p.answer(id, `"refresh":{"client":"c","expires":true,"ttl":600}`)

	p.drop()
	p = s.peer()
	id, params = p.command("connect")
	require.Equal(t, "token4", params["token"], "one that lives is used again")
	p.answer(id, `"connect":{"client":"c","expires":true,"ttl":600}`)
	s.next("connected")
	p.send(`{"push":{"refresh":{"expires":true,"ttl":1}}}`)
	id, params = p.command("refresh")
	require.Equal(t, "token5", params["token"], "the server may ask for it sooner")
	p.answer(id, `"refresh":{"expires":true,"ttl":600}`)

	p.close(3005, "expired")
	p = s.peer()
	id, params = p.command("connect")
	require.Equal(t, "token6", params["token"], "an expired one is not used again")
	p.answer(id, `"connect":{"client":"c","expires":true,"ttl":1}`)
	id, _ = p.command("refresh")
	p.answer(id, `"error":{"code":103,"message":"permission denied"}`)
	require.Equal(t, object{"code": 103.0, "reason": "permission denied"}, s.next("closed"))
	s.settled()
}

func clientNoToken(t *testing.T, s *stage) {
	s.JS(`void (window.asked = 0)`, nil)
	s.JS(`start({ getToken: async () => { if (++asked === 1) throw new Error('no network'); return null; } })`, nil)
	require.Equal(t, "no network", s.next("error")["message"])
	require.Equal(t, object{"code": 1.0, "reason": "no token: signed out"}, s.next("closed"))
	s.settled()

	s.JS(`start({ timeout: 200, getToken: () => new Promise(() => {}) })`, nil)
	s.next("connecting")
	s.JS(`log.splice(0)`, nil)
	require.Equal(t, 2.0, s.next("connecting")["code"], "one that never comes is given up")
	s.JS(`client.close()`, nil)
	s.settled()
}

func clientTemporary(t *testing.T, s *stage) {
	s.JS(`start()`, nil)
	p := s.peer()
	id, _ := p.command("connect")
	p.answer(id, `"error":{"code":100,"message":"internal"}`)
	p = s.peer()
	p.welcome()
	s.next("connected")

	s.JS(`void join('room:a')`, nil)
	id, _ = p.command("subscribe")
	p.answer(id, `"error":{"code":100,"message":"broker down","temporary":true}`)
	require.Equal(t, "broker down", s.next("error")["message"])
	p.position(``)
	s.next("room:a subscribed")

	s.JS(`void join('room:b')`, nil)
	id, _ = p.command("subscribe")
	p.answer(id, `"error":{"code":103,"message":"permission denied"}`)
	require.Equal(t, object{"code": 103.0, "reason": "permission denied"}, s.next("room:b unsubscribed"))
	p.drop()
	p = s.peer()
	p.welcome()
	require.Equal(t, "room:a", p.position(``)["channel"])
	s.next("room:a subscribed")
	s.JS(`void client.rpc('m')`, nil)
	p.command("rpc") // and nothing of room:b
}

func clientUnsubscribed(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	s.JS(`void join('room:a')`, nil)
	p.position(`,"offset":3`)
	s.next("room:a subscribed")
	p.send(`{"push":{"channel":"room:a","unsubscribe":{"code":2500,"reason":"gap"}}}`)
	require.Equal(t, 2500.0, s.next("room:a subscribing")["code"])
	require.Equal(t, 3.0, p.position(`,"offset":3,"recovered":true,"was_recovering":true`)["offset"])
	require.Equal(t, object{"recovered": true, "wasRecovering": true}, s.next("room:a subscribed"))
	p.send(`{"push":{"channel":"room:a","unsubscribe":{"code":2000,"reason":"removed"}}}`)
	require.Equal(t, object{"code": 2000.0, "reason": "removed"}, s.next("room:a unsubscribed"))
	s.JS(`void client.rpc('m')`, nil)
	p.command("rpc") // no subscribe before it
}

func clientPushes(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	s.JS(`void join('room:a')`, nil)
	p.position(``)
	p.send(`{"push":{"channel":"room:a","join":{"info":{"user":"u","client":"c2"}}}}`, `{"push":{"channel":"room:a","leave":{"info":{"user":"u","client":"c2"}}}}`,
		`{"push":{"channel":"room:z","pub":{"data":"of a channel nobody is in"}}}`, `{"push":{"message":{"data":"hi"}}}`, `{"push":{"channel":"room:a","future":{}}}`)
	require.Equal(t, object{"info": object{"user": "u", "client": "c2"}}, s.next("room:a join"))
	require.Equal(t, object{"info": object{"user": "u", "client": "c2"}}, s.next("room:a leave"))
	require.Equal(t, object{"data": "hi"}, s.next("message"))
	var stray bool
	s.JS(`log.some(([type]) => type === 'publication')`, &stray)
	require.False(t, stray)

	// A listener that throws disturbs nobody.
	s.JS(`void client.addEventListener('message', () => { throw new Error('of the page'); })`, nil)
	p.send(`{"push":{"message":{"data":"again"}}}`)
	require.Equal(t, object{"data": "again"}, s.next("message"))
	s.JS(`void client.rpc('m')`, nil)
	p.command("rpc")
}

func clientWakes(t *testing.T, s *stage) {
	s.JS(`void (Math.random = () => 1)`, nil)
	p := s.connected(`{ minDelay: 60000, maxDelay: 60000 }`)
	for _, wake := range []string{
		`dispatchEvent(new Event('online'))`,
		`document.dispatchEvent(new Event('visibilitychange'))`,
		`dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))`,
		`document.dispatchEvent(new Event('resume'))`,
	} {
		s.JS(`log.splice(0)`, nil)
		p.drop()
		require.Equal(t, 60000.0, s.next("connecting")["delay"])
		s.JS(wake, nil)
		p = s.peer()
		p.welcome()
		s.next("connected")
	}
	s.JS(`log.splice(0)`, nil)
	s.JS(`dispatchEvent(new Event('offline'))`, nil)
	require.Equal(t, 6.0, s.next("connecting")["code"])
	s.JS(`dispatchEvent(new Event('online'))`, nil)
	p = s.peer()
	p.welcome()
	s.next("connected")

	// A machine that slept: timers stood still, the last ping is long ago.
	s.JS(`void (Date.now = () => 4e12)`, nil)
	s.JS(`log.splice(0)`, nil)
	s.JS(`document.dispatchEvent(new Event('visibilitychange'))`, nil)
	require.Equal(t, 4.0, s.next("connecting")["code"])
	s.peer().welcome()
	s.next("connected")
}

func clientClose(t *testing.T, s *stage) {
	p := s.connected(`{ getToken: async () => 't' }`)
	s.JS(`void join('room:a')`, nil)
	p.position(``)
	s.next("room:a subscribed")
	s.JS(`void (window.result = client.rpc('m').catch((e) => e.code))`, nil)
	p.command("rpc")
	s.JS(`client.close()`, nil)
	var code int
	s.JS(`result`, &code)
	require.Zero(t, code)
	require.Equal(t, object{"code": 0.0, "reason": "closed"}, s.next("closed"))
	require.Equal(t, object{"code": 0.0, "reason": "closed"}, s.next("room:a unsubscribed"))
	_, _, err := p.conn.Read(timeout(t))
	require.Equal(t, websocket.StatusNoStatusRcvd, websocket.CloseStatus(err))
	s.JS(`client.close()`, nil)
	s.settled()
	var refused string
	s.JS(`client.rpc('m').catch((e) => e.message)`, &refused)
	require.Equal(t, "closed", refused)

	// While it waits to come back, and while it is connecting.
	p = s.connected(`{ minDelay: 60000, maxDelay: 60000 }`)
	s.JS(`log.splice(0)`, nil)
	p.drop()
	s.next("connecting")
	s.JS(`void (window.result = client.ready().catch((e) => e.code))`, nil)
	s.JS(`client.close()`, nil)
	s.JS(`result`, &code)
	require.Zero(t, code)
	s.settled()
	s.JS(`start()`, nil)
	s.peer()
	s.JS(`client.close()`, nil)
	s.settled()
}

func clientGarbage(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	for _, line := range []string{`not JSON`, `null`, `17`, `{}` + "\n" + `{`, `"text"`} {
		s.JS(`log.splice(0)`, nil)
		p.send(line)
		require.Equal(t, 5.0, s.next("connecting")["code"], line)
		p = s.peer()
		p.welcome()
		s.next("connected")
	}
	s.JS(`log.splice(0)`, nil)
	require.NoError(t, p.conn.Write(timeout(t), websocket.MessageBinary, []byte{1}))
	require.Equal(t, 5.0, s.next("connecting")["code"])
}

// clientServed is in channels of the server's choice: it tells of them, and
// has what it missed made up for.
func clientServed(t *testing.T, s *stage) {
	s.JS(`start()`, nil)
	p := s.peer()
	id, params := p.command("connect")
	require.NotContains(t, params, "subs")
	p.answer(id, `"connect":{"client":"c","ping":25,"pong":true,"subs":{"user:1":{"recoverable":true,"epoch":"e","offset":4},"news:":{}}}`)
	require.Equal(t, object{"channel": "user:1", "recovered": false, "wasRecovering": false}, s.next("subscribed"))
	require.Equal(t, object{"channel": "news:", "recovered": false, "wasRecovering": false}, s.next("subscribed"))
	p.send(`{"push":{"channel":"user:1","pub":{"data":"a","offset":5}}}`, `{"push":{"channel":"news:","pub":{"data":"b"}}}`,
		`{"push":{"channel":"user:1","join":{"info":{"user":"u","client":"c2"}}}}`, `{"push":{"channel":"user:1","leave":{"info":{"user":"u","client":"c2"}}}}`)
	require.Equal(t, object{"channel": "user:1", "data": "a", "offset": 5.0}, s.next("publication"))
	require.Equal(t, object{"channel": "news:", "data": "b"}, s.next("publication"))
	require.Equal(t, object{"channel": "user:1", "info": object{"user": "u", "client": "c2"}}, s.next("join"))
	require.Equal(t, object{"channel": "user:1", "info": object{"user": "u", "client": "c2"}}, s.next("leave"))
	p.drop()

	p = s.peer()
	id, params = p.command("connect")
	require.Equal(t, object{"user:1": object{"recover": true, "offset": 5.0, "epoch": "e"}}, params["subs"], "what is not kept can't be asked for")
	p.answer(id, `"connect":{"client":"c","ping":25,"subs":{"user:1":{"recoverable":true,"epoch":"e","offset":5,"recovered":true,"was_recovering":true,"publications":[{"data":"c","offset":6}]}}}`)
	require.Equal(t, object{"channel": "user:1", "recovered": true, "wasRecovering": true}, s.next("subscribed"))
	require.Equal(t, object{"channel": "user:1", "data": "c", "offset": 6.0}, s.next("publication"))
	require.Equal(t, "news:", s.next("unsubscribed")["channel"], "not in it any more")
	p.drop()

	p = s.peer()
	id, params = p.command("connect")
	require.Equal(t, 6.0, params["subs"].(object)["user:1"].(object)["offset"])
	p.answer(id, `"connect":{"client":"c","subs":{"user:1":{"recoverable":true,"epoch":"e2","offset":0,"was_recovering":true}}}`)
	require.Equal(t, object{"channel": "user:1", "recovered": false, "wasRecovering": true}, s.next("subscribed"), "said out loud")
	p.send(`{"push":{"channel":"late:1","subscribe":{"recoverable":true,"epoch":"x","offset":2}}}`, `{"push":{"channel":"late:1","pub":{"data":1,"offset":3}}}`,
		`{"push":{"channel":"user:1","unsubscribe":{"code":2000,"reason":"permission denied"}}}`, `{"push":{"channel":"user:1","pub":{"data":"none of ours any more"}}}`)
	require.Equal(t, "late:1", s.next("subscribed")["channel"])
	require.Equal(t, 3.0, s.next("publication")["offset"])
	require.Equal(t, object{"channel": "user:1", "code": 2000.0, "reason": "permission denied"}, s.next("unsubscribed"))
	p.drop()
	p = s.peer()
	require.Equal(t, object{"late:1": object{"recover": true, "offset": 3.0, "epoch": "x"}}, p.welcome()["subs"])
	var stray bool
	s.JS(`log.some(([type]) => type === 'publication')`, &stray)
	require.False(t, stray)
}

// clientHostile is connected to servers that say what no server should. The
// page's listeners see none of it, nothing is thrown, and the client comes back.
func clientHostile(t *testing.T, s *stage) {
	p := s.connected(`{ maxDelay: 20 }`)
	s.JS(`void join('room:a')`, nil)
	p.position(`,"offset":1`)
	s.next("room:a subscribed")
	back := func(what string) {
		t.Helper()
		require.Equal(t, 5.0, s.next("connecting")["code"], what)
		p = s.peer()
		p.welcome()
		s.next("connected")
		p.position(`,"offset":1`)
		s.next("room:a subscribed")
	}
	for _, line := range []string{
		`[]`, `{"push":5}`, `{"push":[]}`, `{"push":{"channel":7,"pub":{}}}`,
		`{"push":{"channel":"room:a","pub":5}}`, `{"push":{"channel":"room:a","pub":[1]}}`, `{"push":{"channel":"room:a","pub":{"data":1,"offset":"2"}}}`,
		`{"push":{"channel":"room:a","pub":{"data":1,"offset":-1}}}`, `{"push":{"channel":"room:a","pub":{"data":1,"offset":1e300}}}`, `{"push":{"channel":"room:a","pub":{"data":1,"info":7}}}`,
		`{"push":{"channel":"room:a","pub":{"data":1,"info":{"user":{}}}}}`,
		`{"push":{"channel":"room:a","join":true}}`, `{"push":{"channel":"room:a","join":{"info":null}}}`, `{"push":{"channel":"room:a","leave":{}}}`,
		`{"push":{"channel":"room:a","unsubscribe":true}}`, `{"push":{"channel":"room:a","unsubscribe":{"code":"2000"}}}`,
		`{"push":{"disconnect":true}}`, `{"push":{"disconnect":{"code":"4501"}}}`, `{"push":{"message":"text"}}`,
		`{"push":{"channel":"x","subscribe":{"publications":7}}}`, `{"push":{"refresh":{"expires":true,"ttl":"soon"}}}`,
	} {
		s.JS(`log.splice(0)`, nil)
		p.send(line)
		back(line)
	}
	for _, reply := range []string{`"error":7`, `"error":{}`, `"error":{"code":"x"}`, `"error":null`, `"rpc":5`, `"rpc":[1]`} {
		s.JS(`log.splice(0)`, nil)
		s.JS(`void (window.result = client.rpc('m').catch((e) => e.code))`, nil)
		id, _ := p.command("rpc")
		p.answer(id, reply)
		back(reply)
		var code int
		s.JS(`result`, &code)
		require.Equal(t, 5, code, reply)
	}
	for call, reply := range map[string]string{
		`client.presence('room:a')`: `"presence":{"presence":7}`, `client.presence('room:b')`: `"presence":{"presence":{"c":5}}`,
		`client.history('room:a')`: `"history":{"publications":{"length":1}}`, `client.presenceStats('room:a')`: `"presence_stats":{"num_clients":"many"}`,
	} {
		s.JS(`void (window.result = `+call+`.catch((e) => e.code))`, nil)
		name, _, _ := strings.Cut(strings.TrimPrefix(reply, `"`), `"`)
		id, _ := p.command(name)
		p.answer(id, reply)
		var code int
		s.JS(`result`, &code)
		require.Equal(t, 5, code, reply)
	}

	// Answers to questions that were never asked, keys of every kind, a publication of everything.
	s.JS(`log.splice(0)`, nil)
	p.send(`{"id":999,"rpc":{}}`, `{"id":"x","error":{"code":1}}`, `{"id":-1}`, `{"id":null}`, `{"id":{},"connect":{}}`, `{"__proto__":{"push":{"message":{"data":1}}},"id":9}`, ``,
		`{"push":{"channel":"room:a","pub":{"data":{"__proto__":{"polluted":1},"constructor":null},"offset":2,"channel":"room:b","info":{"user":"<b>","client":"c"}}}}`)
	require.NotContains(t, s.next("room:a publication"), "channel")
	var polluted bool
	s.JS(`'polluted' in {}`, &polluted)
	require.False(t, polluted)

	// A connect reply of nonsense; a subscribe reply of nonsense.
	for _, reply := range []string{`7`, `[]`, `{"client":7}`, `{"client":"c","ping":"x"}`, `{"client":"c","ping":-1}`, `{"client":"c","subs":[1]}`, `{"client":"c","subs":{"x":null}}`,
		`{"client":"c","expires":true}`, `{"client":"c","expires":true,"ttl":1e400}`} {
		s.JS(`log.splice(0)`, nil)
		p.drop()
		p = s.peer()
		id, _ := p.command("connect")
		if reply == `{"client":"c","expires":true}` || reply == `{"client":"c","ping":25}` {
			p.answer(id, `"connect":`+reply) // no ttl is one of nothing, and there is no getToken to ask
			s.next("connected")
			continue
		}
		p.answer(id, `"connect":`+reply)
		s.next("connecting")
		require.Equal(t, 5.0, s.next("connecting")["code"], reply)
		p = s.peer()
	}
	s.JS(`log.splice(0)`, nil)
	p.welcome()
	s.next("connected")
	for _, reply := range []string{`7`, `{"publications":7}`, `{"publications":[7]}`, `{"recoverable":true,"offset":"x"}`, `{"recoverable":true,"epoch":{}}`} {
		s.JS(`log.splice(0)`, nil)
		id, _ := p.command("subscribe")
		p.answer(id, `"subscribe":`+reply)
		require.Equal(t, 5.0, s.next("connecting")["code"], reply)
		p = s.peer()
		p.welcome()
		s.next("connected")
	}
	p.position(``)
	s.next("room:a subscribed")
	s.JS(`client.close()`, nil)
	s.settled()
}

// clientListeners closes the client from its own listeners: it stays closed.
func clientListeners(t *testing.T, s *stage) {
	closes := func(event string, begin func() *peer, cause func(p *peer)) {
		t.Helper()
		p := begin()
		s.JS(`void client.on('`+event+`', () => client.close())`, nil)
		cause(p)
		require.Equal(t, object{"code": 0.0, "reason": "closed"}, s.next("closed"), event)
		s.settled()
		s.JS(`log.splice(0)`, nil)
	}
	stands := func() *peer { return s.connected(`{}`) }
	closes("connecting", stands, func(p *peer) { p.drop() })
	closes("message", stands, func(p *peer) { p.send(`{"push":{"message":{"data":1}}}`, `not JSON`) })
	closes("error", func() *peer {
		s.JS(`start({ getToken: () => new Promise((_, reject) => { window.fail = () => reject(new Error('no network')); }) })`, nil)
		return nil
	}, func(*peer) { s.JS(`fail()`, nil) })
	closes("error", func() *peer {
		s.JS(`void (window.asked = 0)`, nil)
		s.JS(`start({ getToken: async () => { if (asked++) throw new Error('no network'); return 't'; } })`, nil)
		p := s.peer()
		id, _ := p.command("connect")
		p.answer(id, `"connect":{"client":"c","expires":true,"ttl":1}`)
		s.next("connected")
		return p
	}, func(*peer) {})
	closes("error", func() *peer {
		s.JS(`start({ WebSocket: class { constructor() { throw new Error('blocked'); } } })`, nil)
		return nil
	}, func(*peer) {})
	closes("subscribed", func() *peer { s.JS(`start()`, nil); return s.peer() }, func(p *peer) {
		id, _ := p.command("connect")
		p.answer(id, `"connect":{"client":"c","subs":{"a":{"publications":[{"data":1}]},"b":{}}}`)
	})
}

// clientOneToken asks once, also when the connection falls while a refresh
// waits for its token: a refresh token behind it is good for one use.
func clientOneToken(t *testing.T, s *stage) {
	s.JS(`void (window.gives = [])`, nil)
	s.JS(`start({ getToken: () => new Promise((resolve) => gives.push(resolve)) })`, nil)
	s.Until(patience, `gives.length === 1`)
	s.JS(`gives[0]('t1')`, nil)
	p := s.peer()
	id, _ := p.command("connect")
	p.answer(id, `"connect":{"client":"c","expires":true,"ttl":1}`)
	s.Until(patience, `gives.length === 2`) // the refresh
	s.JS(`log.splice(0)`, nil)
	p.close(3005, "token expired")
	require.Equal(t, 3005.0, s.next("connecting")["code"])
	time.Sleep(300 * time.Millisecond) // past its delay of 20 ms
	s.JS(`gives[1]('t2')`, nil)
	p = s.peer()
	require.Equal(t, "t2", p.welcome()["token"])
	var asked int
	s.JS(`gives.length`, &asked)
	require.Equal(t, 2, asked)
	s.JS(`client.close()`, nil)
	s.settled()
}

// clientHangingToken is given no token, late tokens, and things that are none.
func clientHangingToken(t *testing.T, s *stage) {
	s.JS(`void (window.asked = 0, window.aborted = 0)`, nil)
	s.JS(`start({ timeout: 1500, getToken: ({ signal }) => {
		signal.addEventListener('abort', () => aborted++);
		return ++asked === 1 ? new Promise(() => {}) : asked === 2 ? { token: 'x' } : 't' + asked;
	} })`, nil)
	require.Equal(t, 2.0, s.next("error")["code"], "given up in time")
	require.Contains(t, s.next("error")["message"], "no string")
	p := s.peer()
	id, params := p.command("connect")
	require.Equal(t, "t3", params["token"])
	var aborted int
	s.JS(`aborted`, &aborted)
	require.GreaterOrEqual(t, aborted, 1, "what hangs is told that nobody waits")

	// A refresh that hangs is given up and begun again, and the connection stays.
	s.JS(`void (asked = 0)`, nil)
	p.answer(id, `"connect":{"client":"c","expires":true,"ttl":1}`)
	s.next("connected")
	s.JS(`log.splice(0)`, nil)
	require.Equal(t, 2.0, s.next("error")["code"])
	_, params = p.command("refresh")
	require.Equal(t, "t3", params["token"])
	var fell bool
	s.JS(`log.some(([type]) => type === 'connecting')`, &fell)
	require.False(t, fell)

	// close() does not wait for it.
	s.JS(`void (asked = 0)`, nil)
	p.close(3005, "token expired")
	s.Until(patience, `asked === 1`)
	s.JS(`client.close()`, nil)
	s.settled()
}

// clientStaleToken fetches a token afresh after a night, whether the connection
// had told of its end or the token had never been used.
func clientStaleToken(t *testing.T, s *stage) {
	s.JS(`void (window.asked = 0, window.later = 0, window.now = Date.now, Date.now = () => now() + later)`, nil)
	s.refuse.Store(1)
	s.JS(`void (window.random = Math.random, Math.random = () => 1)`, nil)
	s.JS(`start({ minDelay: 2000, maxDelay: 2000, getToken: async () => 't' + ++asked })`, nil)
	s.next("connecting")
	s.next("connecting") // refused: t1 was not used
	s.JS(`void (later = 3600e3, Math.random = () => 0.01)`, nil)
	p := s.peer()
	id, params := p.command("connect")
	require.Equal(t, "t2", params["token"])
	p.answer(id, `"connect":{"client":"c","expires":true,"ttl":600,"ping":25}`)
	s.next("connected")
	s.JS(`log.splice(0)`, nil)

	s.JS(`void (later = 8 * 3600e3)`, nil) // the lid was closed: timers and sockets stood still
	s.JS(`document.dispatchEvent(new Event('visibilitychange'))`, nil)
	woken := time.Now()
	require.Equal(t, 4.0, s.next("connecting")["code"])
	require.Less(t, time.Since(woken), 20*time.Second, "the silence is seen at once, not when a ping is missed")
	p = s.peer()
	id, params = p.command("connect")
	require.Equal(t, "t3", params["token"])
	p.answer(id, `"connect":{"client":"c","expires":true,"ttl":600}`)
	s.next("connected")
	p.drop()
	p = s.peer()
	_, params = p.command("connect")
	require.Equal(t, "t3", params["token"], "one that lives is used again")
}

// clientChecks wakes on a connection that looks alive: the server is asked, and
// silence ends it long before a ping would be missed.
func clientChecks(t *testing.T, s *stage) {
	wake := func() { s.JS(`document.dispatchEvent(new Event('visibilitychange'))`, nil) }
	p := s.connected(`{ timeout: 3000 }`)
	wake() // heard a moment ago
	time.Sleep(1200 * time.Millisecond)
	wake()
	wake()
	id, params := p.command("rpc")
	require.Equal(t, object{"method": ""}, params)
	p.answer(id, `"error":{"code":104,"message":"method not found"}`)
	time.Sleep(1200 * time.Millisecond)
	s.JS(`log.splice(0)`, nil)
	wake()
	_, _ = p.command("rpc") // not answered
	p.send(`{}`)            // but not silent
	require.Equal(t, []object{{}}, p.frame())
	time.Sleep(2 * time.Second)
	var fell bool
	s.JS(`log.length > 0`, &fell)
	require.False(t, fell)
	wake()
	_, _ = p.command("rpc")
	require.Equal(t, 4.0, s.next("connecting")["code"])
	s.peer().welcome()
	s.next("connected")
}

// clientFloods counts attempts at a server that refuses everything, while the
// network comes and goes.
func clientFloods(t *testing.T, b *chrome.Chrome, s *stage) {
	s.refuse.Store(1 << 20)
	s.JS(`void (window.Counted = class extends WebSocket { constructor(url) { super(url); made++; } })`, nil)
	attempts := func(during time.Duration) (n int) {
		s.JS(`void (window.made = 0)`, nil)
		time.Sleep(during)
		s.JS(`made`, &n)
		return n
	}
	s.JS(`start({ minDelay: 100, maxDelay: 1000, WebSocket: Counted })`, nil)
	made := attempts(2 * time.Second)
	t.Logf("%d attempts in 2 s", made)
	// Delays are 50, 100, 200, 400, 500, 500… ms on average: 7 attempts. Without doubling they would be 40.
	require.Greater(t, made, 0)
	require.Less(t, made, 20)

	s.JS(`void (window.flap = setInterval(() => { dispatchEvent(new Event('offline')); document.dispatchEvent(new Event('visibilitychange')); dispatchEvent(new Event('online')); }, 30))`, nil)
	made = attempts(2 * time.Second)
	t.Logf("%d attempts in 2 s of a network that comes and goes every 30 ms", made)
	require.Greater(t, made, 0)
	require.Less(t, made, 20)
	s.JS(`clearInterval(flap)`, nil)

	s.JS(`client.close()`, nil)

	// Servers that take a connection and put it out again are spared too, whatever
	// they say. A stage of its own: an attempt of the client before may still come.
	s = newStage(t, b)
	s.JS(`start({ minDelay: 100, maxDelay: 1000, moveWindow: 0 })`, nil)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		select {
		case p := <-s.peers:
			p.welcome()
			p.close(3001, "shutdown")
		case <-time.After(50 * time.Millisecond):
		}
	}
	moves := s.came.Load()
	t.Logf("%d moves in 2 s", moves)
	require.Greater(t, moves, int32(0))
	require.Less(t, moves, int32(20))
	s.JS(`client.close()`, nil)

	// So are channels that are entered and left at once.
	s = newStage(t, b)
	p := s.connected(`{ minDelay: 100, maxDelay: 1000 }`)
	s.JS(`void join('room:a')`, nil)
	entries := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); entries++ {
		p.position(``)
		p.send(`{"push":{"channel":"room:a","unsubscribe":{"code":2500,"reason":"gap"}}}`)
	}
	t.Logf("%d entries in 2 s", entries)
	require.Less(t, entries, 20)
	s.JS(`client.close()`, nil)
}

// clientPutAway leaves the page and comes back to it as it was.
func clientPutAway(t *testing.T, s *stage) {
	s.JS(`void (window.asked = 0, window.mark = Math.random(), addEventListener('pageshow', ({ persisted }) => { window.persisted = persisted; }))`, nil)
	away := func(p *peer) {
		t.Helper()
		s.JS("void (location.href = '/elsewhere')", nil)
		s.Until(patience, `location.pathname === '/elsewhere' && document.title === 'elsewhere'`)
		if p != nil {
			_, _, err := p.conn.Read(timeout(t))
			require.Error(t, err, "the socket is closed")
		}
	}
	back := func() {
		t.Helper()
		s.JS(`history.back()`, nil)
		s.Until(patience, `location.pathname === '/' && window.persisted === true`)
	}
	p := s.connected(`{ getToken: async () => 't' + ++asked }`)
	s.JS(`log.splice(0)`, nil)
	away(p)
	s.quiet()
	back()
	require.Equal(t, 7.0, s.next("connecting")["code"])
	p = s.peer()
	id, params := p.command("connect")
	require.Equal(t, "t1", params["token"], "it still lives")
	p.answer(id, `"connect":{"client":"c","expires":true,"ttl":2}`)
	s.next("connected")
	away(p)
	time.Sleep(2100 * time.Millisecond)
	back()
	p = s.peer()
	_, params = p.command("connect")
	require.Equal(t, "t2", params["token"], "it does not, and is not tried")
	s.JS(`client.close()`, nil)

	// What has ended stays so.
	p = s.connected(`{}`)
	p.close(4501, "session ended")
	s.next("closed")
	away(nil)
	back()
	s.settled()
}

// clientOptions are refused where they are given.
func clientOptions(t *testing.T, s *stage) {
	for _, options := range []string{`{ timeout: 0 }`, `{ timeout: NaN }`, `{ minDelay: 0 }`, `{ maxDelay: -1 }`, `{ maxPingDelay: '1' }`, `{ timeout: 1e12 }`, `{ moveWindow: -1 }`, `{ getToken: 'abc' }`} {
		var name string
		s.JS(`(() => { try { new Client('/ws', `+options+`); return ''; } catch (e) { return e.name; } })()`, &name)
		require.Equal(t, "TypeError", name, options)
	}
	for _, url := range []string{`'mailto:x'`, `'ftp://x'`} {
		var name string
		s.JS(`(() => { try { new Client(`+url+`); return ''; } catch (e) { return e.name; } })()`, &name)
		require.Equal(t, "TypeError", name, url)
	}
	// Left open is not zero, and a fragment is none of the server's business.
	s.JS(`void (window.client = follow(new Client('/ws#top', { timeout: undefined, minDelay: undefined }), '', ['connected']), client.connect())`, nil)
	s.peer().welcome()
	s.next("connected")
	var name string
	s.JS(`client.rpc('m', 1n).catch((e) => e.name)`, &name)
	require.Equal(t, "TypeError", name, "what isn't JSON")
	s.JS(`client.close()`, nil)
	s.settled()
}

// timeout is a context that ends in ten seconds, or with the test.
func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
