package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"
)

// command is one line from a client: an id and exactly one request.
type command struct {
	ID            uint32           `json:"id"`
	Connect       *connectRequest  `json:"connect"`
	Subscribe     *subscribeParams `json:"subscribe"`
	Unsubscribe   *channelRequest  `json:"unsubscribe"`
	Publish       *publishRequest  `json:"publish"`
	Presence      *channelRequest  `json:"presence"`
	PresenceStats *channelRequest  `json:"presence_stats"`
	History       *historyRequest  `json:"history"`
	RPC           *rpcRequest      `json:"rpc"`
	Send          *dataRequest     `json:"send"`
	Refresh       *tokenRequest    `json:"refresh"`
	SubRefresh    *channelRequest  `json:"sub_refresh"`
}

type channelRequest struct {
	Channel string `json:"channel"`
}

type publishRequest struct {
	Channel string          `json:"channel"`
	Data    json.RawMessage `json:"data"`
}

type dataRequest struct {
	Data json.RawMessage `json:"data"`
}

type rpcRequest struct {
	Method string          `json:"method"`
	Data   json.RawMessage `json:"data"`
}

type tokenRequest struct {
	Token string `json:"token"`
}

// requests counts the requests a command holds.
func (q *command) requests() int {
	n := 0
	for _, there := range [...]bool{
		q.Connect != nil, q.Subscribe != nil, q.Unsubscribe != nil, q.Publish != nil, q.Presence != nil, q.PresenceStats != nil,
		q.History != nil, q.RPC != nil, q.Send != nil, q.Refresh != nil, q.SubRefresh != nil,
	} {
		if there {
			n++
		}
	}
	return n
}

// parseCommand reads one line. Anything but an id with one known request, or a
// send without an id, is a bad request.
func parseCommand(line []byte) (*command, bool) {
	var q command
	if err := json.Unmarshal(line, &q); err != nil {
		return nil, false
	}
	return &q, q.valid()
}

func (q *command) valid() bool { return q.requests() == 1 && (q.ID == 0) == (q.Send != nil) }

// replyHead is where the answers of a message begin in its buffer: a frame's
// header goes before them.
const replyHead = 10

// replies are the buffers in which the answers to one message are collected, so
// that they leave in one frame.
var replies = sync.Pool{New: func() any { b := make([]byte, replyHead, 1024); return &b }}

// answer adds the result of a command.
func (c *conn) answer(id uint32, method string, result any) {
	e, _ := encoders.Get().(*encoder)
	defer e.free()
	body, err := e.encode(result)
	if err != nil {
		c.hub.fault("realtime: encode a reply", "error", err)
		c.refuse(id, errInternal)
		return
	}
	if len(body) > c.hub.o.MaxQueue*5/8 {
		c.tooLarge(id, method, len(body))
		return
	}
	b := c.lineOf(len(body) + len(method) + 24)
	*b = appendReply(*b, id, method, body)
}

func (c *conn) tooLarge(id uint32, method string, bytes int) {
	c.hub.fault("realtime: a reply is too large for Options.MaxQueue", "command", method, "bytes", bytes)
	c.refuse(id, errLimit)
}

// encoder is json.Marshal without its escapes for HTML, which would make up to
// six bytes of one, and without a new buffer for each.
type encoder struct {
	b bytes.Buffer
	e *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.e = json.NewEncoder(&e.b)
	e.e.SetEscapeHTML(false)
	return e
}}

// encode returns what is good until free.
func (e *encoder) encode(v any) ([]byte, error) {
	err := e.e.Encode(v)
	return bytes.TrimSuffix(e.b.Bytes(), []byte{'\n'}), err
}

// encodeJSON is encode for what is kept.
func encodeJSON(v any) ([]byte, error) {
	e, _ := encoders.Get().(*encoder)
	defer e.free()
	b, err := e.encode(v)
	return bytes.Clone(b), err
}

func (e *encoder) free() {
	if e.b.Cap() <= maxFrame {
		e.b.Reset()
		encoders.Put(e)
	}
}

// refuse adds the error of a command.
func (c *conn) refuse(id uint32, e *Error) {
	body, err := json.Marshal(struct {
		Code      uint32 `json:"code"`
		Message   string `json:"message"`
		Temporary bool   `json:"temporary,omitempty"`
	}{e.Code, e.Message, e.Temporary})
	if err != nil {
		return
	}
	b := c.lineOf(len(body) + 24)
	*b = appendReply(*b, id, "error", body)
}

func appendReply(b []byte, id uint32, key string, body []byte) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendUint(b, uint64(id), 10)
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	b = append(b, body...)
	return append(b, '}')
}

// lineOf begins an answer of about n bytes in the buffer it returns.
func (c *conn) lineOf(n int) *[]byte {
	if c.out != nil && len(*c.out)-replyHead+n > maxFrame {
		c.flush()
	}
	if c.out == nil {
		c.out, _ = replies.Get().(*[]byte)
	} else {
		*c.out = append(*c.out, '\n')
	}
	return c.out
}

// flush sends the answers collected so far.
func (c *conn) flush() {
	if c.out == nil {
		return
	}
	b := *c.out
	var header [replyHead]byte
	h := appendHeader(header[:0], frameText, len(b)-replyHead)
	frame := b[replyHead-len(h):]
	copy(frame, h)
	if c.wire.send(chunk{b: frame, lent: true}) == sentFull {
		c.disconnect(closeSlow)
	}
	if cap(b) <= maxFrame {
		*c.out = b[:replyHead]
		replies.Put(c.out)
	}
	c.out = nil
}

// errorFor makes what a client is told of an error: a host's own [*Error], the
// rules' two, and "internal, try again" for everything else, which is logged.
func (c *conn) errorFor(what string, err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrDenied):
		return errDenied
	case errors.Is(err, ErrUnknownChannel):
		return errUnknownChannel
	}
	c.hub.warn("realtime: "+what, "error", err)
	return errInternal
}

// commands runs the commands of a message in order.
func (c *conn) commands(t *task) {
	for line := range bytes.SplitSeq(t.message, []byte{'\n'}) {
		// Replies wait for their reader, as pushes can't: whoever asks for much at
		// once is served as fast as they read.
		if !c.wire.await(c.hub.o.MaxQueue / 4) {
			return
		}
		now := time.Now()
		used := c.bucket.take(now, c.hub.o.CommandsPerSec)
		if used == bucketFlood {
			c.flush()
			c.disconnect(disconnect{closeBadRequest.code, "too many requests"})
			return
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 || string(line) == "{}" {
			continue // nothing, or a pong among commands; handle has noted it
		}
		q := &t.command
		if !c.hub.quick(t, line) {
			var ok bool
			if q, ok = parseCommand(line); !ok {
				c.flush()
				c.disconnect(closeBadRequest)
				return
			}
		}
		if used == bucketEmpty {
			if q.ID != 0 {
				c.refuse(q.ID, errTooManyRequests)
			}
			continue
		}
		if !c.run(now.Add(c.hub.o.CommandTimeout), q) {
			return
		}
	}
}

// run runs one command, whose context ends with the connection or then. It returns
// false when the connection is closed already.
func (c *conn) run(then time.Time, q *command) bool {
	ctx := &lazyContext{hub: c.hub.ctx, deadline: then}
	c.mu.Lock()
	who, phase, closed := c.who, c.state, c.closed
	c.running = ctx
	c.mu.Unlock()
	if closed {
		return false
	}
	defer ctx.cancel()
	c.do(ctx, who, phase, q)
	return true
}

func (c *conn) do(ctx context.Context, who Identity, phase state, q *command) {
	if (q.Connect != nil) == (phase == connected) { // a second one, or anything before the first
		c.flush()
		c.disconnect(closeBadRequest)
		return
	}
	if q.Connect != nil {
		c.connect(ctx, q.ID, q.Connect)
		return
	}
	c.hub.keepAlive(c, who)

	var (
		method string
		result any = struct{}{}
		refuse *Error
	)
	switch {
	case q.Subscribe != nil:
		c.subscribeCommand(ctx, q.ID, q.Subscribe)
		return
	case q.Send != nil:
		if f := c.hub.o.OnMessage; f != nil {
			f(ctx, &c.face, q.Send.Data)
		}
		return
	case q.Unsubscribe != nil:
		method = "unsubscribe"
		c.unsubscribe(q.Unsubscribe.Channel)
	case q.Publish != nil:
		method, refuse = "publish", c.publishCommand(ctx, who, q.Publish)
	case q.Presence != nil:
		method = "presence"
		result, refuse = c.presenceCommand(ctx, who, q.Presence.Channel)
	case q.PresenceStats != nil:
		method = "presence_stats"
		result, refuse = c.presenceStats(ctx, who, q.PresenceStats.Channel)
	case q.History != nil:
		method = "history"
		result, refuse = c.historyCommand(ctx, who, q.History)
	case q.RPC != nil:
		c.rpc(ctx, q.ID, q.RPC)
		return
	case q.Refresh != nil:
		method = "refresh"
		result, refuse = c.refresh(ctx, q.Refresh.Token)
	case q.SubRefresh != nil:
		method = "sub_refresh"
		refuse = c.subRefresh(ctx, q.SubRefresh.Channel)
	}
	if refuse != nil {
		c.refuse(q.ID, refuse)
		return
	}
	c.answer(q.ID, method, result)
}

// bucket limits commands: perSec a second, twice as many at once.
type bucket struct {
	level float64
	at    time.Time
}

type bucketState int

const (
	bucketOK    bucketState = iota
	bucketEmpty             // refuse it
	bucketFlood             // it goes on all the same: close
)

func (b *bucket) take(now time.Time, perSec int) bucketState {
	full := float64(2 * perSec)
	b.level = min(full, b.level+now.Sub(b.at).Seconds()*float64(perSec))
	b.at = now
	b.level--
	switch {
	case b.level >= 0:
		return bucketOK
	case b.level < -full:
		return bucketFlood
	default:
		return bucketEmpty
	}
}
