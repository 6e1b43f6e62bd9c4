package realtime

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// errNotControl says that the WebSocket library wrote something other than one
// whole control frame. Its bytes could be split by ours, so the connection ends.
var errNotControl = errors.New("realtime: the WebSocket library wrote a partial frame")

// closeWait is how long a peer has to take a close frame and answer it.
const closeWait = 5 * time.Second

// inboxSize is what a connection has room for while nobody reads from it: more
// than most commands need, as what doesn't fit takes another read.
const inboxSize = 256

// controlRoom is what control frames, and what tells a reader of a gap, may take
// beyond the queue's limit.
const controlRoom = 4 << 10

// wire is the outgoing half of a connection. Whole frames go in, from the hub
// and from the WebSocket library (pongs and closes alone), and leave in that
// order. Nothing here waits for the peer but drain, which runs only while
// something is queued.
type wire struct {
	mu       sync.Mutex
	draining bool // a drain goroutine is running
	sealed   bool // a close frame is queued or out: RFC 6455 section 5.5.1, no data after it
	dead     bool
	closing  bool    // close once drained
	raw      rawConn // not usable: always through the queue, as under TLS

	net.Conn
	limit int           // bytes that may wait
	early []byte        // what is read and not yet taken: by raw, or by the HTTP server beyond the request
	ahead *bufio.Reader // what the WebSocket library has taken and not yet used

	moved   sync.Cond // of mu: something left the queue, or all is over
	queue   []chunk
	size    int       // bytes queued and being written
	blocked time.Time // since when drain waits for the peer
}

// chunk is one or more whole frames. It is shared by all receivers and never
// written to.
type chunk struct {
	b     []byte
	sub   *subscription // whose it is; nil: the connection's
	news  bool          // holds publications: with Latest, what waits for sub is old
	begun bool          // part of it is out: the rest must follow
	lent  bool          // b is the sender's again once it is sent or queued: a queue keeps a copy
}

// sent says what became of a chunk.
type sent int

const (
	sentOK sent = iota
	sentFull
	sentClosed
)

func (w *wire) init(c net.Conn, early []byte, limit int) {
	w.Conn, w.early, w.limit = c, early, limit
	w.raw.init(c)
	size := inboxSize
	if w.raw.usable() {
		size = 16 // what comes is in raw's already
	}
	w.ahead = bufio.NewReaderSize(w, size)
	w.moved.L = &w.mu
}

// Read reads for the WebSocket library.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(p, w.early)
		if w.early = w.early[n:]; len(w.early) == 0 {
			w.early = nil
		}
		return n, nil
	}
	return w.Conn.Read(p)
}

// more reports whether there is something to read that need not be waited for.
func (w *wire) more() bool { return len(w.early) > 0 || w.ahead.Buffered() > 0 }

// wait returns once the peer has sent something, or never will. Pings and pongs
// that come between messages are dealt with here: the library would go on to wait
// for a message. The caller has read a message to its end.
func (w *wire) wait() {
	for !w.more() {
		b := w.raw.wait()
		if len(b) == 0 {
			return
		}
		w.early = w.controls(b)
	}
}

// controls answers the pings that b begins with, and returns what follows. What
// isn't all there, or not as it should be, is for the library.
func (w *wire) controls(b []byte) []byte {
	const masked, head = 0x80, 6
	for len(b) >= head && (b[0] == framePing || b[0] == framePong) && b[1]&masked != 0 {
		n := int(b[1] &^ masked)
		if n > 125 || len(b) < head+n {
			break
		}
		if b[0] == framePing {
			pong := append(make([]byte, 0, 2+n), framePong, byte(n))
			for i, c := range b[head : head+n] {
				pong = append(pong, c^b[2+i%4])
			}
			if _, err := w.Write(pong); err != nil {
				break
			}
		}
		b = b[head+n:]
	}
	return b
}

// text takes a message that has come in one frame, as most do, and returns it. It
// is good until the next wait. What else has come is for the library. The caller
// has read a message to its end.
func (w *wire) text(limit int) (payload []byte, ok bool) {
	const masked, medium = 0x80, 126
	if w.ahead.Buffered() > 0 {
		return nil, false
	}
	b := w.early
	if len(b) < 6 || b[0] != frameText || b[1]&masked == 0 {
		return nil, false
	}
	n, head := int(b[1]&^masked), 6
	if n == medium && len(b) >= 8 {
		n, head = int(binary.BigEndian.Uint16(b[2:])), 8
	} else if n >= medium {
		return nil, false
	}
	if n > limit || len(b) < head+n {
		return nil, false
	}
	key := uint64(binary.LittleEndian.Uint32(b[head-4:]))
	key |= key << 32
	payload, w.early = b[head:head+n], b[head+n:]
	rest := payload
	for ; len(rest) >= 8; rest = rest[8:] {
		binary.LittleEndian.PutUint64(rest, binary.LittleEndian.Uint64(rest)^key)
	}
	for i := range rest {
		rest[i] ^= byte(key >> (8 * i))
	}
	return payload, true
}

// Write takes a control frame of the WebSocket library, whole. It doesn't wait.
func (w *wire) Write(p []byte) (int, error) {
	if len(p) < 2 || p[0]&0x88 != 0x88 || len(p) != 2+int(p[1]) {
		w.kill()
		return 0, errNotControl
	}
	w.mu.Lock()
	if w.sealed || w.dead {
		w.mu.Unlock()
		return len(p), nil // a close is out already; what comes after it is dropped
	}
	w.sealed = p[0] == frameClose
	res := w.put(chunk{b: bytes.Clone(p)}, w.limit+controlRoom)
	w.mu.Unlock()
	if res == sentFull { // pings without end, and nothing read
		w.kill()
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// send writes or queues whole frames.
func (w *wire) send(c chunk) sent { return w.sendWithin(c, w.limit) }

// tell is send for a short frame that must not fail for want of room.
func (w *wire) tell(frame []byte) sent {
	return w.sendWithin(chunk{b: frame}, w.limit+controlRoom)
}

func (w *wire) sendWithin(c chunk, limit int) sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed || w.dead {
		return sentClosed
	}
	return w.put(c, limit)
}

// seal queues a close frame as the last. With discard, what waits before it is
// dropped.
func (w *wire) seal(frame []byte, discard bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed || w.dead {
		return
	}
	if discard {
		w.removeQueued(func(chunk) bool { return true })
	}
	w.sealed = true
	w.put(chunk{b: frame}, w.size+len(frame))
	w.moved.Broadcast()
}

// await waits until no more than limit bytes wait for the peer. It returns
// false when nothing can be sent any more. The sweeper ends what takes too long.
func (w *wire) await(limit int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.size > limit && !w.sealed && !w.dead {
		w.moved.Wait()
	}
	return !w.sealed && !w.dead
}

// drop removes what waits for a subscription.
func (w *wire) drop(sub *subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removeQueued(func(c chunk) bool { return c.sub == sub })
}

func (w *wire) removeQueued(match func(chunk) bool) {
	kept := w.queue[:0]
	for _, c := range w.queue {
		if !c.begun && match(c) {
			w.size -= len(c.b)
			continue
		}
		kept = append(kept, c)
	}
	clear(w.queue[len(kept):])
	w.queue = kept
}

// put writes what the socket takes at once and queues the rest. w.mu is held.
func (w *wire) put(c chunk, limit int) sent {
	if !w.draining && w.raw.usable() {
		n, err := w.raw.write(c.b)
		if err != nil {
			w.die()
			return sentClosed
		}
		if n == len(c.b) {
			return sentOK
		}
		c.b, c.begun = c.b[n:], n > 0
	}
	if c.news && c.sub.overflow == Latest && !c.begun {
		w.removeQueued(func(q chunk) bool { return q.sub == c.sub })
	}
	if !c.begun && w.size+len(c.b) > limit {
		return sentFull
	}
	if c.lent {
		c.b, c.lent = bytes.Clone(c.b), false
	}
	w.queue = append(w.queue, c)
	w.size += len(c.b)
	if !w.draining {
		w.draining = true
		w.blocked = time.Now()
		go w.drain()
	}
	return sentOK
}

// scratch holds what one write under TLS joins.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// drain writes the queue until it is empty. It is the only place that waits for
// the peer; the sweeper ends it when it waits too long.
func (w *wire) drain() {
	var buffers net.Buffers
	for {
		w.mu.Lock()
		if w.dead || len(w.queue) == 0 {
			if w.closing {
				w.die()
			}
			w.draining, w.blocked, w.queue = false, time.Time{}, nil
			w.moved.Broadcast()
			w.mu.Unlock()
			return
		}
		n, size := 0, 0
		buffers = buffers[:0]
		if first := &w.queue[0]; len(first.b) > maxFrame {
			// In pieces, so that a peer that takes them slowly is seen to take them.
			size = maxFrame
			buffers = append(buffers, first.b[:size])
			first.b, first.begun = first.b[size:], true
		}
		for size < maxFrame && n < len(w.queue) && n < 64 && (n == 0 || size+len(w.queue[n].b) <= maxFrame) {
			size += len(w.queue[n].b)
			n++
		}
		for _, c := range w.queue[:n] {
			buffers = append(buffers, c.b)
		}
		clear(w.queue[:n])
		w.queue = w.queue[n:]
		w.blocked = time.Now()
		w.mu.Unlock()

		err := w.writeAll(buffers)

		w.mu.Lock()
		w.size -= size
		if err != nil {
			w.die()
		}
		w.moved.Broadcast()
		w.mu.Unlock()
	}
}

func (w *wire) writeAll(buffers net.Buffers) error {
	if w.raw.usable() {
		rest := buffers // WriteTo consumes it
		_, err := rest.WriteTo(w.Conn)
		return err
	}
	b := scratch.Get().(*[]byte)
	defer func() { *b = (*b)[:0]; scratch.Put(b) }()
	for i, p := range buffers {
		*b = append(*b, p...)
		if i == len(buffers)-1 || len(*b)+len(buffers[i+1]) > 16<<10 {
			if _, err := w.Conn.Write(*b); err != nil {
				return err
			}
			*b = (*b)[:0]
		}
	}
	return nil
}

// stuck says for how long the peer has taken nothing.
func (w *wire) stuck(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.draining || w.blocked.IsZero() {
		return 0
	}
	return now.Sub(w.blocked)
}

// waiting says how many bytes wait for the peer, and for how long it has taken
// nothing.
func (w *wire) waiting(now time.Time) (bytes int, stalled time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size > 0 && !w.blocked.IsZero() {
		stalled = now.Sub(w.blocked)
	}
	return w.size, stalled
}

// die gives the connection up. w.mu is held.
func (w *wire) die() {
	if !w.dead {
		w.dead, w.queue, w.size = true, nil, 0
		_ = w.Conn.Close()
		w.moved.Broadcast()
	}
}

// kill closes the connection at once.
func (w *wire) kill() {
	w.mu.Lock()
	w.die()
	w.mu.Unlock()
}

// Close closes the connection once what is queued is out, which may take
// closeWait. It doesn't wait for that.
func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining && !w.dead {
		w.closing = true
		_ = w.Conn.SetWriteDeadline(time.Now().Add(closeWait))
		return nil
	}
	w.die()
	return nil
}

// linger lets a peer that is still sending read the close frame: closing a
// socket with unread bytes resets it and may destroy what is on its way.
func (w *wire) linger() {
	w.mu.Lock()
	sealed, dead := w.sealed, w.dead
	w.mu.Unlock()
	if sealed && !dead {
		if c, ok := w.Conn.(interface{ CloseWrite() error }); ok && w.raw.usable() {
			_ = w.Conn.SetReadDeadline(time.Now().Add(time.Second))
			w.mu.Lock()
			idle := !w.draining
			w.mu.Unlock()
			if idle {
				_ = c.CloseWrite()
			}
			_, _ = io.CopyN(io.Discard, w.Conn, 256<<10)
		}
	}
	_ = w.Close()
	w.mu.Lock()
	for w.draining { // bounded by the deadline Close has set
		w.moved.Wait()
	}
	w.mu.Unlock()
}
