package realtime

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// state is how far a connection has come.
type state uint8

const (
	opened     state = iota // the socket is open
	connecting              // connect is being answered
	connected
)

// conn is one connection. Lock order: subscription.mu, then conn.mu, then
// Hub.mu, wheel.mu and wire.mu.
type conn struct {
	hub  *Hub
	id   string
	addr string
	face Conn // as handlers see it
	ws   *websocket.Conn
	wire wire

	mu      sync.Mutex
	state   state
	closed  bool // a close frame is out or the peer is gone: nothing more is done for it
	ended   bool // the socket is closed
	busy    bool // a command is running; the reader waits for it
	token   bool // came by a token, which must be refreshed
	pinged  bool // a ping awaits its pong
	who     Identity
	info    *ClientInfo
	request *http.Request // the handshake, until connect
	subs    map[string]*subscription
	leaving map[string]chan struct{} // channels the server has put it out of; closed when it has left them
	rights  uint64                   // raised whenever rules must be asked again
	running *lazyContext             // of the command that is running
	groups  []*subscription
	held    []byte     // frames of handlers that wait for the connect reply
	bye     disconnect // why it was closed
	hooked  bool       // OnClose is still to be called
	undone  bool       // closed, and found nowhere any more

	connectBy time.Time
	pingAt    time.Time
	pongBy    time.Time
	expires   time.Time // when the credential's time is over, grace included
	renewAt   time.Time // when a subscription's grant expires
	forceAt   time.Time // when a closed connection is cut

	bucket bucket  // used by the reader's commands alone
	streak int     // likewise: of messages that came soon after the one before
	deep   bool    // the reader's stack has grown
	out    *[]byte // likewise: answers not yet sent; nil: none

	spoke spoke // guarded by wheel.mu
	kin   [2]kin
	used  atomic.Int64 // when the sessions were last told that this one is, in ns of Unix time
}

func newConn(h *Hub, addr string) *conn {
	now := time.Now()
	c := &conn{
		hub:       h,
		id:        randomID(),
		addr:      addr,
		connectBy: now.Add(h.o.ConnectTimeout),
		bucket:    bucket{level: float64(2 * h.o.CommandsPerSec), at: now},
	}
	c.face.c = c
	c.used.Store(now.UnixNano()) // connecting tells them
	return c
}

// messages are read into buffers that are shared by all connections.
var messages = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// read is the connection's one goroutine. Where the socket can be waited for by
// itself, all it does is wait, on the smallest stack there is: what comes is read
// and handled by a worker, unless the connection is lively.
func (c *conn) read() {
	p, replaced := parting{}, false
	defer func() {
		if !replaced {
			if !p.over { // a handler has ended the goroutine
				c.disconnect(closeInternal)
			}
			c.end(p.bye, p.back)
			c.hub.wg.Done()
		}
	}()
	for !p.over {
		if c.wire.raw.usable() {
			c.wire.wait()
			p = c.hub.employ(c, nil)
		} else {
			p = c.readNext(nil)
		}
		if c.deep && c.streak == 0 && !p.over {
			c.deep, replaced = false, true
			go c.read()
			return
		}
	}
}

// parting says whether a connection's reading is over, why, and whether the
// client may be back soon.
type parting struct {
	over, back bool
	bye        disconnect
}

// readNext reads and handles the next message. With a task, it is a worker's
// stack that it runs on.
func (c *conn) readNext(t *task) parting {
	lost := parting{over: true, back: true, bye: closeLost}
	// A context that can't be cancelled costs nothing; the wire is what ends reads.
	typ, r, err := c.ws.Reader(context.Background())
	if err != nil {
		bye, back := farewell(err)
		return parting{over: true, back: back, bye: bye}
	}
	if c.isClosed() {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return lost
		}
		return parting{}
	}
	if !c.readMessage(typ, r, t) {
		return lost
	}
	return parting{}
}

// readMessage reads and handles one message. It returns false when the
// connection is broken.
func (c *conn) readMessage(typ websocket.MessageType, r io.Reader, t *task) bool {
	buf := messages.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= 64<<10 {
			*buf = (*buf)[:0]
			messages.Put(buf)
		}
	}()
	b := (*buf)[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		*buf = b
		if len(b) > c.hub.o.MaxMessage {
			c.disconnect(closeTooBig)
			_, err := io.Copy(io.Discard, r)
			return err == nil
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false
		}
	}
	c.take(typ, b, t)
	return true
}

// take handles a message that has been read.
func (c *conn) take(typ websocket.MessageType, b []byte, t *task) {
	// Invalid UTF-8 would reach other clients inside of their JSON, and make
	// their browsers give up the connection (RFC 6455 section 8.1).
	if typ != websocket.MessageText || !utf8.Valid(b) {
		c.disconnect(closeBadRequest)
		return
	}
	if string(b) == "{}" {
		c.streak = 0
		if !c.pong() {
			c.disconnect(closeBadRequest)
		}
		return
	}
	if t == nil {
		c.hub.employ(c, b)
		return
	}
	t.message = b
	c.handle(t)
	t.message = nil
}

// serve does a worker's job: to handle the message of the task, or to read and
// handle what has come.
func (c *conn) serve(t *task) parting {
	if t.message != nil {
		c.handle(t)
		t.message = nil
		return parting{}
	}
	for {
		if b, ok := c.wire.text(c.hub.o.MaxMessage); ok {
			c.take(websocket.MessageText, b, t)
			c.wire.early = c.wire.controls(c.wire.early)
		} else if p := c.readNext(t); p.over {
			return p
		}
		if !c.wire.more() {
			return parting{}
		}
	}
}

// pong notes that the peer is there. It returns false for one who sends them
// without end.
func (c *conn) pong() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pinged = false
	return c.state == connected && c.bucket.take(time.Now(), c.hub.o.CommandsPerSec) != bucketFlood
}

// handle runs the commands of one message.
func (c *conn) handle(t *task) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.busy, c.pinged = true, false
	c.mu.Unlock()
	before := c.bucket.at
	defer func() {
		c.mu.Lock()
		c.busy, c.running = false, nil
		if c.pinged { // meanwhile: a pong that came is still unread
			c.pongBy = time.Now().Add(c.hub.o.PongTimeout)
		}
		undone := c.undone
		c.mu.Unlock()
		if c.streak = min(c.streak+1, lively); c.bucket.at.Sub(before) >= soon {
			c.streak = 0
		}
		if undone {
			c.afterwards()
		}
	}()
	defer c.rescue("a command")
	c.commands(t)
	c.flush()
}

// rescue is deferred around a host's rules and methods: one that panics must not
// take the process with it, as there is no net/http here to recover it.
func (c *conn) rescue(where string) {
	if p := recover(); p != nil {
		c.hub.fault("realtime: panic in "+where, "panic", p, "stack", string(debug.Stack()))
		c.disconnect(closeInternal)
	}
}

// send sends frames that belong to no subscription.
func (c *conn) send(frames []byte) {
	if c.wire.send(chunk{b: frames}) == sentFull {
		c.disconnect(closeSlow)
	}
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// disconnect sends a coded close and forgets the connection. It doesn't wait
// for the peer: the reader ends when the peer answers, or the sweeper cuts it.
// It returns false when the connection was closed before.
func (c *conn) disconnect(d disconnect) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	forget := c.close(d, true, d.reconnects())
	c.mu.Unlock()
	// Who is signed out is told so before all that still waits for them.
	c.wire.seal(closeFrameOf(d), d.code == closeSlow.code || d.code == closeSessionEnded.code)
	c.hub.wheel.schedule(c, closeWait)
	switch d.code {
	case closeSlow.code:
		c.hub.notice(noticeSlow, slog.LevelWarn, "realtime: closed", "code", d.code, "reason", d.reason, "addr", c.addr, "user", c.user())
	case closeInvalid.code:
		c.hub.notice(noticeInvalid, slog.LevelWarn, "realtime: closed", "code", d.code, "reason", d.reason, "addr", c.addr)
	}
	forget()
	return true
}

// close marks the connection closed and returns what remains to be done without
// the lock. ours says that it was not the client who chose the code, back that
// the client may be back soon. c.mu is held.
func (c *conn) close(d disconnect, ours, back bool) (forget func()) {
	c.closed, c.bye = true, d
	c.forceAt = time.Now().Add(closeWait)
	subs, groups, running := c.subs, c.groups, c.running
	c.subs, c.groups, c.held, c.request = nil, nil, nil, nil
	// The reader, which must take c.mu before it ends, keeps the group from
	// being waited for between here and there.
	c.hub.wg.Add(1)
	return func() {
		c.hub.closed(d, ours)
		c.hub.unregister(c)
		for _, s := range groups {
			s.group.drop(s)
		}
		if running != nil {
			running.cancel()
		}
		c.mu.Lock()
		c.undone = true
		c.mu.Unlock()
		c.afterwards()
		if len(subs) == 0 {
			c.hub.wg.Done()
			return
		}
		go func() {
			defer c.hub.wg.Done()
			c.hub.leaveAll(subs, back)
		}()
	}
}

// afterwards calls OnClose once nothing of the connection runs any more. The
// caller keeps the hub's group from being waited for.
func (c *conn) afterwards() {
	c.mu.Lock()
	now := c.undone && !c.busy && c.hooked
	if now {
		c.hooked = false
	}
	bye := c.bye
	c.mu.Unlock()
	if now {
		c.hub.wg.Go(func() {
			defer c.rescue("Options.OnClose")
			c.hub.o.OnClose(&c.face, int(bye.code), bye.reason)
		})
	}
}

func (c *conn) user() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.who.user
}

// farewell is what a client's end of the connection says, and whether it may be
// back soon: one that closes its connection itself isn't, unless as a page that
// is reloaded does (1001, RFC 6455 section 7.4.1).
func farewell(err error) (bye disconnect, back bool) {
	var ce websocket.CloseError
	if !errors.As(err, &ce) {
		return closeLost, true
	}
	bye = disconnect{uint16(ce.Code), plain(ce.Reason)}
	return bye, ce.Code != websocket.StatusNormalClosure && ce.Code != websocket.StatusNoStatusRcvd
}

// end is the last thing the reader does. back says that the client may be back
// soon.
func (c *conn) end(bye disconnect, back bool) {
	c.mu.Lock()
	if !c.closed {
		forget := c.close(bye, bye == closeLost, back)
		c.mu.Unlock()
		forget()
		c.hub.wheel.schedule(c, closeWait)
	} else {
		c.mu.Unlock()
	}
	c.wire.linger()
	// The library has set a finalizer, and with one nothing that refers to itself
	// is ever collected. The socket is closed: this waits for nobody.
	_ = c.ws.CloseNow()
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.hub.wheel.remove(c)
	c.hub.release(c.addr)
}
