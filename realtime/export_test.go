package realtime

import "sync/atomic"

// ParseCommand is parseCommand for the fuzz test.
func ParseCommand(line []byte) bool {
	_, ok := parseCommand(line)
	return ok
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
