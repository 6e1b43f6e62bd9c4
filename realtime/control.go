package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// message is what one hub tells the others over a [Control]. A hub that doesn't
// know an Op, as while a newer version is rolled out, ignores it.
type message struct {
	Node string          `json:"node"` // who says it
	Op   string          `json:"op"`
	Ends []ending        `json:"ends,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
	recipients
}

// recipients are who gets a message: one of these.
type recipients struct {
	User    string   `json:"user,omitempty"`
	Session string   `json:"session,omitempty"`
	Conns   []string `json:"conns,omitempty"`
}

const (
	opSend  = "send"  // Data to the recipients' connections
	opEnd   = "end"   // close those of Ends
	opReask = "reask" // ask the rules again for User's connections
)

// ending names connections to close with 4501: those of a session or a user.
type ending struct {
	Session string `json:"session,omitempty"`
	User    string `json:"user,omitempty"`
	Reason  string `json:"reason,omitempty"`
	At      int64  `json:"at,omitempty"` // when it ended, by the clock of who says so: Unix milliseconds
}

// SendUser sends data, which must be JSON, to every connection of a user, on
// every hub of a broker that is a [Control]: at most once each. Having none is
// no error. An error means that other hubs may not have been reached; this one's
// connections were, unless data was refused.
func (h *Hub) SendUser(ctx context.Context, userID string, data json.RawMessage) error {
	return h.sendTo(ctx, recipients{User: userID}, data)
}

// SendSession sends data to every connection of a session, as SendUser does.
func (h *Hub) SendSession(ctx context.Context, sessionID string, data json.RawMessage) error {
	return h.sendTo(ctx, recipients{Session: sessionID}, data)
}

// SendConns sends data to the connections with these ids, as SendUser does.
func (h *Hub) SendConns(ctx context.Context, ids []string, data json.RawMessage) error {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var errs []error
	for some := range slices.Chunk(ids, connsTogether) {
		errs = append(errs, h.sendTo(ctx, recipients{Conns: some}, data))
	}
	return errors.Join(errs...)
}

// connsTogether is how many connections one message to the other hubs names.
const connsTogether = 1024

func (h *Hub) sendTo(ctx context.Context, to recipients, data json.RawMessage) error {
	data, err := h.sendable(data)
	if err != nil {
		return err
	}
	h.sendHere(to, data)
	return h.tell(ctx, message{Op: opSend, recipients: to, Data: data})
}

// sendable makes one line of data that a connection can take.
func (h *Hub) sendable(data json.RawMessage) (json.RawMessage, error) {
	data, err := compact(data)
	if err == nil && len(data) > h.o.MaxQueue/2 {
		err = errTooLarge
	}
	return data, err
}

func (h *Hub) sendHere(to recipients, data json.RawMessage) {
	all := slices.Concat(h.of(byUser, to.User), h.of(bySession, to.Session), h.named(to.Conns))
	if len(all) == 0 {
		return
	}
	frame := textFrame(messageLine(data))
	for _, c := range all {
		c.mu.Lock()
		ready := c.state == connected
		c.mu.Unlock()
		if ready {
			c.send(frame)
		}
	}
}

// EndSession closes the sockets of a session with 4501, on every hub of a
// broker that is a [Control], for what the sessions don't know of: one that
// really ended is found by every hub itself. The reason is plain text for the
// client; empty means "session ended". Errors are as with SendUser.
func (h *Hub) EndSession(ctx context.Context, sessionID, reason string) error {
	return h.endNow(ctx, ending{Session: sessionID, Reason: reason})
}

// EndUser closes the sockets of a user with 4501, as EndSession does. It keeps
// nobody from connecting again: end their sessions first.
func (h *Hub) EndUser(ctx context.Context, userID, reason string) error {
	return h.endNow(ctx, ending{User: userID, Reason: reason})
}

func (h *Hub) endNow(ctx context.Context, e ending) error {
	now := time.Now()
	e.At = now.UnixMilli()
	h.end(e, now)
	return h.tell(ctx, message{Op: opEnd, Ends: []ending{e}})
}

func (h *Hub) end(e ending, at time.Time) {
	h.disconnectAll(bySession, e.Session, e.Reason, at)
	h.disconnectAll(byUser, e.User, e.Reason, at)
}

// Reauthorize asks the rules again for every channel a user's connections are
// in, on every hub of a broker that is a [Control], when the user's rights have
// changed. A channel whose right is gone is unsubscribed, and the client told.
// When it returns, no connection of this hub has a right the rules no longer
// give; other hubs begin as soon as they are told. An error means that some may
// not have been. Scopes and roles are those the connection's credential was
// presented with: a rule that must know better looks the user up.
func (h *Hub) Reauthorize(ctx context.Context, userID string) error {
	// At the same time: the others take as long again as this one's connections
	// do, and a bus that hangs must not keep these their rights.
	here := make(chan error, 1)
	go func() {
		err := errors.New("realtime: a rule has ended the goroutine that asked it")
		defer func() { here <- err }()
		err = h.reaskAll(ctx, userID)
	}()
	err := h.tell(ctx, message{Op: opReask, recipients: recipients{User: userID}})
	if e := <-here; e != nil {
		return e
	}
	return err
}

func (h *Hub) reaskAll(ctx context.Context, userID string) error {
	left := h.of(byUser, userID)
	defer func() {
		for _, c := range left { // a rule has ended the goroutine: nobody knows what is still right
			c.disconnect(closeInternal)
		}
	}()
	for ; len(left) > 0; left = left[1:] {
		left[0].reaskAlone(ctx)
	}
	return ctx.Err()
}

// reaskAlone is reask for who runs no command of the connection. It is also for
// one whose turn comes when time is up: a rule that has no answer then takes the
// right away, and the client asks again.
func (c *conn) reaskAlone(ctx context.Context) {
	defer c.rescue("asking the rules again")
	c.reask(ctx)
}

// tell hands a message to the other hubs.
func (h *Hub) tell(ctx context.Context, m message) error {
	if h.control == nil {
		return nil
	}
	m.Node = h.node
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("realtime: tell the other hubs: %w", err)
	}
	if err := h.control.Broadcast(ctx, b); err != nil {
		return fmt.Errorf("realtime: tell the other hubs: %w", err)
	}
	return nil
}

// Control does what another hub told all.
func (r *receiver) Control(b []byte) {
	h := (*Hub)(r)
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		h.o.Logger.Warn("realtime: a control message that is none", "error", err)
		return
	}
	if m.Node == h.node {
		return
	}
	switch m.Op {
	case opSend:
		// As SendUser does: that hub may have other limits, or not be one of ours.
		data, err := h.sendable(m.Data)
		if err != nil {
			h.o.Logger.Warn("realtime: a control message with data that can't be sent", "error", err)
			return
		}
		h.sendHere(m.recipients, data)
	case opEnd:
		for _, e := range m.Ends {
			var at time.Time
			if e.At > 0 {
				at = time.UnixMilli(e.At)
			}
			h.end(e, at)
		}
	case opReask:
		h.spawn(func() {
			ctx, cancel := context.WithTimeout(h.ctx, h.o.CommandTimeout)
			defer cancel()
			if err := h.reaskAll(ctx, m.User); err != nil {
				h.o.Logger.Warn("realtime: ask the rules again", "error", err)
			}
		})
	}
}

// push tells the other hubs of sessions that ended on this node, without
// keeping whoever ended them waiting. What it can't tell they find by asking.
type push struct {
	mu      sync.Mutex
	pending []ending
	running bool
}

const (
	maxPush      = 4096 // pending; more are left to be found
	pushTogether = 256  // in one message
	pushTimeout  = 2 * time.Second
)

func (h *Hub) pushEnd(e ending) {
	if h.control == nil {
		return
	}
	p := &h.push
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) < maxPush {
		p.pending = append(p.pending, e)
	}
	if !p.running {
		p.running = true
		h.spawn(h.pushAll)
	}
}

func (h *Hub) pushAll() {
	p := &h.push
	for {
		p.mu.Lock()
		n := min(len(p.pending), pushTogether)
		if n == 0 {
			p.pending, p.running = nil, false
			p.mu.Unlock()
			return
		}
		some := p.pending[:n:n]
		p.pending = p.pending[n:]
		p.mu.Unlock()

		ctx, cancel := context.WithTimeout(h.ctx, pushTimeout)
		err := h.tell(ctx, message{Op: opEnd, Ends: some})
		cancel()
		if err != nil && h.ctx.Err() == nil {
			h.o.Logger.Warn("realtime: ended sessions were not pushed; the other hubs find them", "error", err)
		}
	}
}
