package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// load is what people do at two nodes while servers behind them fail. It keeps
// account of what was answered, and complains of every answer that is wrong at
// any time: a 503 never is, while something is down.
type load struct {
	t    *testing.T
	n    *nodes
	stop atomic.Bool
	wg   sync.WaitGroup

	first *member // who was there before anything failed

	next    atomic.Int64 // for names
	slowest atomic.Int64
	down    atomic.Int64 // answers 503
	good    atomic.Int64

	mu    sync.Mutex
	live  []*member // nobody has tried to end them; the first stays
	ended []*member // somebody has, and was told so
}

// member is a session under load: by cookie, or by tokens.
type member struct {
	email   string
	cookie  string
	access  string
	refresh string
	socket  *follower // nil: none
}

// do makes a request of a JSON or form body. It returns 0 where there is no
// answer, which is an error of its own: nodes stay.
func (l *load) do(p *process, method, path string, body any, m *member) (int, object, *http.Response) {
	var r io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case url.Values:
		r, kind = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	case object:
		text, err := json.Marshal(b)
		if err != nil {
			l.t.Error(err)
			return 0, nil, nil
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, p.url+path, r)
	if err != nil {
		l.t.Error(err)
		return 0, nil, nil
	}
	if r != nil {
		req.Header.Set("Content-Type", kind)
	}
	if m != nil && m.cookie != "" {
		req.Header.Set("Cookie", m.cookie)
	} else if m != nil && m.access != "" {
		req.Header.Set("Authorization", "Bearer "+m.access)
	}
	if strings.HasSuffix(path, "/register") { // from everywhere, so that no limit is met
		from := l.next.Add(1)
		req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", from/250%250, from%250))
	}
	begin := time.Now()
	res, err := impatient.Do(req)
	if err != nil {
		l.t.Errorf("%s %s: no answer: %v", method, path, err)
		return 0, nil, nil
	}
	defer res.Body.Close()
	var out object
	if raw, err := io.ReadAll(res.Body); err != nil {
		l.t.Errorf("%s %s: %v", method, path, err)
	} else if strings.Contains(res.Header.Get("Content-Type"), "json") && json.Unmarshal(raw, &out) != nil {
		l.t.Errorf("%s %s: not JSON: %q", method, path, raw)
	}
	for took := int64(time.Since(begin)); ; {
		if was := l.slowest.Load(); took <= was || l.slowest.CompareAndSwap(was, took) {
			break
		}
	}
	switch {
	case res.StatusCode == http.StatusServiceUnavailable:
		l.down.Add(1)
	case res.StatusCode >= 500:
		l.t.Errorf("%s %s: %d %v", method, path, res.StatusCode, out)
	default:
		l.good.Add(1)
	}
	return res.StatusCode, out, res
}

// impatient bounds every answer: what is down is told within seconds.
var impatient = &http.Client{Timeout: 12 * time.Second}

// either returns the nodes, in an order that changes.
func (l *load) either() (p, other *process) {
	if l.next.Add(1)%2 == 0 {
		return l.n.a, l.n.b
	}
	return l.n.b, l.n.a
}

// signUp makes a member at p, or returns nil when it is told that it can't.
func (l *load) signUp(p *process, mode string) *member {
	m := &member{email: fmt.Sprintf("m%d@example.org", l.next.Add(1))}
	status, out, res := l.do(p, "POST", "/auth/register", object{"email": m.email, "password": goodPassword, "mode": mode}, nil)
	switch status {
	case http.StatusCreated:
	case http.StatusServiceUnavailable, 0:
		return nil
	default:
		l.t.Errorf("sign-up: %d %v", status, out)
		return nil
	}
	if mode == "token" {
		m.access, _ = out["access_token"].(string)
		m.refresh, _ = out["refresh_token"].(string)
		return m
	}
	for _, c := range res.Cookies() {
		m.cookie = c.Name + "=" + c.Value
	}
	if m.cookie == "" {
		l.t.Errorf("sign-up: no cookie")
	}
	return m
}

// is requires that m is known at p, or not known (want 401), or that p can't tell.
func (l *load) is(p *process, m *member, want int) {
	if status, out, _ := l.do(p, "GET", "/auth/me", nil, m); status != want && status != http.StatusServiceUnavailable && status != 0 {
		l.t.Errorf("%s: %d, want %d: %v", m.email, status, want, out)
	}
}

// visitors sign up, and are known at the other node, where they open a socket.
func (l *load) visitors() {
	for !l.stop.Load() {
		p, other := l.either()
		m := l.signUp(p, "cookie")
		time.Sleep(50 * time.Millisecond) // passwords cost both processors much: there is more to see
		if m == nil {
			continue
		}
		l.is(other, m, http.StatusOK)
		m.socket = l.socket(other, m)
		l.mu.Lock()
		l.live = append(l.live, m)
		l.mu.Unlock()
	}
}

// leavers sign out one of the visitors after the other, also while servers are
// down: who is told to try again does so later.
func (l *load) leavers() {
	var unsure []*member // may have been signed out or not
	for !l.stop.Load() {
		time.Sleep(100 * time.Millisecond)
		var m *member
		l.mu.Lock()
		if len(l.live) > 4 {
			m = l.live[1]
			l.live = slices.Delete(l.live, 1, 2)
		}
		l.mu.Unlock()
		if m == nil && len(unsure) > 0 {
			m, unsure = unsure[0], unsure[1:]
		}
		if m == nil {
			continue
		}
		p, other := l.either()
		status, out, _ := l.do(p, "POST", "/auth/logout", nil, m)
		switch status {
		case http.StatusNoContent:
			l.is(other, m, http.StatusUnauthorized)
			l.mu.Lock()
			l.ended = append(l.ended, m)
			l.mu.Unlock()
		case http.StatusServiceUnavailable, 0:
			unsure = append(unsure, m)
		default:
			l.t.Errorf("sign-out: %d %v", status, out)
		}
	}
	for _, m := range unsure {
		if m.socket != nil {
			m.socket.cancel()
		}
	}
}

// socket opens m's socket at p, if that can be done now.
func (l *load) socket(p *process, m *member) *follower {
	c := &http.Client{Transport: withCookie(m.cookie)}
	f := follow(l.t, c, "", "", p)
	for range 100 {
		f.mu.Lock()
		ready := f.ready
		f.mu.Unlock()
		if ready {
			return f
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.cancel()
	<-f.over
	if f.failure != nil {
		l.t.Errorf("%s: a socket for a live session: %v", m.email, f.failure)
	}
	return nil
}

// withCookie sends one cookie with everything.
type withCookie string

func (c withCookie) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Cookie", string(c))
	return http.DefaultTransport.RoundTrip(r)
}

// refreshers rotate a refresh token at one node and the other. What was not
// answered is asked again; a token that was exchanged without an answer is good
// for 10 s from then.
func (l *load) refreshers() {
	var m *member
	var unanswered time.Time
	for !l.stop.Load() {
		p, other := l.either()
		if m == nil {
			m = l.signUp(p, "token")
			unanswered = time.Time{}
			time.Sleep(20 * time.Millisecond)
			continue
		}
		asked := time.Now()
		status, out, _ := l.do(p, "POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {m.refresh}}, nil)
		switch {
		case status == http.StatusOK:
			m.refresh, _ = out["refresh_token"].(string)
			m.access, _ = out["access_token"].(string)
			unanswered = time.Time{}
			l.is(other, m, http.StatusOK)
		case status == http.StatusServiceUnavailable || status == 0:
			if unanswered.IsZero() {
				unanswered = asked
			}
		case status == http.StatusBadRequest && !unanswered.IsZero() && time.Since(unanswered) > 8*time.Second:
			m = nil // signed out, as the contract says
		default:
			l.t.Errorf("refresh: %d %v", status, out)
			m = nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	if m != nil && unanswered.IsZero() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.live = append(l.live, m)
	}
}

// faithful are known all the time at both nodes, wherever the answer is one.
func (l *load) faithful(m *member) {
	for !l.stop.Load() {
		p, other := l.either()
		l.is(p, m, http.StatusOK)
		l.is(other, m, http.StatusOK)
		time.Sleep(20 * time.Millisecond)
	}
}

// begin starts the load, with somebody who was there before.
func (l *load) begin() {
	l.first = l.signUp(l.n.a, "cookie")
	require.NotNil(l.t, l.first)
	l.live = append(l.live, l.first)
	for range 2 {
		l.wg.Go(l.visitors)
		l.wg.Go(l.refreshers)
	}
	l.wg.Go(l.leavers)
	l.wg.Go(func() { l.faithful(l.first) })
}

// heals measures how long it takes until everything works again at both nodes,
// without a restart.
func (l *load) heals(what string) {
	l.t.Helper()
	begin := time.Now()
	at := begin
	for good := 0; good < 8; {
		require.Less(l.t, time.Since(begin), 30*time.Second, "%s: it doesn't heal", what)
		p, other := l.either()
		m := l.signUp(p, "cookie")
		if m == nil {
			good = 0
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if status, _, _ := l.do(other, "POST", "/auth/logout", nil, m); status != http.StatusNoContent {
			good = 0
			continue
		}
		if good++; good == 1 {
			at = time.Now()
		}
	}
	l.t.Logf("R15 %s: healed after %v", what, at.Sub(begin))
}

// settle stops the load and requires that everything is as it was answered, at
// both nodes.
func (l *load) settle() {
	l.stop.Store(true)
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Logf("R15 %d answers, %d times 503, the slowest after %v; %d sessions live, %d ended", l.good.Load()+l.down.Load(), l.down.Load(), time.Duration(l.slowest.Load()), len(l.live), len(l.ended))
	require.NotZero(l.t, l.down.Load(), "nothing was down")
	require.NotEmpty(l.t, l.live)
	require.NotEmpty(l.t, l.ended)
	for _, p := range []*process{l.n.a, l.n.b} {
		for want, members := range map[int][]*member{http.StatusOK: l.live, http.StatusUnauthorized: l.ended} {
			for _, m := range members {
				status, out, _ := l.do(p, "GET", "/auth/me", nil, m)
				for tries := 0; status == http.StatusServiceUnavailable && tries < 50; tries++ { // a pool may still hold a broken connection
					status, out, _ = l.do(p, "GET", "/auth/me", nil, m)
				}
				require.Equal(l.t, want, status, "%s: %v", m.email, out)
			}
		}
		require.NotContains(l.t, p.logged(), "panic")
	}
	sockets := 0
	for _, m := range l.ended {
		if m.socket == nil {
			continue
		}
		sockets++
		select {
		case <-m.socket.over:
		case <-time.After(10 * time.Second):
			require.Fail(l.t, "a socket outlived its session")
		}
		m.socket.mu.Lock()
		last := m.socket.closes[len(m.socket.closes)-1]
		m.socket.mu.Unlock()
		require.Contains(l.t, []websocket.StatusCode{4501, 3500}, last.code, last.reason)
	}
	require.NotZero(l.t, sockets)
}

// Servers fail under load: killed, stopped, paused, PostgreSQL and Redis. No node
// ends; what can't be told is a 503; nothing is told wrongly, nobody who was
// signed out comes back and nobody is signed out by it; all heals by itself, and
// the rooms lose nothing.
func TestR15_ServersFailUnderLoad(t *testing.T) {
	onTwoNodes(t, func(t *testing.T, n *nodes) {
		type outage struct {
			name     string
			down, up func() error
			lasts    time.Duration
		}
		outages := []outage{
			{"PostgreSQL killed", n.pg.Crash, n.pg.Run, time.Second},
			{"PostgreSQL stopped", n.pg.Stop, n.pg.Run, time.Second},
		}
		if n.redis != nil {
			outages = append(outages, outage{"Redis killed", n.redis.Kill, n.redis.Run, time.Second},
				outage{"Redis paused", n.redis.Pause, n.redis.Resume, 3 * time.Second},
				outage{"Redis stopped", n.redis.Stop, n.redis.Run, time.Second})
		}
		ada := &device{browser: browser(t)}
		moveIn(t, ada.browser, n.a.url, "ada@example.org")
		l := &load{t: t, n: n}
		l.begin()
		fail := func() {
			for _, o := range outages {
				time.Sleep(500 * time.Millisecond)
				begin := time.Now()
				require.NoError(t, o.down(), o.name)
				var answers sync.WaitGroup
				var status [2]int
				for i, p := range []*process{n.a, n.b} {
					answers.Go(func() { status[i], _, _ = l.do(p, "GET", "/auth/me", nil, l.first) })
				}
				answers.Wait()
				require.Equal(t, [2]int{503, 503}, status, o.name)
				told := time.Since(begin)
				require.Less(t, told, 8*time.Second, "%s: both nodes say so, and soon", o.name)
				time.Sleep(o.lasts - told)
				require.NoError(t, o.up(), o.name)
				l.heals(o.name)
			}
		}
		if n.redis == nil {
			fail()
			l.settle()
			return
		}
		readers := []*follower{
			follow(t, ada.browser, "", "room:one", n.a, n.b).joined(t),
			follow(t, ada.browser, "", "room:one", n.b, n.a).joined(t),
		}
		acked := during(n.publishers(t, ada, "room:one"), 20*time.Millisecond, fail)
		l.settle()
		t.Logf("R15 %d messages published", len(acked["a"])+len(acked["b"]))
		for _, f := range readers {
			f.catchUp(t, acked)
			f.complete(t, acked)
		}
	})
}

// A Redis that is down at the start keeps no node from starting; it answers 503,
// soon, until there is one. What is logged meanwhile has no password.
func TestR15_RedisDownAtTheStart(t *testing.T) {
	const password = "a-password-of-redis"
	redis := startRedis(t)
	require.NoError(t, redis.Kill())
	p := start(t, "LOG_LEVEL=debug", "REDIS_URL=redis://app:"+password+"@"+redis.Addr()+"/0")
	c := browser(t)
	status, _ := call(t, c, "GET", p.url+"/healthz", nil)
	require.Equal(t, http.StatusOK, status)
	register := func() int {
		begin := time.Now()
		status, _ := call(t, c, "POST", p.url+"/auth/register", object{"email": fmt.Sprintf("ada%d@example.org", begin.UnixNano()), "password": goodPassword})
		require.Less(t, time.Since(begin), 5*time.Second)
		return status
	}
	require.Equal(t, http.StatusServiceUnavailable, register())
	require.NoError(t, redis.Run())
	_, err := redis.Do("ACL", "SETUSER", "app", "on", ">"+password, "allkeys", "allchannels", "+@all")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return register() == http.StatusCreated }, 20*time.Second, 100*time.Millisecond, "heals by itself")
	status, _ = call(t, c, "GET", p.url+"/auth/me", nil)
	require.Equal(t, http.StatusOK, status)
	require.NotContains(t, p.logged(), password)
	require.Contains(t, p.logged(), redis.Addr(), "what is wrong is logged")
}

// A node that can't ask which sessions live, for 30 s, closes its sockets (3004):
// they come back when it can, and have lost nothing.
func TestR1_SocketsEndWhenNobodyKnows(t *testing.T) {
	t.Parallel()
	n := startNodes(t, startRedis(t))
	ada := browser(t)
	moveIn(t, ada, n.a.url, "ada@example.org")
	var everyone []*follower
	for _, p := range []*process{n.a, n.b} {
		everyone = append(everyone, follow(t, ada, "", "room:one", p).joined(t))
	}
	everyone[0].say(t, "a", 0)
	require.NoError(t, n.redis.Kill())
	begin := time.Now()
	status, _ := call(t, ada, "GET", n.b.url+"/auth/me", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	for _, f := range everyone {
		require.Eventually(t, func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.closes) > 0
		}, 45*time.Second, 50*time.Millisecond)
		f.mu.Lock()
		first := f.closes[0]
		f.mu.Unlock()
		require.Equal(t, websocket.StatusCode(3004), first.code, first.reason)
		require.Greater(t, first.at.Sub(begin), 20*time.Second, "not for a short outage")
	}
	require.NoError(t, n.redis.Run())
	for _, f := range everyone {
		f.until(t, "it comes back", func() bool { return f.ready })
	}
	everyone[1].say(t, "a", 1)
	acked := map[string][]int{"a": {0, 1}}
	for _, f := range everyone {
		f.catchUp(t, acked)
		f.complete(t, acked)
	}
}
