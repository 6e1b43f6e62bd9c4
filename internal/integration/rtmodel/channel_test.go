package rtmodel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
)

// sub is what a client knows of a channel.
type sub struct {
	moving   bool // entering or leaving: what is pushed waits in held until it is known how that ended
	held     []realtimetest.Push
	on       bool
	served   bool      // the hub has put it in
	began    time.Time // entering
	fresh    bool      // what comes is what the hub sends to whoever enters
	part     bool      // much was recovered, and may not have been all
	newest   time.Time // when the last was published that came
	last     uint64
	epoch    string
	sequence map[string]int // publisher: the last that came
	next     map[string]int // node: the one that must come next, if something came since it began
}

// newSubs are those of a client that comes back, or of one that knows nothing.
func newSubs(before *client) map[string]*sub {
	subs := map[string]*sub{}
	for _, channel := range channels {
		s := &sub{sequence: map[string]int{}, next: map[string]int{}}
		if before != nil {
			old := before.subs[channel]
			s.last, s.epoch, s.sequence, s.next = old.last, old.epoch, maps.Clone(old.sequence), maps.Clone(old.next)
		}
		subs[channel] = s
	}
	return subs
}

// position is where a client goes on from; nil when it has never been there.
func (s *sub) position() *realtime.Position {
	if s.epoch == "" {
		return nil
	}
	return &realtime.Position{Offset: s.last, Epoch: s.epoch}
}

// settle waits until all is seen that has come before.
func settle() { time.Sleep(time.Nanosecond) }

// access is what is granted in a channel. w.mu is held.
func (c *client) access(channel string) *access { return c.w.rights[right{c.life.user, channel}] }

// pushed takes a push. w.mu is held.
func (c *client) pushed(p realtimetest.Push, now time.Time) {
	s := c.subs[p.Channel]
	if s == nil {
		if p.Message == nil || string(p.Message) != `"`+c.life.user+`"` && !isPad(p.Message) {
			c.w.violate("R4", "%v gets %+v", c, p)
		}
		return
	}
	if p.Publication != nil {
		counts.received.Add(1)
		if c.stall.behind(now) { // it may have been on its way for long
			now = c.w.publishedAt(p.Publication)
			s.newest = now
		}
		c.late(now)
		a := c.access(p.Channel)
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
	if s.moving {
		s.held = append(s.held, p)
		return
	}
	c.take(s, p, now)
}

func (c *client) take(s *sub, p realtimetest.Push, now time.Time) {
	switch {
	case p.Publication != nil:
		if !s.on {
			c.w.violate("R4", "%v gets a publication of %s, which it is not in", c, p.Channel)
		}
		c.received(s, p.Channel, p.Publication)
	case p.Unsubscribe != nil:
		s.on = false
		c.w.note("%v is put out of %s: %d %s", c, p.Channel, p.Unsubscribe.Code, p.Unsubscribe.Reason)
		c.putOut(s, p.Channel, p.Unsubscribe, now)
	}
}

// putOut checks why a client was put out of a channel.
func (c *client) putOut(s *sub, channel string, why *realtimetest.Unsubscribe, now time.Time) {
	a := c.access(channel)
	switch why.Reason {
	case "permission denied":
		if !a.denied(now) && a.last[lastDenied].Before(s.began) {
			c.w.violate("R3", "%v loses %s, which it has a right to", c, channel)
		}
	case "permission unknown":
		if !a.unknown && a.last[lastUnknown].Before(s.began) {
			c.w.violate("R3", "%v loses %s for an unknown right, and it is known", c, channel)
		}
	case "insufficient state":
		if !c.node.troubled(s.began) && !s.part && (overflow(channel) == realtime.Close || !c.stall.since(s.began)) {
			c.w.violate("R8", "%v loses %s for a gap, and there was none", c, channel)
		}
		c.again(channel)
	default:
		c.w.violate("R8", "%v loses %s: %d %s", c, channel, why.Code, why.Reason)
	}
	if s.served && why.Code >= 2500 {
		c.w.violate("R8", "%v is told to subscribe to %s again, which it never did", c, channel)
	}
}

// again enters a channel that the hub has told to enter again, mostly.
func (c *client) again(channel string) {
	w := c.w
	if w.pace.IntN(4) == 0 {
		return
	}
	w.ops.Go(func() {
		for range 10 {
			w.nap()
			if err := c.join(channel, true); !isRefused(err, 100) {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
}

// published is what is in a publication.
type published struct {
	By string
	N  int
	At time.Duration // since the run began
}

func (w *world) message(by string, n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"By":%q,"N":%d,"At":%d}`, by, n, time.Since(w.began)))
}

func (w *world) publishedAt(p *realtime.Publication) time.Time {
	var what published
	_ = json.Unmarshal(p.Data, &what) // received complains
	return w.began.Add(what.At)
}

// received checks the order of publications.
func (c *client) received(s *sub, channel string, p *realtime.Publication) {
	w := c.w
	var what published
	if err := json.Unmarshal(p.Data, &what); err != nil {
		w.violate("R8", "%v gets %s in %s", c, p.Data, channel)
		return
	}
	latest := overflow(channel) == realtime.Latest
	again := latest && s.fresh && what.N == s.sequence[what.By] // the newest, whether it has it or not
	if what.N <= s.sequence[what.By] && !again {
		w.violate("R8", "%v gets %s in %s after %d", c, p.Data, channel, s.sequence[what.By])
	}
	s.sequence[what.By] = what.N
	if next := s.next[what.By]; next > 0 && what.N != next {
		w.violate("R8", "%v gets %s in %s, and has not had %d", c, p.Data, channel, next)
	}
	if strings.HasPrefix(what.By, "node ") && !latest {
		s.next[what.By] = what.N + 1
	}
	if (p.Offset == 0) == kept(channel) {
		w.violate("R8", "%v gets offset %d in %s", c, p.Offset, channel)
	}
	if p.Offset == 0 {
		return
	}
	at := place{channel, s.epoch, p.Offset}
	before := w.data[at]
	if before == "" {
		w.data[at] = string(p.Data)
	} else if before != string(p.Data) {
		w.violate("R8", "%v gets %s at %d in %s, and others got %s", c, p.Data, p.Offset, channel, before)
	}
	if p.Offset != s.last+1 && !latest || p.Offset <= s.last {
		w.violate("R8", "%v gets %d in %s after %d", c, p.Offset, channel, s.last)
	}
	s.last = p.Offset
}

// complete checks that a subscription that is live has everything. w.mu is held.
func (c *client) complete() {
	if !c.connected || !c.over.IsZero() || c.left {
		return
	}
	for channel, s := range c.subs {
		if !s.on {
			continue
		}
		for _, nd := range c.w.nodes {
			by := fmt.Sprint("node ", nd.n)
			if s.sequence[by] != nd.sequence[channel] && overflow(channel) != realtime.Latest {
				c.w.violate("R8", "%v has %s up to %d of %s, and there are %d", c, channel, s.sequence[by], by, nd.sequence[channel])
			}
		}
		if !kept(channel) {
			continue
		}
		if top := c.w.depot.top(channel); s.last != top.Offset || s.epoch != top.Epoch && c.w.lie.broker == nil {
			c.w.violate("R8", "%v has %s up to %d of %s, and there is %v", c, channel, s.last, s.epoch, top)
		}
	}
}

func (c *client) subscribe(channel string, recover bool) {
	c.do("subscribe "+channel, func(context.Context) error { return c.join(channel, recover) })
}

// join enters a channel, unless the client is there.
func (c *client) join(channel string, recover bool) error {
	s, w := c.subs[channel], c.w
	w.mu.Lock()
	if s.on || s.moving {
		w.mu.Unlock()
		return nil
	}
	var since *realtime.Position
	if recover {
		since = s.position()
	}
	began, version := time.Now(), c.access(channel).version
	s.moving, s.served, s.began = true, false, began
	c.stall.crammed = c.stall.crammed || c.stall.paused
	w.mu.Unlock()
	r, err := c.c.Subscribe(context.Background(), channel, since)
	w.mu.Lock()
	defer w.mu.Unlock()
	a := c.access(channel)
	switch {
	case err == nil:
		if a.version == version && a.denied(began) {
			w.violate("R4", "%v subscribes to %s, which it has no right to", c, channel)
		}
		c.entered(channel, r, since)
	case isRefused(err, 103):
		if a.version == version && !a.denied(time.Now()) {
			w.violate("R4", "%v is refused %s, which it has a right to", c, channel)
		}
	case isRefused(err, 100):
		if !a.unknown && a.last[lastUnknown].Before(began) && !w.reasked(c.life.user, began) && !c.node.troubled(began) {
			w.violate("R5", "%v is told to try %s again, and nothing is the matter", c, channel)
		}
	}
	c.moved(s)
	return err
}

// entered is the end of entering a channel. w.mu is held.
func (c *client) entered(channel string, r realtimetest.Subscribed, since *realtime.Position) {
	s, w := c.subs[channel], c.w
	s.on = true
	w.note("%v is in %s", c, channel)
	if r.Recoverable != kept(channel) || r.Recovered && since == nil {
		w.violate("R8", "%v subscribes to %s from %v, and gets %+v", c, channel, since, r)
	}
	s.part = len(r.Publications) > 10
	if overflow(channel) == realtime.Latest {
		c.enteredLatest(channel, r, since)
		return
	}
	switch {
	case !r.Recoverable:
	case r.Recovered && (r.Offset != since.Offset || r.Epoch != since.Epoch):
		w.violate("R8", "%v recovers %s from %v, and gets %v on", c, channel, *since, r)
	case since != nil && r.Epoch == since.Epoch && !r.Recovered:
		w.violate("R8", "%v does not recover %s from %v, where nothing was lost", c, channel, *since)
	}
	if !r.Recovered {
		s.last, s.epoch = r.Offset, r.Epoch
		clear(s.next)
	}
	for i := range r.Publications {
		c.received(s, channel, &r.Publications[i])
	}
}

// enteredLatest is entered where only the newest counts. w.mu is held.
func (c *client) enteredLatest(channel string, r realtimetest.Subscribed, since *realtime.Position) {
	s := c.subs[channel]
	has := since != nil && *since == realtime.Position{Offset: r.Offset, Epoch: r.Epoch}
	if want := r.Offset > 0 && !has; len(r.Publications) > 1 || want != (len(r.Publications) == 1) || want && r.Publications[0].Offset != r.Offset {
		c.w.violate("R8", "%v enters %s from %v, and gets %+v", c, channel, since, r)
	}
	s.last, s.epoch = r.Offset, r.Epoch
	if len(r.Publications) == 1 {
		s.last, s.fresh = r.Offset-1, since == nil
		c.received(s, channel, &r.Publications[0])
		s.fresh = false
	}
}

// moved takes what was held while a client was entering or leaving. w.mu is held.
func (c *client) moved(s *sub) {
	held := s.held
	s.moving, s.held = false, nil
	for _, p := range held {
		c.take(s, p, time.Now())
	}
}

// seated is what the hub has put a client into that has connected. w.mu is held.
func (c *client) seated(subs map[string]realtimetest.Subscribed, versions map[string]int, since map[string]*realtime.Position) {
	for channel := range subs {
		if channel != served {
			c.w.violate("R4", "%v is put into %s", c, channel)
		}
	}
	s, a := c.subs[served], c.access(served)
	same := a.version == versions[served]
	if r, in := subs[served]; in {
		if same && a.denied(c.began) {
			c.w.violate("R4", "%v is put into %s, which it has no right to", c, served)
		}
		s.served = true
		c.entered(served, r, since[served])
	} else if c.life.user == servedTo && same && (a.unknown || !a.denied(time.Now())) { // who is left out comes back by connecting alone
		c.w.violate("R4", "%v is left out of %s, and nobody has refused it", c, served)
	}
}

func (c *client) unsubscribe(channel string) {
	c.do("unsubscribe "+channel, func(ctx context.Context) error {
		s, w := c.subs[channel], c.w
		w.mu.Lock()
		if s.moving {
			w.mu.Unlock()
			return nil
		}
		s.moving = true
		w.mu.Unlock()
		err := c.c.Unsubscribe(ctx, channel)
		settle()
		w.mu.Lock()
		defer w.mu.Unlock()
		c.moved(s)
		s.on = false
		return err
	})
}

func (c *client) publish(channel string) {
	n := 0
	c.do("publish to "+channel, func(ctx context.Context) error {
		c.w.mu.Lock()
		c.puts[channel]++
		n = c.puts[channel]
		began, a := time.Now(), c.access(channel)
		version, since := a.version, a.since(c.node, began)
		c.w.mu.Unlock()
		err := c.c.Publish(ctx, channel, c.w.message(fmt.Sprint("client ", c.n), n))
		c.w.mu.Lock()
		defer c.w.mu.Unlock()
		a = c.access(channel)
		if err == nil && a.version == version && !since.IsZero() && began.After(since) {
			c.w.violate("R4", "%v publishes to %s, which it has no right to", c, channel)
		}
		return err
	})
}
