package sessionload

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// answer is what a request can come to.
type answer int

const (
	done    answer = iota // 200
	refused               // 401: no live session
	unknown               // 503, or no answer for who would not wait
)

// fate is what a client knows about a session. The zero value is live.
type fate int

const (
	live  fate = iota
	ended      // acknowledged
	maybe      // its end, or a new secret, was asked for without an answer
)

// client signs in and out, one user after the other, and remembers what it was
// told.
type client struct {
	l        *Load
	name     string
	patience time.Duration

	asked, unknown, whole atomic.Int64
	failed                bool // in this round

	sessions map[string]fate // by id
	staying  []*held         // live, and not used any more
	dead     []string        // cookies and refresh tokens that are good no more
}

// held is a session as one device has it.
type held struct {
	id, cookie string
	least      int // updates that are there
	most       int // updates that can be there
}

func (c *client) run() {
	for i := 0; ; i++ {
		select {
		case <-c.l.stop:
			return
		default:
		}
		c.failed = false
		c.round(i)
		if !c.failed {
			c.whole.Add(1)
		}
	}
}

// ask sends one request to a node, any one, and returns what came back.
func (c *client) ask(path, cookie, body string) (a answer, text string, h http.Header) {
	time.Sleep(rand.N(2 * time.Millisecond))
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if c.patience > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.patience)
	}
	defer cancel()
	c.asked.Add(1)
	status, text, h, err := c.send(ctx, path, cookie, body)
	switch {
	case err != nil && ctx.Err() == nil:
		c.l.violated("%s is not answered: %w", path, err)
	case err != nil, status == http.StatusServiceUnavailable:
		c.unknown.Add(1)
		c.failed = true
		if path == "/logout" && err == nil && !strings.Contains(h.Get("Set-Cookie"), "Max-Age=0") {
			c.l.violated("a sign-out that failed leaves the cookie")
		}
		time.Sleep(rand.N(10 * time.Millisecond))
	case status == http.StatusOK:
		return done, text, h
	case status == http.StatusUnauthorized:
		return refused, "", nil
	default:
		c.l.violated("%s is answered with %d", path, status)
	}
	return unknown, "", nil
}

func (c *client) send(ctx context.Context, path, cookie, body string) (int, string, http.Header, error) {
	n := c.l.nodes[rand.IntN(len(c.l.nodes))]
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, n.server.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: cookie})
	}
	res, err := c.l.http.Do(r)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), res.Header, err
}

// round is all that one user does.
func (c *client) round(i int) {
	user := fmt.Sprint(c.name, "-", i)
	c.lookBack()
	phone := c.signIn(user)
	if phone == nil {
		return
	}
	c.look(phone)
	for range 2 {
		c.add(phone)
	}
	if !c.renew(phone) {
		return
	}
	laptop := c.signIn(user)
	app, token := c.beginToken(user)
	if laptop == nil || app == "" {
		c.forget(phone) // it stays, whatever becomes of the others
		return
	}
	token = c.refresh(app, c.refresh(app, token))
	if token != "" && i%2 == 0 && !c.endToken(app, token) {
		token = ""
	}
	// What is signed out everywhere but here.
	switch a, _, _ := c.ask("/others", phone.cookie, ""); {
	case a == refused:
		c.l.violated("/others takes a live session for none")
	case a == unknown:
		c.sessions[laptop.id], c.sessions[app] = maybe, worse(c.sessions[app])
		c.forget(phone)
		return
	}
	c.sessions[laptop.id], c.sessions[app] = ended, ended
	c.bury(laptop.cookie)
	if token != "" {
		c.bury(token)
	}
	c.look(phone)
	if i%3 == 0 {
		c.forget(phone)
		return
	}
	switch a, _, _ := c.ask("/logout", phone.cookie, ""); a {
	case unknown:
		c.sessions[phone.id] = maybe
	default:
		c.sessions[phone.id] = ended
		c.bury(phone.cookie)
	}
}

// worse is what becomes of a fate when an end has no answer.
func worse(f fate) fate {
	if f == ended {
		return ended
	}
	return maybe
}

func (c *client) signIn(user string) *held {
	a, id, h := c.ask("/login?user="+user, "", "")
	if a == unknown {
		return nil
	}
	s := &held{id: id, cookie: cookieOf(h)}
	if a == refused || s.cookie == "" {
		c.l.violated("a sign-in gives no session")
		return nil
	}
	c.sessions[id] = live
	return s
}

func cookieOf(h http.Header) string {
	set, err := http.ParseSetCookie(h.Get("Set-Cookie"))
	if err != nil {
		return ""
	}
	return set.Value
}

// look reads a session that lives.
func (c *client) look(s *held) {
	a, text, _ := c.ask("/me", s.cookie, "")
	switch a {
	case refused:
		c.l.violated("%s lives, and is refused", s.id)
	case done:
		id, number, _ := strings.Cut(text, " ")
		if n, err := strconv.Atoi(number); id != s.id || err != nil || n < s.least || n > s.most {
			c.l.violated("%s with %d to %d updates reads as %q", s.id, s.least, s.most, text)
		}
	}
}

// add updates a session that lives. It adds one each time it is done.
func (c *client) add(s *held) {
	s.most++
	a, _, _ := c.ask("/add", s.cookie, "")
	switch a {
	case refused:
		c.l.violated("%s lives, and can't be updated", s.id)
	case done:
		s.least++
	}
}

// renew reports whether the session's secret is known afterwards.
func (c *client) renew(s *held) bool {
	a, _, h := c.ask("/renew", s.cookie, "")
	switch a {
	case refused:
		c.l.violated("%s lives, and can't be renewed", s.id)
		return false
	case unknown:
		// It lives, under which secret nobody can tell.
		return false
	}
	c.bury(s.cookie)
	if s.cookie = cookieOf(h); s.cookie == "" {
		c.l.violated("a renewed session has no new secret")
	}
	return true
}

func (c *client) beginToken(user string) (id, token string) {
	a, text, _ := c.ask("/token?user="+user, "", "")
	if a != done {
		return "", ""
	}
	id, token, _ = strings.Cut(text, " ")
	c.sessions[id] = live
	return id, token
}

// refresh exchanges a token, again while there is no answer: what was lost must
// come with the next one. It returns "" when none comes in time.
func (c *client) refresh(id, token string) string {
	if token == "" {
		return ""
	}
	for start := time.Now(); time.Since(start) < graceful; {
		a, text, _ := c.ask("/refresh", "", token)
		switch a {
		case refused:
			if time.Since(start) < graceful {
				c.l.violated("the refresh token of %s is good, and refused", id)
			}
			return ""
		case done:
			got, next, _ := strings.Cut(text, " ")
			if got != id || next == "" {
				c.l.violated("a refresh of %s gives %s", id, got)
			}
			return next
		}
	}
	return ""
}

// endToken reports whether the session of a token is known to have ended.
func (c *client) endToken(id, token string) bool {
	a, _, _ := c.ask("/revoke", "", token)
	if a != done {
		c.sessions[id] = maybe
		return false
	}
	c.sessions[id] = ended
	return true
}

// forget leaves a session as it is; it is looked at in the end.
func (c *client) forget(s *held) { c.staying = append(c.staying, s) }

// bury keeps what is good no more: cookies and, with a dot in them, refresh
// tokens.
func (c *client) bury(credential string) {
	if len(c.dead) < 200 {
		c.dead = append(c.dead, credential)
	} else {
		c.dead[rand.IntN(len(c.dead))] = credential
	}
}

// lookBack tries something that has ended.
func (c *client) lookBack() {
	if len(c.dead) > 0 {
		c.tryDead(c.dead[rand.IntN(len(c.dead))])
	}
}

func (c *client) tryDead(credential string) answer {
	path, cookie, body := "/me", credential, ""
	if strings.Contains(credential, ".") {
		path, cookie, body = "/refresh", "", credential
	}
	a, text, _ := c.ask(path, cookie, body)
	if a == done {
		id, _, _ := strings.Cut(text, " ")
		c.l.violated("%s is resurrected by %s", id, path)
	}
	return a
}

// compare asks once more about everything, when the store answers.
func (c *client) compare() {
	for _, credential := range c.dead {
		if a := c.tryDead(credential); a == unknown {
			c.l.violated("the store can't tell, after the end of all faults")
		}
	}
	for _, s := range c.staying {
		c.look(s)
	}
}
