package realtimetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/gatewire/gatewire/realtime"
)

// Client is a client of a hub, for tests: it answers pings, keeps what is pushed
// until it is asked for, and never comes back by itself. Its methods may be
// called concurrently.
//
// Methods that wait do so for a minute when their context has no deadline. A
// command that the hub refuses is a [*realtime.Error], one on a closed
// connection a [*CloseError].
type Client struct {
	ws   *websocket.Conn
	pipe *pipe

	mu      sync.Mutex
	changed chan struct{} // closed, and another made, when anything below changes
	id      uint32
	replies map[uint32]reply // what came for commands that wait
	pushes  []Push
	mute    bool
	paused  bool
	end     error // why there is no more to read
}

// reply is the answer to a command.
type reply map[string]json.RawMessage

// Push is what a hub sends unasked. One of the fields besides Channel is set.
type Push struct {
	Channel string

	Publication *realtime.Publication // published in Channel; of its fields Data, Offset and Info (the epoch is that of Subscribed)
	Join, Leave *realtime.ClientInfo  // who came and went in Channel
	Unsubscribe *Unsubscribe          // this client is no longer in Channel
	Message     json.RawMessage       // for this client; no channel
}

// Unsubscribe is why a hub ended a subscription.
type Unsubscribe struct {
	Code   int // below 2500 for good; from there on a client subscribes again
	Reason string
}

// CloseError is the close of a connection.
type CloseError struct {
	Code   int // 1006: without one, as when the connection broke
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("realtimetest: closed with %d: %s", e.Code, e.Reason)
}

// HandshakeError is a handshake that was answered with another status than 101.
type HandshakeError struct{ Status int }

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("realtimetest: the handshake is answered with %d", e.Status)
}

// Connected is the answer to [Client.Connect].
type Connected struct {
	Client  string          // the connection's id
	Data    json.RawMessage // of Options.OnConnect
	Expires bool            // its token must be refreshed
	TTL     int             // within so many seconds
	Subs    map[string]Subscribed
}

// Subscribed is the answer to [Client.Subscribe].
type Subscribed struct {
	Recoverable  bool
	Epoch        string
	Offset       uint64
	Recovered    bool                   // nothing is missing but Publications
	Publications []realtime.Publication // what was missed
}

// patient gives a context without a deadline one.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Minute)
}

// Connect says who is connecting: by a token, or "" for what came with the
// handshake.
func (c *Client) Connect(ctx context.Context, token string) (answer Connected, err error) {
	return answer, c.do(ctx, "connect", tokenParams{token}, &answer)
}

type tokenParams struct {
	Token string `json:"token,omitempty"`
}

// Subscribe enters a channel. With since, what came after it is asked for.
func (c *Client) Subscribe(ctx context.Context, channel string, since *realtime.Position) (answer Subscribed, err error) {
	params := struct {
		Channel string `json:"channel"`
		Recover bool   `json:"recover,omitempty"`
		Offset  uint64 `json:"offset,omitempty"`
		Epoch   string `json:"epoch,omitempty"`
	}{Channel: channel}
	if since != nil {
		params.Recover, params.Offset, params.Epoch = true, since.Offset, since.Epoch
	}
	return answer, c.do(ctx, "subscribe", params, &answer)
}

// Unsubscribe leaves a channel.
func (c *Client) Unsubscribe(ctx context.Context, channel string) error {
	return c.do(ctx, "unsubscribe", dataParams{Channel: channel}, nil)
}

type dataParams struct {
	Channel string          `json:"channel,omitempty"`
	Method  string          `json:"method,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// Publish publishes data, which is JSON, to a channel.
func (c *Client) Publish(ctx context.Context, channel string, data json.RawMessage) error {
	return c.do(ctx, "publish", dataParams{Channel: channel, Data: data}, nil)
}

// RPC calls a method. data is JSON, or nil.
func (c *Client) RPC(ctx context.Context, method string, data json.RawMessage) (json.RawMessage, error) {
	var answer struct{ Data json.RawMessage }
	err := c.do(ctx, "rpc", dataParams{Method: method, Data: data}, &answer)
	return answer.Data, err
}

// Refresh presents a newer token.
func (c *Client) Refresh(ctx context.Context, token string) error {
	return c.do(ctx, "refresh", tokenParams{token}, nil)
}

// Send sends a message that has no answer.
func (c *Client) Send(ctx context.Context, data json.RawMessage) error {
	return c.write(ctx, map[string]any{"send": dataParams{Data: data}})
}

// Do sends any command of the protocol, as "history", with its parameters, which
// are anything that encoding/json takes, and returns its result.
func (c *Client) Do(ctx context.Context, command string, params any) (result json.RawMessage, err error) {
	return result, c.do(ctx, command, params, &result)
}

func (c *Client) do(ctx context.Context, command string, params, answer any) error {
	ctx, cancel := patient(ctx)
	defer cancel()
	c.mu.Lock()
	c.id++
	id := c.id
	c.replies[id] = nil
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.replies, id)
		c.mu.Unlock()
	}()
	if err := c.write(ctx, map[string]any{"id": id, command: params}); err != nil {
		return err
	}
	var r reply
	if err := c.until(ctx, func() bool { r = c.replies[id]; return r != nil }); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if refused := r["error"]; refused != nil {
		e := &realtime.Error{}
		if err := json.Unmarshal(refused, e); err != nil {
			return err
		}
		return e
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(r[command], answer)
}

func (c *Client) write(ctx context.Context, message map[string]any) error {
	ctx, cancel := patient(ctx)
	defer cancel()
	b, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if err = c.ws.Write(ctx, websocket.MessageText, b); err == nil || ctx.Err() != nil {
		return err
	}
	// The connection is over, and what has been read says why.
	if e := c.until(ctx, func() bool { return false }); e != nil {
		return e
	}
	return err
}

// until waits until done, which is called with c.mu held, or until the
// connection is over and all that came is seen.
func (c *Client) until(ctx context.Context, done func() bool) error {
	for {
		c.mu.Lock()
		ok, end, changed := done(), c.end, c.changed
		c.mu.Unlock()
		switch {
		case ok:
			return nil
		case end != nil:
			return end
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("realtimetest: nothing came: %w", ctx.Err())
		}
	}
}

// Next returns the next push. What came before a close is returned before it is
// told.
func (c *Client) Next(ctx context.Context) (p Push, err error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	err = c.until(ctx, func() bool {
		if len(c.pushes) == 0 {
			return false
		}
		p, c.pushes = c.pushes[0], c.pushes[1:]
		return true
	})
	return p, err
}

// Pending returns what has been pushed and not been asked for, and takes it.
func (c *Client) Pending() []Push {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.pushes
	c.pushes = nil
	return all
}

// Closed waits for the connection's end. The error is that of ctx.
func (c *Client) Closed(ctx context.Context) (code int, reason string, err error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	err = c.until(ctx, func() bool { return c.end != nil })
	if err == nil {
		var e *CloseError
		errors.As(c.end, &e)
		return e.Code, e.Reason, nil
	}
	return 0, "", err
}

// Live reports whether the connection is there.
func (c *Client) Live() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end == nil
}

// Mute makes the client answer no more pings.
func (c *Client) Mute() { c.set(func() { c.mute = true }) }

// Pause makes the client a reader that stalls: one more message is read, some
// 64 KiB wait on the way, and then the hub's queue fills. Resume ends it.
func (c *Client) Pause() { c.set(func() { c.paused = true }) }

// Resume ends a Pause.
func (c *Client) Resume() { c.set(func() { c.paused = false }) }

// Cut breaks the connection, without a goodbye. What is on its way is lost.
func (c *Client) Cut() {
	c.pipe.cut()
	c.Resume()
}

// Close closes the connection as a client does that leaves for good, and waits
// for the hub's answer.
func (c *Client) Close() {
	c.Resume()
	_ = c.ws.Close(websocket.StatusNormalClosure, "goodbye")
}

func (c *Client) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// read is the client's one goroutine.
func (c *Client) read() {
	err := c.readAll()
	end := &CloseError{Code: int(websocket.StatusAbnormalClosure), Reason: err.Error()}
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		end = &CloseError{Code: int(closed.Code), Reason: closed.Reason}
	}
	c.set(func() { c.end = end })
	_ = c.ws.CloseNow()
	_ = c.pipe.Close()
}

func (c *Client) readAll() error {
	for {
		c.awaitResume()
		_, b, err := c.ws.Read(context.Background())
		if err != nil {
			return err
		}
		for line := range bytes.SplitSeq(b, []byte{'\n'}) {
			if err := c.take(line); err != nil {
				return err
			}
		}
	}
}

func (c *Client) awaitResume() {
	for {
		c.mu.Lock()
		paused, changed := c.paused, c.changed
		c.mu.Unlock()
		if !paused {
			return
		}
		<-changed
	}
}

// take takes one object that the hub sent.
func (c *Client) take(line []byte) error {
	if string(line) == "{}" {
		c.mu.Lock()
		mute := c.mute
		c.mu.Unlock()
		if !mute {
			_ = c.ws.Write(context.Background(), websocket.MessageText, line)
		}
		return nil
	}
	var m struct {
		ID   uint32
		Push *struct {
			Channel     string
			Pub         *realtime.Publication
			Join, Leave *struct{ Info realtime.ClientInfo }
			Unsubscribe *Unsubscribe
			Message     *struct{ Data json.RawMessage }
		}
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return fmt.Errorf("realtimetest: the hub sent %q: %w", line, err)
	}
	if m.Push == nil {
		var r reply
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("realtimetest: the hub sent %q: %w", line, err)
		}
		c.set(func() {
			if _, waits := c.replies[m.ID]; waits {
				c.replies[m.ID] = r
			}
		})
		return nil
	}
	p := Push{Channel: m.Push.Channel, Publication: m.Push.Pub, Unsubscribe: m.Push.Unsubscribe}
	if m.Push.Join != nil {
		p.Join = &m.Push.Join.Info
	}
	if m.Push.Leave != nil {
		p.Leave = &m.Push.Leave.Info
	}
	if m.Push.Message != nil {
		p.Message = m.Push.Message.Data
	}
	c.set(func() { c.pushes = append(c.pushes, p) })
	return nil
}
