package realtime

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"
	"weak"
)

// ParseCommand is parseCommand for the fuzz test.
func ParseCommand(line []byte) bool {
	_, ok := parseCommand(line)
	return ok
}

// QuickCommand is what Hub.quick makes of a line, and what parseCommand does.
func QuickCommand(line []byte) (quick, full string, ok, fullOK bool) {
	var t task
	ok = new(Hub).quick(&t, line)
	if ok {
		b, err := json.Marshal(t.command)
		quick, ok = string(b), err == nil
	}
	q, fullOK := parseCommand(line)
	if fullOK {
		b, err := json.Marshal(q)
		full, fullOK = string(b), err == nil
	}
	return quick, full, ok, fullOK
}

// ScanJSON says whether b is one JSON value without space around it, and whether
// there is space within.
func ScanJSON(b []byte) (valid, spaced bool) {
	s := scanner{b: b, deep: maxDepth}
	return s.valueEnd(0) == len(b), s.spaced
}

// CommandContext is the context of a command of a hub whose own is given.
func CommandContext(hub context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	c := &lazyContext{hub: hub, deadline: deadline}
	return c, c.cancel
}

// EventFrames are the frames of publications in one round.
func EventFrames(channel string, data []string) []byte {
	events := make([]Event, len(data))
	for i, d := range data {
		events[i] = Event{Kind: EventPublication, Publication: Publication{Data: json.RawMessage(d)}}
	}
	return eventFrames(quote(channel), events, func(*Event) bool { return true })
}

// PlainReason is plainReason for the fuzz test.
func PlainReason(s string) string { return plainReason(s) }

// Afterwards says how often OnClose is called for a connection in some state
// whose end is noticed twice.
func Afterwards(letIn, closed, undone, busy bool) (calls int32) {
	var n atomic.Int32
	h := &Hub{o: Options{OnClose: func(*Conn, int, string) { n.Add(1) }}}
	c := newConn(h, "")
	c.hooked, c.closed, c.undone, c.busy = letIn, closed, undone, busy
	c.afterwards()
	c.afterwards()
	h.wg.Wait()
	return n.Load()
}

// Kept returns a function that says how many of the connections of now are still
// in memory.
func (h *Hub) Kept() func() int {
	var all []weak.Pointer[conn]
	for _, c := range h.everyone() {
		all = append(all, weak.Make(c))
	}
	return func() (n int) {
		for _, p := range all {
			if p.Value() != nil {
				n++
			}
		}
		return n
	}
}
