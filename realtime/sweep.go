package realtime

import (
	"context"
	"time"
)

// sweep turns the wheel until the hub closes.
func (h *Hub) sweep() {
	defer h.wg.Done()
	ticker := time.NewTicker(wheelTick)
	defer ticker.Stop()
	var due []*conn
	turned := time.Now()
	var measured time.Time
	for {
		select {
		case <-h.stop:
			return
		case <-ticker.C:
		}
		now := time.Now()
		// A ticker skips beats when it is late; the wheel must not.
		for ; now.Sub(turned) >= wheelTick; turned = turned.Add(wheelTick) {
			due = h.wheel.turn(due)
		}
		for _, c := range due {
			if next := c.look(now); next > 0 {
				h.wheel.putBack(c, next)
			}
		}
		clear(due)
		due = due[:0]
		h.watch.check(now)
		if m := h.o.Metrics; m != nil && now.Sub(measured) >= time.Second {
			measured = now
			s := h.Snapshot(0)
			m.Gauges(s.Connections, s.Subscriptions, s.QueueBytes)
		}
	}
}

// look does what is due for a connection and returns when to look again; zero
// when it needs no more looking after.
func (c *conn) look(now time.Time) time.Duration {
	o := &c.hub.o
	stuck := c.wire.stuck(now)

	c.mu.Lock()
	switch {
	case c.ended:
		c.mu.Unlock()
		return 0
	case c.closed:
		left := c.forceAt.Sub(now)
		c.mu.Unlock()
		if left <= 0 {
			c.wire.kill()
			return 0
		}
		return left
	}
	var bad *disconnect
	ping, renew, doubt := false, false, false
	next := o.PingInterval
	switch {
	case stuck > o.WriteTimeout:
		bad = &closeSlow
	case c.state != connected:
		if left := c.connectBy.Sub(now); left > 0 || c.busy {
			next = max(left, wheelTick)
		} else {
			bad = &closeNoConnect
		}
	case !c.expires.IsZero() && !now.Before(c.expires):
		switch late := now.Sub(c.expires); {
		case c.token:
			bad = &closeExpired
		case late >= doubtFor:
			bad = &closeUnknown
		default:
			doubt, next = true, doubtFor-late
		}
	case c.pinged && !now.Before(c.pongBy):
		switch {
		case c.busy: // the reader is in a command and can't see the pong
			next = time.Second
		case stuck > 0: // the ping may be waiting still, and the peer is reading
			c.pongBy, next = now.Add(o.PongTimeout), time.Second
		default:
			bad = &closeNoPong
		}
	default:
		if !c.pinged && !now.Before(c.pingAt) {
			ping, c.pinged = true, true
			c.pongBy = now.Add(o.PongTimeout)
			c.pingAt = now.Add(o.PingInterval)
		}
		next = c.pingAt.Sub(now)
		if c.pinged {
			next = c.pongBy.Sub(now)
		}
		if !c.expires.IsZero() {
			next = min(next, c.expires.Sub(now))
		}
		if stuck > 0 {
			next = min(next, o.WriteTimeout-stuck+wheelTick)
		}
	}
	if !c.renewAt.IsZero() {
		if renew = !now.Before(c.renewAt); renew {
			c.renewAt = time.Time{}
		} else {
			next = min(next, c.renewAt.Sub(now))
		}
	}
	c.mu.Unlock()

	if bad != nil {
		c.disconnect(*bad)
		return 0 // disconnect has scheduled the forced close
	}
	if renew {
		c.hub.spawn(c.renew)
	}
	if doubt {
		c.hub.spawn(c.outlived)
	}
	if ping {
		c.send(pingFrame)
	}
	return max(next, wheelTick)
}

// doubtFor is how long the sessions have to say whether one lives whose end, as
// it was when its cookie was presented, has come.
const doubtFor = time.Second

// outlived closes a connection whose session has reached that end. One that lives
// all the same has been given a longer life, as by signing in again: the client
// comes back and shows until when.
func (c *conn) outlived() {
	defer c.rescue("Sessions.Alive")
	ctx, cancel := context.WithTimeout(c.hub.ctx, doubtFor)
	defer cancel()
	c.mu.Lock()
	session := c.who.session
	c.mu.Unlock()
	alive, err := c.hub.sessions.Alive(ctx, session)
	switch {
	case err != nil:
		c.hub.warn("realtime: can't tell whether a session lives", "error", err)
		fallthrough
	case alive:
		c.disconnect(closeUnknown)
	default:
		c.disconnect(closeSessionEnded)
	}
}
