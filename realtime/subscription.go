package realtime

import (
	"context"
	"sync"
	"time"
)

// phase is how far a subscription has come.
type phase uint8

const (
	joining phase = iota // what is published is kept for later
	live
	behind // of a group: nothing reaches it until it has been sent the whole state
	asking // live, but the grant has expired: what is published is kept until the rule has answered
	over
)

// subscription is one connection in one channel or group. What each delivery
// looks at comes first: at thousands of receivers, a delivery's cost besides the
// write is the memory it touches.
type subscription struct {
	conn     *conn
	mu       sync.Mutex
	phase    phase
	position bool // offsets are followed, and a gap is told
	grant    Grant
	offset   uint64
	epoch    string

	// What doesn't change, or not once it is live.
	channel  string
	group    *Group // nil: in a channel
	overflow Overflow
	served   bool   // of the server's making: the client can't subscribe again
	rights   uint64 // the connection's when the rule was asked; set before it is live
	place    int    // in its topic's list; guarded by topic.mu

	// Guarded by mu, as phase to epoch are.
	topic     *topic   // nil before enter
	partial   bool     // more was missed than one reply holds
	early     []*round // what came while joining
	earlySize int
	catching  bool // of a group: somebody is about to send it the whole state
	entered   bool // listed in presence
	announced bool // others were told of the join, or are being told
	telling   bool // are being told: whoever tells tells of the leave, too, if there is one meanwhile
	owed      bool // there is one
}

// deliver hands a round to one subscriber. It never waits.
func (s *subscription) deliver(r *round) {
	s.mu.Lock()
	res := sentOK
	switch s.phase {
	case joining, asking:
		if s.group != nil && s.overflow == Latest {
			s.early, s.earlySize = nil, 0
		}
		s.early = append(s.early, r)
		if s.earlySize += len(r.all); s.earlySize > s.conn.hub.o.MaxQueue {
			s.lose() // subscribe finds it so and asks the client to try again
		}
	case live:
		res = s.push(r)
	}
	s.mu.Unlock()
	if res == sentFull {
		s.conn.disconnect(closeSlow)
	}
}

// push sends a round. s.mu is held and s is live. sentFull means that the
// connection must be closed.
func (s *subscription) push(r *round) sent {
	b := r.pubs
	if s.grant.JoinLeave {
		b = r.all
	}
	if s.position && r.last > 0 {
		switch {
		case r.epoch != s.epoch || (r.first > s.offset+1 || r.broken && r.last > s.offset) && s.overflow != Latest:
			s.lose()
			return sentOK
		case r.first <= s.offset: // some or all of it was in the history read
			b = r.after(s.offset, s.grant.JoinLeave)
		}
		s.offset = max(s.offset, r.last)
	}
	if len(b) == 0 {
		return sentOK
	}
	res := s.conn.wire.send(chunk{b: b, sub: s, news: r.count > 0})
	if res == sentFull && s.overflow != Close {
		s.conn.wire.drop(s)
		s.lose()
		return sentOK
	}
	return res
}

// after makes the frames of what a round brings past an offset.
func (r *round) after(offset uint64, joins bool) []byte {
	return eventFrames(r.topic.name, r.events, func(e *Event) bool {
		if e.Kind == EventPublication {
			return e.Publication.Offset > offset
		}
		return joins
	})
}

// lose ends a subscription that has missed something, and tells the client so
// that it subscribes again and recovers. s.mu is held.
func (s *subscription) lose() {
	if s.phase == over {
		return
	}
	s.conn.hub.lost()
	if s.group != nil {
		s.group.lose(s)
		return
	}
	joined := s.phase != joining
	s.phase = over
	s.early = nil
	if joined { // one that is joining finds out by itself
		s.conn.hub.spawn(func() { s.conn.kick(s, unsubscribeGap) })
	}
}

// activate sends the frames of a subscribe's reply and makes the subscription
// live, so that nothing can come between the two. It returns false when the
// subscription ended meanwhile, or rights have changed since the rule was
// asked: from then on Hub.Reauthorize finds it live.
func (s *subscription) activate(reply func()) bool {
	s.mu.Lock()
	s.conn.mu.Lock()
	current := s.conn.rights == s.rights && !s.conn.closed
	s.conn.mu.Unlock()
	if s.phase != joining || !current {
		s.mu.Unlock()
		return false
	}
	reply()
	if s.partial { // the client has some of what it missed, and comes back for the rest
		s.phase, s.early = over, nil
		s.mu.Unlock()
		s.conn.kick(s, unsubscribeGap)
		return true
	}
	s.phase = live
	s.conn.renewBy(s.grant.Expires)
	res := s.pushEarly()
	s.mu.Unlock()
	if res == sentFull {
		s.conn.disconnect(closeSlow)
	}
	return true
}

// pushEarly sends what was kept. s.mu is held and s is live. sentFull is as of
// push.
func (s *subscription) pushEarly() (res sent) {
	early := s.early
	s.early, s.earlySize = nil, 0
	for _, r := range early {
		if s.phase == live && res == sentOK {
			res = s.push(r)
		}
	}
	return res
}

// end stops what a subscription sends, and says whether others see it.
func (s *subscription) end() (seen bool) {
	s.mu.Lock()
	s.phase, s.early = over, nil
	seen = s.entered || s.announced
	s.mu.Unlock()
	s.conn.wire.drop(s)
	return seen
}

// finish says what of a subscription others see, and that they no longer do.
func (s *subscription) finish() (entered, announced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entered, s.entered = s.entered, false
	return entered, s.silence()
}

// silence says whether the caller must tell others that the client has left.
// s.mu is held.
func (s *subscription) silence() bool {
	announced := s.announced
	s.announced = false
	if announced && s.telling {
		s.owed = true
		return false
	}
	return announced
}

// leave undoes a subscription on the hub and at the broker.
func (h *Hub) leave(s *subscription) {
	s.end()
	h.exit(s)
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	h.vanish(ctx, s)
}

// leaveAll undoes the subscriptions of a connection. Of one whose client may be
// back soon, others don't learn before LeaveGrace is over or the hub closes.
func (h *Hub) leaveAll(subs map[string]*subscription, back bool) {
	seen := false
	for _, s := range subs {
		seen = s.end() || seen
		h.exit(s)
	}
	if back && seen && h.o.LeaveGrace > 0 {
		timer := time.NewTimer(h.o.LeaveGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-h.ctx.Done():
		}
	}
	// One time for all: a broker that hangs must not delay Close by one for each.
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	for _, s := range subs {
		h.vanish(ctx, s)
	}
}

// vanish takes a subscription that has ended out of what others see.
func (h *Hub) vanish(ctx context.Context, s *subscription) {
	entered, announced := s.finish()
	if entered {
		h.leavePresence(ctx, s)
	}
	if announced {
		h.announce(ctx, s, EventLeave)
	}
}

// announce tells a channel of a join or leave. That it may get lost is in the
// nature of the thing: presence is what can be asked.
func (h *Hub) announce(ctx context.Context, s *subscription, kind EventKind) {
	if err := h.o.Broker.Publish(ctx, s.channel, Event{Kind: kind, Client: *s.conn.info}); err != nil {
		h.warn("realtime: join or leave", "error", err)
	}
}

// unsubscribed is why the server ends a subscription. Codes below 2500 are
// final; from there on the client subscribes again.
type unsubscribed struct {
	Code   uint32 `json:"code"`
	Reason string `json:"reason"`
}

var (
	unsubscribeDenied  = unsubscribed{2000, "permission denied"}
	unsubscribeGap     = unsubscribed{2500, "insufficient state"}
	unsubscribeUnknown = unsubscribed{2500, "permission unknown"}
)

// kick ends a subscription from the server's side and tells the client, in one
// step: told later, it could end what the client has subscribed to meanwhile.
func (c *conn) kick(s *subscription, why unsubscribed) {
	if s.served && why.Code >= unsubscribeGap.Code {
		c.disconnect(closeState) // SDKs come back to these channels by connecting alone
		return
	}
	frame := textFrame(unsubscribeLine(s.channel, why))
	s.mu.Lock()
	c.mu.Lock()
	there, res := c.subs[s.channel] == s, sentOK
	left := make(chan struct{})
	if there {
		delete(c.subs, s.channel)
		if c.leaving == nil {
			c.leaving = map[string]chan struct{}{}
		}
		c.leaving[s.channel] = left
		s.phase, s.early = over, nil
		c.wire.drop(s)
		res = c.wire.tell(frame)
	}
	c.mu.Unlock()
	s.mu.Unlock()
	if res == sentFull {
		c.disconnect(closeSlow)
	}
	if there {
		c.hub.leave(s)
		c.mu.Lock()
		if c.leaving[s.channel] == left {
			delete(c.leaving, s.channel)
		}
		c.mu.Unlock()
		close(left)
	}
}

// forget takes a subscription off the connection's list. It returns false when
// it wasn't there: whoever took it off does the rest.
func (c *conn) forget(s *subscription) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs[s.channel] != s {
		return false
	}
	delete(c.subs, s.channel)
	return true
}
