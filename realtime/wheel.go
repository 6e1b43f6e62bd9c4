package realtime

import (
	"sync"
	"time"
)

const (
	wheelTick  = 250 * time.Millisecond
	wheelSlots = 256
)

// wheel holds the next moment at which each connection needs a look: a ping, a
// missing pong, the expiry of a credential or a grant, a stuck write, a forced
// close. One goroutine turns it, so that a connection costs no timer. A moment
// further away than the wheel is round is looked at early and put back.
type wheel struct {
	mu    sync.Mutex
	slots [wheelSlots]*conn
	pos   int
}

// spoke is a connection's place on the wheel.
type spoke struct {
	prev, next *conn
	slot       int
	on         bool
}

// schedule moves c to the slot of a moment d from now.
func (w *wheel) schedule(c *conn, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(c)
	w.link(c, d)
}

// putBack is schedule for a connection that was looked at, unless somebody has
// scheduled it meanwhile.
func (w *wheel) putBack(c *conn, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !c.spoke.on {
		w.link(c, d)
	}
}

func (w *wheel) link(c *conn, d time.Duration) {
	ticks := min(max(int((d+wheelTick-1)/wheelTick), 1), wheelSlots-1)
	slot := (w.pos + ticks) % wheelSlots
	c.spoke = spoke{next: w.slots[slot], slot: slot, on: true}
	if c.spoke.next != nil {
		c.spoke.next.spoke.prev = c
	}
	w.slots[slot] = c
}

// remove takes c off the wheel.
func (w *wheel) remove(c *conn) {
	w.mu.Lock()
	w.unlink(c)
	w.mu.Unlock()
}

func (w *wheel) unlink(c *conn) {
	if !c.spoke.on {
		return
	}
	if c.spoke.prev != nil {
		c.spoke.prev.spoke.next = c.spoke.next
	} else {
		w.slots[c.spoke.slot] = c.spoke.next
	}
	if c.spoke.next != nil {
		c.spoke.next.spoke.prev = c.spoke.prev
	}
	c.spoke = spoke{}
}

// turn advances one tick and appends the connections that are due to buf.
func (w *wheel) turn(buf []*conn) []*conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pos = (w.pos + 1) % wheelSlots
	for w.slots[w.pos] != nil {
		c := w.slots[w.pos]
		w.unlink(c)
		buf = append(buf, c)
	}
	return buf
}

// cut closes the sockets of everyone on the wheel.
func (w *wheel) cut() {
	w.mu.Lock()
	var all []*conn
	for _, c := range w.slots {
		for ; c != nil; c = c.spoke.next {
			all = append(all, c)
		}
	}
	w.mu.Unlock()
	for _, c := range all {
		c.wire.kill()
	}
}
