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
	subs      map[string]*sub
	asked     map[string]asked // channel
}

// asked says that the rule was asked again for one connection.
type asked struct {
	version int
	at      time.Time
}

// sub is what a client knows of a channel.
type sub struct {
	joining  bool
	on       bool
	began    time.Time // subscribing
	held     []realtimetest.Push
	starts   []uint64 // where subscriptions began
	last     uint64
	epoch    string
	sequence map[string]int // publisher: the last that came
}

func (c *client) String() string {
	kind := "cookie"
	if c.token {
		kind = "token"
	}
	return fmt.Sprintf("client %d (%s, %v, node %d)", c.n, kind, c.life, c.node.n)
}

// connect begins a connection, which then enters channels.
func (w *world) connect(nd *node, l *life, token bool, expires time.Time, then []string) {
	c := &client{w: w, node: nd, life: l, token: token, expires: expires, earliest: expires, busy: true, began: time.Now(), subs: map[string]*sub{}, asked: map[string]asked{}}
	w.mu.Lock()
	c.n = len(w.clients)
	for _, channel := range channels {
		c.subs[channel] = &sub{sequence: map[string]int{}}
	}
	w.clients = append(w.clients, c)
	w.note("%v connects", c)
	w.mu.Unlock()
	counts.sockets.Add(1)
	w.ops.Go(func() {
		err := c.open()
		w.mu.Lock()
		defer w.mu.Unlock()
		now := time.Now()
		if err == nil {
			defer w.ops.Go(func() { c.enter(then) })
			c.connected, c.since = true, now
			w.note("%v is connected", c)
			if !l.ended.IsZero() && l.ended.Before(c.began) || l.expires.Before(c.began) {
				w.violate("R2", "%v connects after its session has ended", c)
			}
			c.late(now)
			return
		}
		w.note("%v is refused: %v", c, err)
		c.refused(err, now)
		if c.c != nil {
			c.left = true
			c.c.Cut()
		}
	})
}

// enter is the end of a connect.
func (c *client) enter(channels []string) {
	for _, channel := range channels {
		c.join(channel, nil)
	}
	c.w.mu.Lock()
	c.busy = false
	c.w.mu.Unlock()
}

func (c *client) open() (err error) {
	header, token := http.Header{}, ""
	if c.token {
		token = bearer{c.life.user, c.life.id, c.expires}.text()
	} else {
		header.Set("Cookie", c.life.cookie)
	}
	c.w.nap()
	opened, err := c.node.server.Dial(context.Background(), "/", header)
	if err != nil {
		return err
	}
	c.w.mu.Lock()
	c.c = opened
	c.w.mu.Unlock()
	c.w.nap()
	c.w.ops.Go(c.listen)
	_, err = opened.Connect(context.Background(), token)
	return err
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
		if !c.node.wasDown(c.began.Add(-time.Second), 0) { // it may take the hub so long to notice
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
		c.pushed(p, time.Now())
		c.w.mu.Unlock()
	}
}

// late checks that a connection that lives may. w.mu is held.
func (c *client) late(now time.Time) {
	nd, l := c.node, c.life
	exceeds := func(from time.Time, by time.Duration, rule, what string) {
		if now.After(from.Add(by)) {
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
	if c.connected {
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
		right = nd.wasDown(before, 0) && !c.connected || nd.wasDown(before, blindAfter-time.Second)
	case 3005:
		right = c.token && !now.Before(c.earliest.Add(tokenGrace))
	case 3012:
		right = c.muted
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
}

// ending reports whether somebody is about to end the session.
func (c *client) ending() bool {
	alive, err := c.w.admin.Alive(context.Background(), c.life.id)
	return err == nil && !alive
}

// pushed takes a push. w.mu is held.
func (c *client) pushed(p realtimetest.Push, now time.Time) {
	s := c.subs[p.Channel]
	if s == nil {
		if p.Message == nil || string(p.Message) != `"`+c.life.user+`"` {
			c.w.violate("R4", "%v gets %+v", c, p)
		}
		return
	}
	if p.Publication != nil {
		counts.received.Add(1)
		a := c.w.rights[right{c.life.user, p.Channel}]
		since := a.since(c.node, now)
		if own := c.asked[p.Channel]; own.version == a.version && a.denied(now) {
			if from := a.cutoff(own.at); since.IsZero() || from.Before(since) {
				since = from
			}
		}
		if !since.IsZero() && now.After(since) {
			c.w.violate("R3", "%v gets a publication of %s %v after its right was gone", c, p.Channel, now.Sub(since))
		}
	}
	if s.joining {
		s.held = append(s.held, p)
		return
	}
	c.take(s, p, now)
}

// published is what is in a publication.
type published struct {
	By string
	N  int
}

func (c *client) take(s *sub, p realtimetest.Push, now time.Time) {
	switch {
	case p.Publication != nil:
		c.received(s, p.Channel, p.Publication)
	case p.Unsubscribe != nil:
		s.on = false
		c.w.note("%v is put out of %s: %d %s", c, p.Channel, p.Unsubscribe.Code, p.Unsubscribe.Reason)
		a := c.w.rights[right{c.life.user, p.Channel}]
		switch p.Unsubscribe.Reason {
		case "permission denied":
			if !a.denied(now) && a.last[lastDenied].Before(s.began) {
				c.w.violate("R3", "%v loses %s, which it has a right to", c, p.Channel)
			}
		case "permission unknown":
			if !a.unknown && a.last[lastUnknown].Before(s.began) {
				c.w.violate("R3", "%v loses %s for an unknown right, and it is known", c, p.Channel)
			}
		default:
			c.w.violate("R8", "%v loses %s: %d %s", c, p.Channel, p.Unsubscribe.Code, p.Unsubscribe.Reason)
		}
	}
}

// received checks the order of publications.
func (c *client) received(s *sub, channel string, p *realtime.Publication) {
	w := c.w
	var what published
	if err := json.Unmarshal(p.Data, &what); err != nil {
		w.violate("R8", "%v gets %s in %s", c, p.Data, channel)
		return
	}
	if what.N <= s.sequence[what.By] {
		w.violate("R8", "%v gets %s in %s after %d", c, p.Data, channel, s.sequence[what.By])
	}
	s.sequence[what.By] = what.N
	if p.Offset == 0 {
		return
	}
	before := w.data[channel][p.Offset]
	if before == "" {
		if w.data[channel] == nil {
			w.data[channel] = map[uint64]string{}
		}
		w.data[channel][p.Offset] = string(p.Data)
	} else if before != string(p.Data) {
		w.violate("R8", "%v gets %s at %d in %s, and others got %s", c, p.Data, p.Offset, channel, before)
	}
	for p.Offset != s.last+1 {
		if len(s.starts) == 0 {
			w.violate("R8", "%v gets %d in %s after %d", c, p.Offset, channel, s.last)
			break
		}
		s.last, s.starts = max(s.last, s.starts[0]), s.starts[1:]
	}
	s.last = p.Offset
}

// complete checks that a subscription that is live has everything. w.mu is held.
func (c *client) complete() {
	if !c.connected || !c.over.IsZero() || c.left {
		return
	}
	for channel, s := range c.subs {
		if !s.on || channel == "plain:c" {
			continue
		}
		_, top, err := c.w.broker.Read(context.Background(), channel, realtime.ReadFilter{Keep: realtime.Keep{Size: 1000, TTL: time.Hour}})
		has := s.last
		for _, start := range s.starts {
			has = max(has, start)
		}
		if err != nil || has != top.Offset {
			c.w.violate("R8", "%v has %s up to %d, and there are %d (%v)", c, channel, has, top.Offset, err)
		}
	}
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

func (c *client) subscribe(channel string, recover bool) {
	s := c.subs[channel]
	c.w.mu.Lock()
	var since *realtime.Position
	if recover && s.epoch != "" {
		since = &realtime.Position{Offset: s.last, Epoch: s.epoch}
	}
	c.w.mu.Unlock()
	c.do("subscribe "+channel, func(context.Context) error { return c.join(channel, since) })
}

func (c *client) join(channel string, since *realtime.Position) error {
	s, w := c.subs[channel], c.w
	w.mu.Lock()
	began := time.Now()
	version := c.access(channel).version
	s.joining, s.began = true, began
	w.mu.Unlock()
	r, err := c.c.Subscribe(context.Background(), channel, since)
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	a := c.access(channel)
	switch {
	case err == nil:
		s.on = true
		w.note("%v is in %s", c, channel)
		if a.version == version && a.denied(began) {
			w.violate("R4", "%v subscribes to %s, which it has no right to", c, channel)
		}
		if r.Recoverable {
			s.epoch = r.Epoch
			if since == nil || !r.Recovered {
				s.starts = append(s.starts, r.Offset)
			} else if r.Offset != since.Offset {
				w.violate("R8", "%v recovers %s from %d, and gets %d on", c, channel, since.Offset, r.Offset)
			}
		}
		for i := range r.Publications {
			c.received(s, channel, &r.Publications[i])
		}
	case isRefused(err, 105):
		s.on = true
	case isRefused(err, 103):
		if a.version == version && !a.denied(now) {
			w.violate("R4", "%v is refused %s, which it has a right to", c, channel)
		}
	}
	s.joining = false
	held := s.held
	s.held = nil
	for _, p := range held {
		c.take(s, p, now)
	}
	return err
}

// access is what is granted in a channel. w.mu is held.
func (c *client) access(channel string) *access { return c.w.rights[right{c.life.user, channel}] }

func (c *client) unsubscribe(channel string) {
	c.do("unsubscribe "+channel, func(ctx context.Context) error {
		err := c.c.Unsubscribe(ctx, channel)
		c.w.mu.Lock()
		defer c.w.mu.Unlock()
		c.subs[channel].on = false
		return err
	})
}

func (c *client) publish(channel string) {
	n := 0
	c.do("publish to "+channel, func(ctx context.Context) error {
		c.w.mu.Lock()
		c.subs[channel].sequence["me"]++
		n = c.subs[channel].sequence["me"]
		began, a := time.Now(), c.access(channel)
		version, since := a.version, a.since(c.node, began)
		c.w.mu.Unlock()
		err := c.c.Publish(ctx, channel, message(fmt.Sprint("client ", c.n), n))
		c.w.mu.Lock()
		defer c.w.mu.Unlock()
		a = c.access(channel)
		if err == nil && a.version == version && !since.IsZero() && began.After(since) {
			c.w.violate("R4", "%v publishes to %s, which it has no right to", c, channel)
		}
		return err
	})
}

func message(by string, n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"By":%q,"N":%d}`, by, n))
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
