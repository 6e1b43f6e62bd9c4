package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Conn is one connection, the same pointer in every handler. Its methods may be
// called concurrently, and after it has ended.
type Conn struct{ c *conn }

// ID is the connection's own, new for each.
func (c *Conn) ID() string { return c.c.id }

// Identity is who is connected. A refreshed token may bring other grants, never
// another user or session.
func (c *Conn) Identity() Identity {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	return c.c.who
}

// Send sends data, which must be JSON, as a message outside any channel, and
// never waits: [ErrClosed] says that the connection is over, [ErrQueueFull] that
// it now is. What a handler sends arrives before its answer, but nothing before
// the connect reply.
func (c *Conn) Send(data json.RawMessage) error {
	data, err := c.c.hub.sendable(data)
	if err != nil {
		return err
	}
	return c.c.message(textFrame(messageLine(data)))
}

// Close closes the connection: after codes 4000–4499 SDKs come back, after
// 4500–4999 not; others are an error. The reason is plain text for the client,
// at most 123 bytes.
func (c *Conn) Close(code int, reason string) error {
	if code < 4000 || code > 4999 {
		return fmt.Errorf("realtime: close code %d: a host's own are 4000 to 4999", code)
	}
	c.c.disconnect(disconnect{uint16(code), plainReason(reason)})
	return nil
}

// message sends frames of the host's making, or holds them back until connect
// is answered.
func (c *conn) message(frames []byte) error {
	c.mu.Lock()
	closed, early := c.closed, c.state != connected
	full := len(c.held)+len(frames) > c.hub.o.MaxQueue/2
	if early && !closed && !full {
		c.held = append(c.held, frames...)
	}
	c.mu.Unlock()
	res := sentOK
	switch {
	case closed:
		res = sentClosed
	case !early:
		res = c.wire.send(chunk{b: frames})
	case full:
		res = sentFull
	}
	switch res {
	case sentFull:
		c.disconnect(closeSlow)
		return ErrQueueFull
	case sentClosed:
		return ErrClosed
	default:
		return nil
	}
}

// RPCFunc answers an rpc command. data is the client's JSON, or nil; so may the
// answer be. ctx ends when this side closes the connection, and after
// [Options.CommandTimeout]; that the client has gone shows once it has returned. An
// [*Error] is sent as it is; any other is logged and told as 100, temporary.
type RPCFunc func(ctx context.Context, c *Conn, data json.RawMessage) (json.RawMessage, error)

// MessageFunc takes a send command, which has no answer.
type MessageFunc func(ctx context.Context, c *Conn, data json.RawMessage)

// Reply makes an [RPCFunc] of a typed function. Data that doesn't fit In, as a
// member it doesn't have, is refused with 107 and what is wrong; no data is In's
// zero value.
func Reply[In, Out any](f func(ctx context.Context, c *Conn, in In) (Out, error)) RPCFunc {
	return func(ctx context.Context, c *Conn, data json.RawMessage) (json.RawMessage, error) {
		var in In
		if err := decode(data, &in); err != nil {
			return nil, err
		}
		out, err := f(ctx, c, in)
		if err != nil {
			return nil, err
		}
		return encodeJSON(out)
	}
}

// Receive makes a [MessageFunc] of a typed function. Data that doesn't fit closes
// the connection with 3501 and what is wrong; no data is In's zero value.
func Receive[In any](f func(ctx context.Context, c *Conn, in In)) MessageFunc {
	return func(ctx context.Context, c *Conn, data json.RawMessage) {
		var in In
		if err := decode(data, &in); err != nil {
			c.c.disconnect(disconnect{closeBadRequest.code, err.Message})
			return
		}
		f(ctx, c, in)
	}
}

// Dispatch makes one [MessageFunc] of several, for messages like
// {"type":"move","data":{…}}: the handler of the type takes the data. The one
// under "" takes other types; without it they close with 3501.
func Dispatch(handlers map[string]MessageFunc) MessageFunc {
	byType := make(map[string]MessageFunc, len(handlers))
	for name, f := range handlers {
		byType[name] = f
	}
	return Receive(func(ctx context.Context, c *Conn, m struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}) {
		f := byType[m.Type]
		if f == nil {
			f = byType[""]
		}
		if f == nil {
			c.c.disconnect(disconnect{closeBadRequest.code, "unknown message type " + cutTo(m.Type, 80)})
			return
		}
		f(ctx, c, m.Data)
	})
}

// decode reads a client's data into a host's type. What it says of data that
// doesn't fit is for that client.
func decode(data json.RawMessage, into any) *Error {
	if len(data) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		return nil
	}
	what := "data does not fit"
	var wrong *json.UnmarshalTypeError
	if unknown, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		what = "unknown member " + unknown
	} else if errors.As(err, &wrong) {
		// Of the type, which is the host's own, a client learns nothing.
		what = "can't be a " + wrong.Value
		if strings.HasPrefix(wrong.Value, "array") || strings.HasPrefix(wrong.Value, "object") {
			what = "can't be an " + wrong.Value
		}
		if wrong.Field != "" {
			what = wrong.Field + " " + what
		}
	}
	return &Error{errBadRequest.Code, cutTo("bad request: "+what, 256), false}
}
