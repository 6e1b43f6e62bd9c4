package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// GroupOptions of a [Group].
type GroupOptions struct {
	// Overflow is as in a [Channel]. DropOldest sends State in place of what it
	// drops.
	Overflow Overflow

	// State is all a connection must know, and is sent to one that was added or
	// has lost messages, before those sent after it is called; what is sent
	// while it runs may be in it already. Defaults to nil: nothing.
	State func(c *Conn) json.RawMessage
}

// Group is a set of connections of this hub that are sent the same messages, as
// in a game. Connections leave it when they end; it need not be closed. Messages
// are encoded once for all and go out together, as in channels. Its methods may
// be called concurrently.
type Group struct {
	hub   *Hub
	o     GroupOptions
	topic topic
}

// NewGroup makes a group without connections. nil options are the defaults.
func (h *Hub) NewGroup(o *GroupOptions) (*Group, error) {
	g := &Group{hub: h}
	if o != nil {
		g.o = *o
	}
	if g.o.Overflow < Close || g.o.Overflow > Latest {
		return nil, errors.New("realtime: Overflow is Close, DropOldest or Latest")
	}
	if g.o.Overflow == DropOldest && g.o.State == nil {
		return nil, errors.New("realtime: a group that drops needs a State, so that readers who lost messages recover")
	}
	g.topic.init(h)
	g.topic.latest = g.o.Overflow == Latest
	return g, nil
}

// Add puts a connection into the group, unless it is in it. The only error is
// [ErrClosed].
func (g *Group) Add(c *Conn) error {
	s := &subscription{conn: c.c, group: g, overflow: g.o.Overflow, topic: &g.topic}
	if g.o.State != nil {
		s.phase, s.catching = behind, true
	}
	c.c.mu.Lock()
	closed := c.c.closed
	if closed || c.c.inGroup(g) >= 0 {
		c.c.mu.Unlock()
		if closed {
			return ErrClosed
		}
		return nil
	}
	c.c.groups = append(c.c.groups, s)
	c.c.mu.Unlock()

	g.topic.add(s)
	s.mu.Lock()
	gone := s.phase == over
	s.mu.Unlock()
	switch {
	case gone: // taken out before it was in
		g.topic.remove(s)
	case g.o.State != nil:
		g.hub.spawn(func() { g.catchUp(s) })
	default:
		g.open(s)
	}
	return nil
}

// Remove takes a connection out of the group. What waits for it is dropped.
func (g *Group) Remove(c *Conn) {
	c.c.mu.Lock()
	i := c.c.inGroup(g)
	if i < 0 {
		c.c.mu.Unlock()
		return
	}
	s := c.c.groups[i]
	c.c.groups = slices.Delete(c.c.groups, i, i+1)
	c.c.mu.Unlock()
	g.drop(s)
	c.c.wire.drop(s)
}

// inGroup is a group's place on the connection's list. c.mu is held.
func (c *conn) inGroup(g *Group) int {
	return slices.IndexFunc(c.groups, func(s *subscription) bool { return s.group == g })
}

// drop ends what a group sends to a connection that is off its list.
func (g *Group) drop(s *subscription) {
	s.mu.Lock()
	s.phase, s.early = over, nil
	s.mu.Unlock()
	g.topic.remove(s)
}

// Len is how many connections are in the group.
func (g *Group) Len() int {
	g.topic.mu.Lock()
	defer g.topic.mu.Unlock()
	return len(g.topic.subs)
}

// Send sends data to every connection in the group, as [Conn.Send]. It waits
// while they can't be served as fast as it is called, with Latest never; ctx
// bounds that.
func (g *Group) Send(ctx context.Context, data json.RawMessage) error {
	data, err := g.hub.sendable(data)
	if err != nil {
		return err
	}
	if err := g.hub.lockWithRoom(ctx, &g.topic); err != nil {
		return err
	}
	g.hub.deliver(&g.topic, Event{Kind: EventPublication, Publication: Publication{Data: data}})
	g.topic.mu.Unlock()
	return nil
}

// open lets messages through to a connection that is connected: first those it
// has been kept.
func (g *Group) open(s *subscription) {
	s.mu.Lock()
	res := g.openLocked(s)
	s.mu.Unlock()
	if res == sentFull {
		s.conn.disconnect(closeSlow)
	}
}

func (g *Group) openLocked(s *subscription) sent {
	s.conn.mu.Lock()
	ready := s.conn.state == connected
	s.conn.mu.Unlock()
	if !ready || s.phase != joining || s.catching {
		return sentOK
	}
	s.phase = live
	return s.pushEarly()
}

// lose is for a connection that messages can't be kept for. s.mu is held.
func (g *Group) lose(s *subscription) {
	s.early, s.earlySize = nil, 0
	if g.o.Overflow != DropOldest {
		s.phase = over
		g.hub.spawn(func() { s.conn.disconnect(closeSlow) })
		return
	}
	s.phase = behind
	if !s.catching {
		s.catching = true
		g.hub.spawn(func() { g.catchUp(s) })
	}
}

// catchUp sends a connection the whole state once its reader has taken all that
// waits: one that takes nothing is not worth one state after another.
func (g *Group) catchUp(s *subscription) {
	defer s.conn.rescue("GroupOptions.State")
	for s.conn.wire.await(0) {
		s.mu.Lock()
		if s.phase == over {
			s.mu.Unlock()
			return
		}
		s.phase = joining // what is sent from here on follows the state
		s.mu.Unlock()
		state := g.o.State(&s.conn.face)
		var frame []byte
		if len(state) > 0 {
			data, err := g.hub.sendable(state)
			if err != nil {
				g.hub.fault("realtime: GroupOptions.State", "error", err)
				s.conn.disconnect(closeInternal)
				return
			}
			frame = textFrame(messageLine(data))
		}
		res, again := sentOK, false
		s.mu.Lock()
		if s.phase == joining {
			s.early = slices.Insert(s.early, 0, &round{topic: &g.topic, count: 1, all: frame, pubs: frame})
			s.catching = false
			res = g.openLocked(s)
		} else {
			again = s.phase == behind // more came meanwhile than could be kept
		}
		s.mu.Unlock()
		if res == sentFull {
			s.conn.disconnect(closeSlow)
		}
		if !again {
			return
		}
	}
}

// Tick calls f every interval and sends the group what it returns, unless nil,
// until ctx ends, the hub is closed or Send fails, and returns that error. Ticks
// don't drift: number n is n intervals after the call. One that would be late by
// more than half an interval is left out.
func (g *Group) Tick(ctx context.Context, every time.Duration, f func(tick uint64) json.RawMessage) error {
	if every <= 0 {
		return errors.New("realtime: Tick needs an interval")
	}
	start := time.Now()
	timer := time.NewTimer(every)
	defer timer.Stop()
	for tick := time.Duration(1); ; {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-g.hub.ctx.Done():
			return ErrClosed
		}
		if late(start, tick, every) == 0 {
			if data := f(uint64(tick)); data != nil {
				if err := g.Send(ctx, data); err != nil {
					return err
				}
			}
			tick++
		}
		tick += late(start, tick, every)
		timer.Reset(time.Until(start.Add(tick * every)))
	}
}

// late is how many ticks from this one on can't be had any more.
func late(start time.Time, tick, every time.Duration) time.Duration {
	over := time.Since(start.Add(tick*every)) - every/2
	if over <= 0 {
		return 0
	}
	return (over + every - 1) / every
}
