package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
)

// person is a Subject for tests.
type person struct {
	user, session string
	expires       time.Time
}

func (p person) UserID() string                   { return p.user }
func (p person) SessionID() string                { return p.session }
func (p person) AuthTime() time.Time              { return time.Time{} }
func (p person) ExpiresAt() time.Time             { return p.expires }
func (p person) Grants() (scopes, roles []string) { return nil, nil }

type authError struct {
	kind    string
	expired bool
}

func (e authError) Error() string     { return "test: " + e.kind }
func (e authError) AuthError() string { return e.kind }
func (e authError) Expired() bool     { return e.expired }

// world is an authenticator and the sessions: a credential "ann/s1" is user
// ann in session s1; "ann/s1/SECONDS" ends at that Unix time.
type world struct {
	mu     sync.Mutex
	ended  []string
	down   error
	forget int // the log no longer reaches back to cursors before this
	alive  func(id string)
	hooks  []func(id, user, reason string)
	asked  int
}

func credential(s string) (person, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || parts[0] == "bad" {
		return person{}, authError{kind: "invalid_token"}
	}
	p := person{user: parts[0], session: parts[1]}
	if len(parts) == 3 {
		sec, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil {
			return person{}, authError{kind: "invalid_token"}
		}
		p.expires = time.Unix(sec, 0)
		if time.Now().After(p.expires) {
			return person{}, authError{kind: "invalid_token", expired: true}
		}
	}
	return p, nil
}

// Authenticate takes a cookie, a bearer token, or both agreeing.
func (w *world) Authenticate(r *http.Request) (person, error) {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down != nil {
		return person{}, down
	}
	var found []person
	if c, err := r.Cookie("session"); err == nil {
		p, err := credential(c.Value)
		if err != nil {
			return p, err
		}
		found = append(found, p)
	}
	if a := r.Header.Get("Authorization"); a != "" {
		p, err := credential(strings.TrimPrefix(a, "Bearer "))
		if err != nil {
			return p, err
		}
		found = append(found, p)
	}
	switch {
	case len(found) == 0:
		return person{}, authError{kind: "none"}
	case len(found) == 2 && (found[0].user != found[1].user || found[0].session != found[1].session):
		return person{}, authError{kind: "invalid_token"}
	}
	return found[len(found)-1], nil
}

func (w *world) Alive(_ context.Context, id string) (bool, error) {
	w.mu.Lock()
	hook, down := w.alive, w.down
	dead := false
	for _, e := range w.ended {
		dead = dead || e == id
	}
	w.mu.Unlock()
	if hook != nil {
		hook(id)
	}
	return !dead, down
}

type lost struct{ error }

func (lost) CursorLost() bool { return true }

func (w *world) EndedSince(_ context.Context, cursor string) ([]string, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.down != nil {
		return nil, "", w.down
	}
	next := fmt.Sprint(len(w.ended))
	if cursor == "" {
		return nil, next, nil
	}
	n, err := strconv.Atoi(cursor)
	if err != nil {
		return nil, "", err
	}
	if n < w.forget || n > len(w.ended) {
		return nil, "", lost{errors.New("lost")}
	}
	return append([]string(nil), w.ended[n:]...), next, nil
}

func (w *world) end(id string) {
	w.mu.Lock()
	w.ended = append(w.ended, id)
	w.mu.Unlock()
}

func (w *world) set(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
}

// pushing is a world that also pushes.
type pushing struct{ *world }

func (w pushing) OnEnd(f func(id, user, reason string)) (cancel func()) {
	w.set(func() { w.hooks = append(w.hooks, f) })
	return func() { w.set(func() { w.hooks = nil }) }
}

func (w *world) push(id, reason string) {
	w.mu.Lock()
	hooks := w.hooks
	w.mu.Unlock()
	for _, f := range hooks {
		f(id, "", reason)
	}
}

func room(context.Context, realtime.Identity, string) (realtime.Grant, error) {
	return realtime.Grant{Publish: true, Presence: true, JoinLeave: true, History: true, Recover: true}, nil
}

func own(_ context.Context, who realtime.Identity, channel string) (realtime.Grant, error) {
	if channel != "user:"+who.UserID() {
		return realtime.Grant{}, realtime.ErrDenied
	}
	return realtime.Grant{}, nil
}

func rules() realtime.Rules {
	return realtime.Rules{"room:": room, "board:": room, "drop:": room, "plain:": room, "once:": room, "user:": own}
}

func options() *realtime.Options {
	return &realtime.Options{
		Channels: map[string]realtime.Channel{
			"room:":  {HistorySize: 1000, HistoryTTL: time.Hour},
			"board:": {HistorySize: 1, HistoryTTL: time.Hour, Overflow: realtime.Latest},
			"drop:":  {HistorySize: 100_000, HistoryTTL: time.Hour, Overflow: realtime.DropOldest},
		},
		RPC: map[string]realtime.RPCFunc{"echo": func(_ context.Context, _ *realtime.Conn, data json.RawMessage) (json.RawMessage, error) {
			return data, nil
		}},
		Info:   func(who realtime.Identity) json.RawMessage { return json.RawMessage(`{"name":"` + who.UserID() + `"}`) },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// site is a hub behind a server.
type site struct {
	*realtime.Hub
	t      testing.TB
	world  *world
	server *httptest.Server        // real sockets
	memory *realtimetest.Server    // or connections in memory, in a synctest bubble
	wrap   func(net.Conn) net.Conn // what a client dials there; may be nil
}

const origin = "https://app.example"

// open serves a hub on real sockets.
func open(t testing.TB, change func(*realtime.Options)) *site {
	w := &world{}
	return serve(t, &site{t: t, world: w, Hub: newHub(t, w, w, change)})
}

func serve(t testing.TB, s *site) *site {
	s.server = httptest.NewServer(s.Hub)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		s.server.Close()
	})
	return s
}

// inBubble serves a hub on connections in memory.
func inBubble(t testing.TB, sessions realtime.Sessions, w *world, change func(*realtime.Options)) *site {
	return inMemory(&site{t: t, world: w, Hub: newHub(t, w, sessions, change)})
}

// inBubbleWith is inBubble with other rules.
func inBubbleWith(t testing.TB, w *world, rules realtime.Rules, change func(*realtime.Options)) *site {
	o := options()
	o.Channels = nil
	if change != nil {
		change(o)
	}
	h, err := realtime.New(origin, realtime.Via(w.Authenticate), w, rules, o)
	require.NoError(t, err)
	return inMemory(&site{t: t, world: w, Hub: h})
}

func inMemory(s *site) *site {
	s.memory = realtimetest.Serve(s.Hub)
	s.t.Cleanup(func() {
		require.NoError(s.t, s.Close())
		s.memory.Close()
	})
	return s
}

func newHub(t testing.TB, w *world, sessions realtime.Sessions, change func(*realtime.Options)) *realtime.Hub {
	o := options()
	if change != nil {
		change(o)
	}
	h, err := realtime.New(origin, realtime.Via(w.Authenticate), sessions, rules(), o)
	require.NoError(t, err)
	return h
}

// client is a WebSocket client that speaks the protocol by hand.
type client struct {
	t    testing.TB
	ws   *websocket.Conn
	id   int
	mu   sync.Mutex
	in   chan map[string]json.RawMessage // what came, one object each, pings answered and left out
	done chan struct{}
	err  error
	mute bool // doesn't answer pings
}

type header struct{ cookie, bearer, origin string }

func (s *site) handshake(h header, protocols ...string) (*websocket.Conn, *http.Response, error) {
	o := &websocket.DialOptions{HTTPHeader: http.Header{}, Subprotocols: protocols}
	if h.cookie != "" {
		o.HTTPHeader.Set("Cookie", "session="+h.cookie)
	}
	if h.bearer != "" {
		o.HTTPHeader.Set("Authorization", "Bearer "+h.bearer)
	}
	if h.origin != "" {
		o.HTTPHeader.Set("Origin", h.origin)
	}
	url := "ws://app.example/"
	if s.memory != nil {
		o.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.dialMemory}}
	} else {
		url = strings.Replace(s.server.URL, "http", "ws", 1)
	}
	return websocket.Dial(s.t.Context(), url, o)
}

func (s *site) dialMemory(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := s.memory.DialContext(ctx, network, addr)
	if err == nil && s.wrap != nil {
		c = s.wrap(c)
	}
	return c, err
}

// dial opens a socket without saying connect.
func (s *site) dial(h header) *client {
	s.t.Helper()
	ws, _, err := s.handshake(h, "centrifuge-json")
	require.NoError(s.t, err)
	ws.SetReadLimit(-1)
	c := &client{t: s.t, ws: ws, in: make(chan map[string]json.RawMessage, 100_000), done: make(chan struct{})}
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	return c.start()
}

func (c *client) start() *client {
	go func() {
		defer close(c.done)
		for {
			_, b, err := c.ws.Read(context.Background())
			if err != nil {
				c.err = err
				return
			}
			for line := range strings.SplitSeq(string(b), "\n") {
				if line == "{}" {
					c.mu.Lock()
					mute := c.mute
					c.mu.Unlock()
					if !mute {
						_ = c.ws.Write(context.Background(), websocket.MessageText, []byte("{}"))
					}
					continue
				}
				var m map[string]json.RawMessage
				if json.Unmarshal([]byte(line), &m) != nil {
					c.err = fmt.Errorf("not JSON: %q", line)
					return
				}
				c.in <- m
			}
		}
	}()
	return c
}

// join connects and returns the client once it is.
func (s *site) join(cred string) *client {
	s.t.Helper()
	c := s.dial(header{cookie: cred})
	r := c.call(`"connect":{}`)
	require.Contains(s.t, r, "connect")
	return c
}

func (c *client) write(s string) {
	_ = c.ws.Write(context.Background(), websocket.MessageText, []byte(s))
}

// call sends a command and returns its reply, leaving pushes alone.
func (c *client) call(body string) map[string]json.RawMessage {
	c.t.Helper()
	c.id++
	c.write(fmt.Sprintf(`{"id":%d,%s}`, c.id, body))
	return c.reply(c.id)
}

func (c *client) reply(id int) map[string]json.RawMessage {
	c.t.Helper()
	var kept []map[string]json.RawMessage
	defer func() {
		for _, m := range kept {
			c.in <- m
		}
	}()
	for {
		m := c.next()
		if string(m["id"]) == strconv.Itoa(id) {
			return m
		}
		kept = append(kept, m)
	}
}

// next returns the next object.
func (c *client) next() map[string]json.RawMessage {
	c.t.Helper()
	select {
	case m := <-c.in:
		return m
	default:
	}
	select {
	case m := <-c.in:
		return m
	case <-c.done:
		select {
		case m := <-c.in:
			return m
		default:
		}
		c.t.Fatalf("the connection ended: %v", c.err)
	case <-time.After(2 * time.Minute):
		c.t.Fatal("nothing came")
	}
	return nil
}

// push returns the next push, as its JSON.
func (c *client) push() string {
	c.t.Helper()
	m := c.next()
	require.Contains(c.t, m, "push", "not a push")
	return string(m["push"])
}

// closed waits for the close and returns its code and reason.
func (c *client) closed() (int, string) {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(2 * time.Minute):
		c.t.Fatal("not closed")
	}
	var ce websocket.CloseError
	require.ErrorAs(c.t, c.err, &ce)
	require.NotEmpty(c.t, ce.Reason, "a close without a reason makes SDKs come back for ever")
	return int(ce.Code), ce.Reason
}

func (c *client) code() int { c.t.Helper(); code, _ := c.closed(); return code }

// live reports whether the connection is still there.
func (c *client) live() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

func code(m map[string]json.RawMessage) int {
	var e struct{ Code int }
	_ = json.Unmarshal(m["error"], &e)
	return e.Code
}

func TestMain(m *testing.M) {
	result := m.Run()
	if result == 0 {
		if err := leaked(); err != nil {
			fmt.Println(err)
			result = 1
		}
	}
	os.Exit(result)
}

// leaked waits for goroutines of this package to end, and shows those that don't.
func leaked() error {
	var stacks string
	for range 100 {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "gatewire/realtime.(") {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("goroutines left:\n" + stacks)
}
