package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

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
    window.client = follow(new Client('/ws', { minDelay: 20, maxDelay: 200, ...options }), '', ['connecting', 'connected', 'closed', 'message', 'publication', 'error']);
    client.connect();
  };
  window.join = (channel, options) => follow(client.subscribe(channel, options), channel + ' ', ['subscribed', 'publication', 'join', 'leave', 'subscribing', 'unsubscribed']);
  window.ready = true;
});
`

func newStage(t *testing.T, w *window) *stage {
	s := &stage{t: t, peers: make(chan *peer, 16)}
	mux := http.NewServeMux()
	mux.Handle("GET /client/realtime.js", client.Handler())
	mux.HandleFunc("GET /stage.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, stagePage)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", csp)
		fmt.Fprint(w, `<!doctype html><title>stage</title><link rel="icon" href="data:,"><script src="/stage.js"></script>`)
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
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
	s.window = &window{t: t, ctx: w.ctx}
	s.js("void (location.href = "+quote(s.server.URL)+")", nil)
	s.until(10*time.Second, "window.ready && location.href.startsWith("+quote(s.server.URL)+")")
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
	s.js("next("+quote(event)+")", &detail)
	return detail
}

// settled asserts that the client has ended and left no timer behind.
func (s *stage) settled() {
	s.t.Helper()
	var state string
	s.js("client.state", &state)
	require.Equal(s.t, "closed", state)
	var timers int
	s.js("timers.size", &timers)
	require.Zero(s.t, timers, "timers left")
	s.quiet()
}

// connected starts a client and answers its connect command.
func (s *stage) connected(options string) *peer {
	s.t.Helper()
	s.js("start("+options+")", nil)
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
	w := startChrome(t).open(t, "about:blank")
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
	} {
		t.Run(name, func(t *testing.T) { script(t, newStage(t, w)) })
	}
}

func clientCommands(t *testing.T, s *stage) {
	s.js(`start({ data: { theme: 'dark' } })`, nil)
	p := s.peer()
	require.Equal(t, object{"name": "gatewire", "data": object{"theme": "dark"}}, p.welcome())
	require.Equal(t, "c1", s.next("connected")["client"])

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
		s.js(`void (window.result = `+c.call+`)`, nil)
		id, params := p.command(c.command)
		require.NotZero(t, id)
		got, err := json.Marshal(params)
		require.NoError(t, err)
		require.JSONEq(t, c.params, string(got), c.call)
		p.answer(id, c.reply)
		var result json.RawMessage
		s.js(`result.then((r) => r ?? null)`, &result)
		require.JSONEq(t, c.want, string(result), c.call)
	}

	s.js(`client.send({ seen: 1 })`, nil)
	id, params := p.command("send")
	require.Zero(t, id, "a message has no id: it has no answer")
	require.Equal(t, object{"data": object{"seen": 1.0}}, params)

	s.js(`void (window.room = join('room:a', { joinLeave: true }))`, nil)
	id, params = p.command("subscribe")
	require.Equal(t, object{"channel": "room:a", "recoverable": true, "join_leave": true}, params)
	p.answer(id, `"subscribe":{}`)
	require.Equal(t, object{"recovered": false, "wasRecovering": false}, s.next("room:a subscribed"))
	var same bool
	s.js(`client.subscribe('room:a') === room`, &same)
	require.True(t, same)
	s.js(`room.unsubscribe()`, nil)
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
	s.js(`void join('room:a')`, nil)
	require.NotContains(t, p.position(`,"offset":4`), "recover", "nothing was seen yet")
	s.next("room:a subscribed")
	p.send(`{"push":{"channel":"room:a","pub":{"data":{"n":5},"offset":5,"info":{"user":"u","client":"c9"}}}}`)
	pub := s.next("room:a publication")
	require.Equal(t, object{"user": "u", "client": "c9"}, pub["info"])
	p.drop()
	require.Equal(t, 1006.0, s.next("room:a subscribing")["code"])

	p = s.peer()
	p.welcome()
	params := p.position(`,"recovered":true,"was_recovering":true,"offset":7,"publications":[{"data":{"n":6},"offset":6},{"data":{"n":7},"offset":7}]`)
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
	s.js(`void join('room:a', { since: { offset: 3, epoch: 'old' } })`, nil)
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
	s.js(`void join('room:a')`, nil)
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
	s.js(`for (let i = 0; i < 3; i++) void client.rpc('m', i)`, nil)
	require.Len(t, p.frame(), 3, "commands of one turn share a frame")
	s.js(`for (let i = 0; i < 3; i++) void client.rpc('m', 'x'.repeat(10000))`, nil)
	for range 3 {
		require.Len(t, p.frame(), 1, "but frames stay small")
	}
}

func clientTerminal(t *testing.T, s *stage) {
	for _, code := range []int{3500, 3501, 3504, 3999, 4500, 4501, 4999, 1009} {
		p := s.connected(`{}`)
		s.js(`void join('room:a')`, nil)
		p.position(``)
		s.next("room:a subscribed")
		p.close(code, "a reason")
		require.Equal(t, object{"code": float64(code), "reason": "a reason"}, s.next("closed"))
		require.Equal(t, object{"code": float64(code), "reason": "a reason"}, s.next("room:a unsubscribed"))
		s.js(`log.splice(0)`, nil)
	}
	s.settled()
	p := s.connected(`{}`)
	p.send(`{"push":{"disconnect":{"code":4501,"reason":"session ended"}}}`)
	require.Equal(t, object{"code": 4501.0, "reason": "session ended"}, s.next("closed"))
	s.settled()

	s.js(`start()`, nil)
	p = s.peer()
	id, _ := p.command("connect")
	p.answer(id, `"error":{"code":101,"message":"unauthorized"}`)
	require.Equal(t, object{"code": 101.0, "reason": "unauthorized"}, s.next("closed"))
	s.settled()
	var again string
	s.js(`(() => { try { client.connect(); } catch (e) { return e.message; } })()`, &again)
	require.Contains(t, again, "make a new one")
}

func clientReconnects(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	for _, code := range []int{1000, 1001, 1011, 3000, 3004, 3005, 3008, 3012, 3499, 4000, 4499} {
		s.js(`log.splice(0)`, nil)
		p.close(code, "for now")
		detail := s.next("connecting")
		require.Equal(t, []any{float64(code), "for now"}, []any{detail["code"], detail["reason"]})
		p = s.peer()
		p.welcome()
		s.next("connected")
	}
}

func clientMoves(t *testing.T, s *stage) {
	s.js(`void (Math.random = () => 0.5)`, nil)
	p := s.connected(`{ minDelay: 10000, maxDelay: 10000, moveWindow: 300 }`)
	s.js(`log.splice(0)`, nil)
	p.close(3001, "shutdown")
	require.Equal(t, 150.0, s.next("connecting")["delay"], "anywhere within the window, not the backoff")
	s.peer().welcome()
	s.next("connected")
}

func clientBacksOff(t *testing.T, s *stage) {
	s.refuse.Store(6)
	s.js(`void (Math.random = () => 1)`, nil)
	s.js(`start({ minDelay: 10, maxDelay: 100 })`, nil)
	require.Equal(t, 0.0, s.next("connecting")["delay"])
	for _, want := range []float64{10, 20, 40, 80, 100, 100} {
		require.Equal(t, want, s.next("connecting")["delay"])
	}
	p := s.peer()
	p.welcome()
	s.next("connected")
	p.drop() // a server that accepts and drops is spared too
	require.Equal(t, 100.0, s.next("connecting")["delay"])
	s.js(`void (Math.random = () => 0.25)`, nil)
	s.peer().drop()
	require.Equal(t, 25.0, s.next("connecting")["delay"], "the whole delay is random")
	s.clean(`ERR_|503|WebSocket`)
}

func clientTimeouts(t *testing.T, s *stage) {
	s.js(`start({ timeout: 300 })`, nil)
	s.next("connecting")
	p := s.peer()
	p.command("connect") // not answered
	require.Equal(t, 3.0, s.next("connecting")["code"])
	p = s.peer()
	p.welcome()
	s.next("connected")
	var code int
	s.js(`client.rpc('slow').catch((e) => e.code)`, &code)
	require.Equal(t, 3, code)
	id, _ := p.command("rpc")
	p.answer(id, `"rpc":{}`) // too late, and harmless
	s.js(`void join('room:a')`, nil)
	p.command("subscribe") // not answered: what the server knows is uncertain, so everything begins again
	require.Equal(t, 3.0, s.next("connecting")["code"])
	s.peer()
	s.js(`client.rpc('waits').catch((e) => e.code)`, &code)
	require.Equal(t, 3, code, "a command that waits for the connection times out as well")
}

func clientPings(t *testing.T, s *stage) {
	s.js(`start({ maxPingDelay: 200 })`, nil)
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
	s.js(`void client.rpc('m')`, nil)
	p.command("rpc") // no pong before it: none was asked for
}

func clientTokens(t *testing.T, s *stage) {
	s.js(`void (window.asked = 0)`, nil)
	// What the client waits for, whatever a busy machine makes of it.
	s.js(`void (window.waits = [], window.plain = setTimeout, window.setTimeout = (f, ms, ...args) => (waits.push(ms), plain(f, ms, ...args)))`, nil)
	s.js(`start({ getToken: async () => 'token' + ++asked })`, nil)
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
	s.js(`waits`, &waits)
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
	s.js(`void (window.asked = 0)`, nil)
	s.js(`start({ getToken: async () => { if (++asked === 1) throw new Error('no network'); return null; } })`, nil)
	require.Equal(t, "no network", s.next("error")["message"])
	require.Equal(t, object{"code": 1.0, "reason": "no token: signed out"}, s.next("closed"))
	s.settled()

	s.js(`start({ timeout: 200, getToken: () => new Promise(() => {}) })`, nil)
	s.next("connecting")
	s.js(`log.splice(0)`, nil)
	require.Equal(t, 2.0, s.next("connecting")["code"], "one that never comes is given up")
	s.js(`client.close()`, nil)
	s.settled()
}

func clientTemporary(t *testing.T, s *stage) {
	s.js(`start()`, nil)
	p := s.peer()
	id, _ := p.command("connect")
	p.answer(id, `"error":{"code":100,"message":"internal"}`)
	p = s.peer()
	p.welcome()
	s.next("connected")

	s.js(`void join('room:a')`, nil)
	id, _ = p.command("subscribe")
	p.answer(id, `"error":{"code":100,"message":"broker down","temporary":true}`)
	require.Equal(t, "broker down", s.next("error")["message"])
	p.position(``)
	s.next("room:a subscribed")

	s.js(`void join('room:b')`, nil)
	id, _ = p.command("subscribe")
	p.answer(id, `"error":{"code":103,"message":"permission denied"}`)
	require.Equal(t, object{"code": 103.0, "reason": "permission denied"}, s.next("room:b unsubscribed"))
	p.drop()
	p = s.peer()
	p.welcome()
	require.Equal(t, "room:a", p.position(``)["channel"])
	s.next("room:a subscribed")
	s.js(`void client.rpc('m')`, nil)
	p.command("rpc") // and nothing of room:b
}

func clientUnsubscribed(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	s.js(`void join('room:a')`, nil)
	p.position(`,"offset":3`)
	s.next("room:a subscribed")
	p.send(`{"push":{"channel":"room:a","unsubscribe":{"code":2500,"reason":"gap"}}}`)
	require.Equal(t, 2500.0, s.next("room:a subscribing")["code"])
	require.Equal(t, 3.0, p.position(`,"offset":3,"recovered":true,"was_recovering":true`)["offset"])
	require.Equal(t, object{"recovered": true, "wasRecovering": true}, s.next("room:a subscribed"))
	p.send(`{"push":{"channel":"room:a","unsubscribe":{"code":2000,"reason":"removed"}}}`)
	require.Equal(t, object{"code": 2000.0, "reason": "removed"}, s.next("room:a unsubscribed"))
	s.js(`void client.rpc('m')`, nil)
	p.command("rpc") // no subscribe before it
}

func clientPushes(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	s.js(`void join('room:a')`, nil)
	p.position(``)
	p.send(`{"push":{"channel":"room:a","join":{"info":{"user":"u","client":"c2"}}}}`, `{"push":{"channel":"room:a","leave":{"info":{"user":"u","client":"c2"}}}}`,
		`{"push":{"message":{"data":"hi"}}}`, `{"push":{"channel":"server:x","pub":{"data":1,"offset":1}}}`, `{"push":{"channel":"room:a","future":{}}}`)
	require.Equal(t, object{"info": object{"user": "u", "client": "c2"}}, s.next("room:a join"))
	require.Equal(t, object{"info": object{"user": "u", "client": "c2"}}, s.next("room:a leave"))
	require.Equal(t, object{"data": "hi"}, s.next("message"))
	require.Equal(t, object{"channel": "server:x", "data": 1.0, "offset": 1.0}, s.next("publication"))

	// A listener that throws disturbs nobody.
	s.js(`void client.addEventListener('message', () => { throw new Error('of the page'); })`, nil)
	p.send(`{"push":{"message":{"data":"again"}}}`)
	require.Equal(t, object{"data": "again"}, s.next("message"))
	s.js(`void client.rpc('m')`, nil)
	p.command("rpc")
}

func clientWakes(t *testing.T, s *stage) {
	s.js(`void (Math.random = () => 1)`, nil)
	p := s.connected(`{ minDelay: 60000, maxDelay: 60000 }`)
	for _, wake := range []string{
		`dispatchEvent(new Event('online'))`,
		`document.dispatchEvent(new Event('visibilitychange'))`,
		`dispatchEvent(new Event('pageshow'))`,
		`document.dispatchEvent(new Event('resume'))`,
	} {
		s.js(`log.splice(0)`, nil)
		p.drop()
		require.Equal(t, 60000.0, s.next("connecting")["delay"])
		s.js(wake, nil)
		p = s.peer()
		p.welcome()
		s.next("connected")
	}
	s.js(`log.splice(0)`, nil)
	s.js(`dispatchEvent(new Event('offline'))`, nil)
	require.Equal(t, 6.0, s.next("connecting")["code"])
	s.js(`dispatchEvent(new Event('online'))`, nil)
	p = s.peer()
	p.welcome()
	s.next("connected")

	// A machine that slept: timers stood still, the last ping is long ago.
	s.js(`void (Date.now = () => 4e12)`, nil)
	s.js(`log.splice(0)`, nil)
	s.js(`document.dispatchEvent(new Event('visibilitychange'))`, nil)
	require.Equal(t, 4.0, s.next("connecting")["code"])
	s.peer().welcome()
	s.next("connected")
}

func clientClose(t *testing.T, s *stage) {
	p := s.connected(`{ getToken: async () => 't' }`)
	s.js(`void join('room:a')`, nil)
	p.position(``)
	s.next("room:a subscribed")
	s.js(`void (window.result = client.rpc('m').catch((e) => e.code))`, nil)
	p.command("rpc")
	s.js(`client.close()`, nil)
	var code int
	s.js(`result`, &code)
	require.Zero(t, code)
	require.Equal(t, object{"code": 0.0, "reason": "closed"}, s.next("closed"))
	require.Equal(t, object{"code": 0.0, "reason": "closed"}, s.next("room:a unsubscribed"))
	_, _, err := p.conn.Read(timeout(t))
	require.Equal(t, websocket.StatusNoStatusRcvd, websocket.CloseStatus(err))
	s.js(`client.close()`, nil)
	s.settled()
	var refused string
	s.js(`client.rpc('m').catch((e) => e.message)`, &refused)
	require.Equal(t, "closed", refused)

	// While it waits to come back, and while it is connecting.
	p = s.connected(`{ minDelay: 60000, maxDelay: 60000 }`)
	s.js(`log.splice(0)`, nil)
	p.drop()
	s.next("connecting")
	s.js(`void (window.result = client.ready().catch((e) => e.code))`, nil)
	s.js(`client.close()`, nil)
	s.js(`result`, &code)
	require.Zero(t, code)
	s.settled()
	s.js(`start()`, nil)
	s.peer()
	s.js(`client.close()`, nil)
	s.settled()
}

func clientGarbage(t *testing.T, s *stage) {
	p := s.connected(`{}`)
	for _, line := range []string{`not JSON`, `null`, `17`, `{}` + "\n" + `{`, `"text"`} {
		s.js(`log.splice(0)`, nil)
		p.send(line)
		require.Equal(t, 5.0, s.next("connecting")["code"], line)
		p = s.peer()
		p.welcome()
		s.next("connected")
	}
	s.js(`log.splice(0)`, nil)
	require.NoError(t, p.conn.Write(timeout(t), websocket.MessageBinary, []byte{1}))
	require.Equal(t, 5.0, s.next("connecting")["code"])
}

// timeout is a context that ends in ten seconds, or with the test.
func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
