package rtmodel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
)

// client is one socket and what its user knows.
type client struct {
	w    *world
	n    int
	node *node
	life *life
	c    *realtimetest.Client

	// Guarded by world.mu.
	busy      bool // a command is under way
	token     bool
	expires   time.Time // of the token; the later one while two are possible
	earliest  time.Time // the earlier one
	began     time.Time // connecting
	connected bool
	since     time.Time // connected
	over      time.Time // closed
	code      int
	foreign   bool // has presented another's token
	left      bool // has gone, with a goodbye or without
	muted     bool
	put       time.Time // when EndUser had returned that was to close it
	followed  bool      // another has come back for it
	id        string    // the connection's; "" until connected
	stall     stall
	subs      map[string]*sub
	puts      map[string]int   // channel: publications
	asked     map[string]asked // channel
}

// asked says that the rule was asked again for one connection.
type asked struct {
	version int
	at      time.Time
}

func (c *client) String() string {
	kind := "cookie"
	if c.token {
		kind = "token"
	}
	return fmt.Sprintf("client %d (%s, %v, node %d)", c.n, kind, c.life, c.node.n)
}

// connect begins a connection, which then enters channels; with before, from
// where that one was.
func (w *world) connect(nd *node, l *life, token bool, expires time.Time, then []string, before *client) {
	expires = expires.Truncate(time.Millisecond) // as a token says it
	c := &client{w: w, node: nd, life: l, token: token, expires: expires, earliest: expires, busy: true, began: time.Now(), asked: map[string]asked{}, puts: map[string]int{}}
	w.mu.Lock()
	c.n, c.subs = len(w.clients), newSubs(before)
	s := c.subs[served]
	s.moving, s.began = true, c.began
	since, versions := map[string]*realtime.Position{}, map[string]int{}
	if at := s.position(); at != nil {
		since[served] = at
	}
	for _, channel := range channels {
		versions[channel] = c.access(channel).version
	}
	w.clients = append(w.clients, c)
	w.note("%v connects", c)
	w.mu.Unlock()
	counts.sockets.Add(1)
	w.ops.Go(func() {
		answer, err := c.open(since)
		w.mu.Lock()
		defer w.mu.Unlock()
		now := time.Now()
		if err == nil {
			defer w.ops.Go(func() { c.enter(then, before != nil) })
			c.connected, c.since, c.id = true, now, answer.Client
			w.note("%v is connected", c)
			if !l.ended.IsZero() && l.ended.Before(c.began) || l.expires.Before(c.began) {
				w.violate("R2", "%v connects after its session has ended", c)
			}
			c.late(now)
			c.seated(answer.Subs, versions, since)
			c.moved(s)
			return
		}
		w.note("%v is refused: %v", c, err)
		c.refused(err, now)
		c.moved(s)
		if c.c != nil {
			c.left = true
			c.c.Cut()
		}
	})
}

// enter is the end of a connect.
func (c *client) enter(channels []string, recover bool) {
	for _, channel := range channels {
		_ = c.join(channel, recover)
	}
	c.w.mu.Lock()
	c.busy = false
	c.w.mu.Unlock()
}

func (c *client) open(since map[string]*realtime.Position) (answer realtimetest.Connected, err error) {
	header, token := http.Header{}, ""
	if c.token {
		token = bearer{c.life.user, c.life.id, c.expires}.text()
	} else {
		header.Set("Cookie", c.life.cookie)
	}
	c.w.nap()
	opened, err := c.node.server.Dial(context.Background(), "/", header)
	if err != nil {
		return answer, err
	}
	c.w.mu.Lock()
	c.c = opened
	c.w.mu.Unlock()
	c.w.nap()
	c.w.ops.Go(c.listen)
	if len(since) == 0 {
		return opened.Connect(context.Background(), token)
	}
	subs := map[string]map[string]any{}
	for channel, at := range since {
		subs[channel] = map[string]any{"recover": true, "offset": at.Offset, "epoch": at.Epoch}
	}
	b, err := opened.Do(context.Background(), "connect", map[string]any{"token": token, "subs": subs})
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	return answer, err
}

// refused checks why a connect was refused. w.mu is held.
func (c *client) refused(err error, now time.Time) {
	var refused *realtime.Error
	var end *realtimetest.CloseError
	switch {
	case errors.As(err, &refused) && refused.Code == 109:
		if !c.token || now.Before(c.expires) {
			c.w.violate("R3", "%v is told that its token has expired", c)
		}
	case errors.As(err, &refused) && refused.Code == 100 && refused.Temporary:
		if !c.node.wasDown(c.began.Add(-time.Second), 0) && !c.puzzled() { // it may take the hub so long to notice
			c.w.violate("R5", "%v is told to come back, and the store was there", c)
		}
	case errors.As(err, &end): // listen sees to it
	default:
		if !c.node.closing && !c.left {
			c.w.violate("R5", "%v is refused: %v", c, err)
		}
	}
}

// listen takes what is pushed, and the close.
func (c *client) listen() {
	ctx := context.Background()
	for {
		p, err := c.c.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			continue
		}
		c.w.mu.Lock()
		if err != nil {
			var end *realtimetest.CloseError
			if !errors.As(err, &end) {
				c.w.violate("R5", "%v: %v", c, err)
				end = &realtimetest.CloseError{}
			}
			c.closed(end, time.Now())
			c.w.mu.Unlock()
			return
		}
		if lost := c.w.lie.pushed; lost == nil || !lost(c, p) {
			c.pushed(p, time.Now())
		}
		c.w.mu.Unlock()
	}
}

// late checks that a connection that lives may. w.mu is held.
func (c *client) late(now time.Time) {
	nd, l := c.node, c.life
	slack := time.Duration(0)
	if !c.stall.from.IsZero() {
		slack = time.Second // the hub tells of an end when nothing of the connection runs any more
	}
	exceeds := func(from time.Time, by time.Duration, rule, what string) {
		if now.After(from.Add(by + slack)) {
			c.w.violate(rule, "%v lives %v after %s", c, now.Sub(from), what)
		}
	}
	if c.token {
		exceeds(c.expires, tokenGrace+time.Second, "R3", "its token expired")
	} else {
		exceeds(l.expires, time.Second, "R3", "its session's end")
	}
	if !c.put.IsZero() {
		exceeds(c.put, 10*time.Millisecond, "R1", "EndUser returned")
	}
	if nd.down {
		exceeds(nd.downAt, blindAfter+time.Second, "R1", "the store went away")
		return
	}
	if !l.ended.IsZero() {
		from := l.ended
		for _, other := range []time.Time{nd.upAt, c.since} {
			if other.After(from) {
				from = other
			}
		}
		exceeds(from, time.Second, "R1", "its session ended")
	}
	if from := l.expires.Add(reapEvery); now.After(from) {
		for _, other := range []time.Time{nd.upAt, c.since} {
			if other.After(from) {
				from = other
			}
		}
		exceeds(from, 2*time.Second, "R1", "its session expired")
	}
}

// closed checks a close. w.mu is held.
func (c *client) closed(end *realtimetest.CloseError, now time.Time) {
	c.over, c.code = now, end.Code
	c.w.note("%v is closed with %d %s", c, end.Code, end.Reason)
	if at, known := c.w.ends[c.id]; known && c.stall.behind(now) {
		c.late(at.at)
		c.waited(at)
		if end.Code == 1006 { // cut, with the close on its way
			end = &realtimetest.CloseError{Code: at.code, Reason: end.Reason} // others read the one there is
		}
	} else if c.connected && !c.stall.behind(now) {
		c.late(now)
	}
	if end.Reason == "" {
		c.w.violate("R5", "%v is closed with %d and no reason", c, end.Code)
	}
	l, nd := c.life, c.node
	right := false
	switch end.Code {
	case 1000, 1006:
		right = c.left || nd.closing
	case 3001:
		right = nd.closing
	case 3004:
		before := c.began.Add(-time.Second) // it may take the hub so long to notice that the store is back
		right = !c.connected && (nd.wasDown(before, 0) || c.puzzled()) || nd.wasDown(before, blindAfter-time.Second) ||
			!c.token && !now.Before(l.expires) && nd.wasDown(l.expires.Add(-time.Second), 0) // asked about once more
	case 3005:
		right = c.token && !now.Before(c.earliest.Add(tokenGrace))
	case 3008:
		right = c.slowEnough(now)
	case 3010: // the hub can't have it subscribe again
		s := c.subs[served]
		right = c.unsettled() || s.served && (s.part || c.stall.since(s.began))
	case 3012:
		right = c.muted || !c.stall.from.IsZero()
	case 3500:
		right = c.foreign || !c.connected && !c.token && (l.over(now) || c.ending())
	case 4501:
		right = !l.ended.IsZero() || !c.token && l.over(now) || c.w.putting[l.user] > 0 || !c.w.put[l.user].Before(c.began) || c.ending()
	}
	if !right {
		c.w.violate("R5", "%v is closed with %d %s, and there is no such reason", c, end.Code, end.Reason)
	}
	if !c.left && end.Code != 1006 {
		counts.closed.Add(1)
	}
	if c.connected && end.Code < 3500 && !c.left && !nd.closing && c.w.pace.IntN(4) > 0 {
		c.comeBack()
	}
}

// gone reports whether the hub has closed the connection, and the client does not
// know it, as it reads nothing. w.mu is held.
func (c *client) gone() bool {
	_, ended := c.w.ends[c.id]
	return ended && c.stall.paused
}

// waited checks that what waited in the hub for a client whose session ended was
// not sent. w.mu is held.
func (c *client) waited(end ending) {
	full := c.stall.full
	if end.code != 4501 || full.IsZero() || !end.at.Before(c.stall.until) {
		return
	}
	for channel, s := range c.subs {
		if s.newest.After(full) {
			c.w.violate("R1", "%v gets what was published in %s %v before it read it, and its session had ended", c, channel, c.stall.until.Sub(s.newest))
		}
	}
}

// comeBack has another take this one's place. w.mu is held.
func (c *client) comeBack() {
	w := c.w
	c.followed = true
	nd, then := w.nodes[w.pace.IntN(len(w.nodes))], []string(nil)
	for _, channel := range wished {
		if c.subs[channel].on {
			then = append(then, channel)
		}
	}
	w.ops.Go(func() {
		w.nap()
		w.connect(nd, c.life, c.token, time.Now().Add(30*time.Second), then, c)
	})
}

// unsettled reports whether there is something about the channel that the hub has
// put it into: the right is not known, or was asked about again while it came.
func (c *client) unsettled() bool {
	s := c.subs[served]
	return (s.served || !c.connected) && (c.puzzled() || c.w.reasked(c.life.user, s.began))
}

// reasked reports whether a user's rights may have been asked about again since a
// moment. w.mu is held.
func (w *world) reasked(user string, from time.Time) bool {
	return w.asking[user] > 0 || !w.asked[user].Add(askedWithin).Before(from)
}

// puzzled reports whether the hub may not know if the client has a right to the
// channel it is to be put into, or may have no broker for it.
func (c *client) puzzled() bool {
	a, began := c.access(served), c.subs[served].began
	return c.life.user == servedTo && (a.unknown || !a.last[lastUnknown].Before(began) || c.node.troubled(began))
}

// ending reports whether somebody is about to end the session.
func (c *client) ending() bool {
	alive, err := c.w.admin.Alive(context.Background(), c.life.id)
	return err == nil && !alive
}

// do runs a command of a client that is connected.
func (c *client) do(name string, f func(ctx context.Context) error) {
	w := c.w
	w.mu.Lock()
	c.busy = true
	w.note("%v: %s", c, name)
	w.mu.Unlock()
	w.ops.Go(func() {
		w.nap()
		err := f(context.Background())
		w.mu.Lock()
		defer w.mu.Unlock()
		c.busy = false
		if err != nil {
			w.note("%v: %s: %v", c, name, err)
		}
		var end *realtimetest.CloseError
		var refused *realtime.Error
		if err != nil && !errors.As(err, &end) && !errors.As(err, &refused) && !c.left && !c.node.closing && c.over.IsZero() {
			w.violate("R5", "%v: %s: %v", c, name, err)
		}
	})
}

// isRefused reports whether a hub has refused with one of these codes.
func isRefused(err error, codes ...uint32) bool {
	var e *realtime.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// whoami asks the hub whose connection this is.
func (c *client) whoami() {
	c.do("whoami", func(ctx context.Context) error {
		answer, err := c.c.RPC(ctx, "whoami", nil)
		c.w.mu.Lock()
		defer c.w.mu.Unlock()
		if want := fmt.Sprintf("%q", c.life.user+" "+c.life.id); err == nil && string(answer) != want {
			c.w.violate("R3", "%v is %s to its hub", c, answer)
		}
		return err
	})
}

// refresh presents another token: of the same session, or not.
func (c *client) refresh(b bearer) {
	foreign := b.session != c.life.id
	b.expires = b.expires.Truncate(time.Millisecond)
	c.do("refresh", func(ctx context.Context) error {
		c.w.mu.Lock()
		began, versions := time.Now(), map[string]int{}
		for _, channel := range channels {
			versions[channel] = c.access(channel).version
		}
		c.foreign = c.foreign || foreign
		before := c.expires
		if !foreign { // from when on the other counts the client can't know
			c.expires, c.earliest = later(before, b.expires), earlier(before, b.expires)
		}
		c.w.mu.Unlock()
		counts.refreshed.Add(1)
		err := c.c.Refresh(ctx, b.text())
		c.w.mu.Lock()
		defer c.w.mu.Unlock()
		switch {
		case err == nil && foreign:
			c.w.violate("R3", "%v is refreshed with a token of %s", c, b.user)
		case err == nil:
			c.expires, c.earliest = b.expires, b.expires
			if !c.life.ended.IsZero() && c.life.ended.Before(began) {
				c.w.violate("R3", "%v is refreshed after its session has ended", c)
			}
			for channel, version := range versions { // not of what has changed meanwhile: version is compared
				c.asked[channel] = asked{version, time.Now()}
			}
		default:
			c.expires, c.earliest = before, before
		}
		return err
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
