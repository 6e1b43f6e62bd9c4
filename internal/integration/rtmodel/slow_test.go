package rtmodel_test

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

// Sizes by which a reader that stalls is behind after some pads, and a few
// publications more.
const (
	maxMessage = 8 << 10
	maxQueue   = 16 << 10
	onTheWay   = 64 << 10 // what a connection of realtimetest holds
	padSize    = maxQueue/2 - 512
)

// stall is what is known of a client that does not read, or has not always.
type stall struct {
	paused  bool
	from    time.Time // when it stopped reading, the last time
	full    time.Time // from when on what it is sent waits in the hub; zero: not known to
	until   time.Time // when it went on
	crammed bool      // what it is sent besides publications, as an answer, may not fit
}

// since reports whether the client has been slow since a moment.
func (s *stall) since(from time.Time) bool {
	return s.paused || !s.until.IsZero() && !s.until.Before(from)
}

// behind reports whether what a client sees now is what has waited for it.
func (s *stall) behind(now time.Time) bool { return s.paused || now.Equal(s.until) }

// ending is a connection's end as its hub sees it.
type ending struct {
	at   time.Time
	code int
}

// opened is Options.OnConnect.
func (nd *node) opened(_ context.Context, c *realtime.Conn) (json.RawMessage, error) {
	nd.w.mu.Lock()
	defer nd.w.mu.Unlock()
	nd.w.conns[c.ID()] = c
	return nil, nil
}

// ended is Options.OnClose.
func (nd *node) ended(c *realtime.Conn, code int, _ string) {
	nd.w.mu.Lock()
	defer nd.w.mu.Unlock()
	if _, twice := nd.w.ends[c.ID()]; twice {
		nd.w.violate("R5", "the end of %s is told twice", c.ID())
	}
	nd.w.ends[c.ID()] = ending{time.Now(), code}
}

// pad is a message that does nothing but fill.
func pad(n int) json.RawMessage { return json.RawMessage(`"` + padding[:n-2] + `"`) }

var padding = strings.Repeat("-", padSize)

func isPad(message json.RawMessage) bool { return len(message) > 2 && message[1] == padding[0] }

// hold has a client read nothing for a while, with so much on its way to it that
// room bytes are left in the hub's queue; a negative room: with nothing.
func (w *world) hold(c *client, d time.Duration, room int) {
	w.mu.Lock()
	conn := w.conns[c.id]
	c.busy = true
	c.stall = stall{paused: true, from: time.Now()}
	for _, s := range c.subs {
		c.stall.crammed = c.stall.crammed || s.moving
	}
	w.note("%v stops reading for %v, room for %d", c, d, room)
	counts.stalls.Add(1)
	w.mu.Unlock()
	c.c.Pause()
	if room >= 0 && conn != nil {
		w.cram(c, conn, room)
	}
	w.ops.Go(func() {
		time.Sleep(d + 500*time.Microsecond) // when nothing else happens
		w.mu.Lock()
		c.stall.paused, c.stall.until = false, time.Now()
		w.note("%v reads again", c)
		w.mu.Unlock()
		c.c.Resume()
		settle()
		w.mu.Lock()
		defer w.mu.Unlock()
		c.busy = false
		c.caughtUp()
	})
}

// cram fills a connection.
func (w *world) cram(c *client, conn *realtime.Conn, room int) {
	waiting := func() int {
		settle()
		for _, r := range c.node.hub.Snapshot(1000).Slowest {
			if r.Conn == c.id {
				return r.Bytes
			}
		}
		return 0
	}
	var err error
	for range 2 + onTheWay/padSize { // one of them is read
		if waiting() > 0 {
			break
		}
		err = conn.Send(pad(padSize))
	}
	const frame = 40 // of a message, besides its data
	for free := maxQueue - waiting() - room; free > 2*frame && err == nil; free = maxQueue - waiting() - room {
		err = conn.Send(pad(min(free-frame, padSize)))
	}
	full := waiting() > 0
	w.mu.Lock()
	defer w.mu.Unlock()
	c.stall.crammed = c.stall.crammed || err != nil
	if full {
		c.stall.full = time.Now()
	}
}

// caughtUp checks that who was slow and has read everything has missed nothing
// that it was not told of. w.mu is held.
func (c *client) caughtUp() {
	if end, over := c.w.ends[c.id]; over && end.at.Before(c.stall.until.Add(time.Millisecond)) {
		return
	}
	for channel := range c.subs {
		c.upToDate("R9", channel, c.w.depot.top(channel), c.stall.from)
	}
}

// upToDate checks that a client has all that a channel's history has, unless
// there was since a moment what may keep it from that. w.mu is held.
func (c *client) upToDate(rule, channel string, top realtime.Position, from time.Time) {
	s := c.subs[channel]
	switch {
	case !kept(channel), !s.on, s.moving, s.part, !c.over.IsZero(), c.left, c.node.closing:
	case c.node.troubled(from), c.waits(channel, from):
	case s.epoch != top.Epoch && top.Offset == 0: // nothing has been published that could tell
	case s.last != top.Offset || s.epoch != top.Epoch && c.w.lie.broker == nil:
		c.w.violate(rule, "%v has %s up to %d of %s, has not been told of more, and there is %v", c, channel, s.last, s.epoch, top)
	}
}

// waits reports whether the hub may keep from a client what is published until
// the rule has answered, or have put it out, since a moment.
func (c *client) waits(channel string, from time.Time) bool {
	a := c.access(channel)
	return a.denied(time.Now()) || !a.until.IsZero() || !a.changed.Before(from) || c.w.reasked(c.life.user, from)
}

// slowEnough reports whether a client may be closed for being slow: it has been,
// and not only for channels that drop instead. w.mu is held.
func (c *client) slowEnough(now time.Time) bool {
	s := &c.stall
	if s.from.IsZero() {
		return false
	}
	if end, known := c.w.ends[c.id]; known && end.at.Before(now) {
		now = end.at
	}
	const pings = 25 * time.Second
	pinged := now.Sub(c.since.Add(-time.Second))/pings != s.from.Sub(c.since.Add(time.Second))/pings
	if s.crammed || pinged || now.Sub(s.from) > 9*time.Second || !c.w.sent[c.life.user].Before(s.from) ||
		c.w.reasked(c.life.user, s.from) || c.node.troubled(s.from) {
		return true
	}
	for channel, sub := range c.subs {
		a := c.access(channel)
		if (sub.on || sub.moving) && (overflow(channel) == realtime.Close || sub.moving || a.denied(now) || !a.until.IsZero() || !a.changed.Before(s.from)) {
			return true
		}
	}
	return false
}
