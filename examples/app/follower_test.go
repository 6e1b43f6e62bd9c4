package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// follower is a client that does what the official SDKs do: it comes back after
// whatever isn't final, to the next of its nodes, and takes up its channel where
// it stopped. It keeps all it was told, doubles too.
type follower struct {
	browser *http.Client
	token   string // an access token instead of the browser's cookie; empty: none
	channel string // empty: none
	urls    []string
	cancel  context.CancelFunc
	over    chan struct{} // closed when it won't come back

	mu      sync.Mutex
	conn    *websocket.Conn // nil: not connected
	id      int
	waits   map[int]chan reply
	ready   bool // subscribed, or connected where there is no channel
	url     string
	client  string // the connection's id
	offset  uint64
	epoch   string
	placed  bool // offset and epoch are known
	seen    []heard
	joins   []string // "join CLIENT", "leave CLIENT"
	told    int      // how often it was told that what it missed can't be had
	closes  []closing
	arrived []time.Time // when it was ready
	failure error       // why it gave up
}

// heard is a publication: the line of who published, and its place.
type heard struct {
	From   string
	N      int
	Offset uint64
}

// closing is a socket's end.
type closing struct {
	code   websocket.StatusCode
	reason string
	at     time.Time
}

type reply struct {
	ID    int `json:"id"`
	Error *struct {
		Code      int
		Message   string
		Temporary bool
	}
	Connect   *struct{ Client string }
	Subscribe *struct {
		Recoverable   bool
		Recovered     bool
		WasRecovering bool `json:"was_recovering"`
		Offset        uint64
		Epoch         string
		Publications  []publication
	}
	Publish  json.RawMessage
	Presence *struct {
		Presence map[string]struct{ User string }
	}
	Push *struct {
		Channel     string
		Pub         *publication
		Join, Leave *struct{ Info struct{ Client string } }
		Unsubscribe *struct{ Code int }
	}
}

type publication struct {
	Data   heard
	Offset uint64
}

// follow connects with c's cookies, or with a token, to the first of the nodes
// and stays until the test ends.
func follow(t *testing.T, c *http.Client, token, channel string, nodes ...*process) *follower {
	t.Helper()
	f := &follower{browser: c, token: token, channel: channel, over: make(chan struct{}), waits: map[int]chan reply{}}
	for _, p := range nodes {
		f.urls = append(f.urls, p.url)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go f.run(ctx)
	t.Cleanup(func() {
		cancel()
		<-f.over
		f.mu.Lock()
		defer f.mu.Unlock()
		if t.Failed() && len(f.closes)+f.told > 0 {
			t.Logf("a follower of %q was closed %v and told of %d gaps", f.channel, f.closes, f.told)
		}
	})
	return f
}

// joined waits until the follower is connected and subscribed.
func (f *follower) joined(t *testing.T) *follower {
	t.Helper()
	f.until(t, "it is there", func() bool { return f.ready })
	return f
}

// until waits for what holds under the follower's lock.
func (f *follower) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return holds()
	}, 30*time.Second, 5*time.Millisecond, what)
}

func (f *follower) run(ctx context.Context) {
	defer close(f.over)
	for failures, turn := 0, 0; ctx.Err() == nil; turn++ {
		was := time.Now()
		err := f.connected(ctx, f.urls[turn%len(f.urls)])
		end := closing{code: websocket.CloseStatus(err), at: time.Now()}
		var ce websocket.CloseError
		if errors.As(err, &ce) {
			end.reason = ce.Reason
		}
		f.mu.Lock()
		worked := f.ready
		f.ready, f.conn = false, nil
		for id, wait := range f.waits {
			close(wait)
			delete(f.waits, id)
		}
		if worked || end.code > 0 {
			f.closes = append(f.closes, end)
		}
		final := end.code >= 3500 && end.code < 4000 || end.code >= 4500 && end.code < 5000
		if final || errors.As(err, new(*terminal)) {
			f.failure = err
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		if worked && time.Since(was) > time.Second {
			failures = 0
		}
		delay := time.Duration(rand.Int64N(int64(min(2*time.Second, 50*time.Millisecond<<min(failures, 10)))))
		failures++
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// errNotThere means that a command was not sent.
var errNotThere = errors.New("not connected, or not subscribed")

// terminal is an answer after which SDKs give up.
type terminal struct{ text string }

func (e *terminal) Error() string { return e.text }

// connected is one connection, from dialling to its end.
func (f *follower) connected(ctx context.Context, url string) error {
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	conn, _, err := websocket.Dial(dialing, url+"/realtime", &websocket.DialOptions{HTTPClient: f.browser, HTTPHeader: http.Header{"Origin": {publicOrigin}}})
	cancel()
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(8 << 20)
	f.mu.Lock()
	f.conn, f.url, f.id = conn, url, 0
	f.mu.Unlock()
	hello := object{}
	if f.token != "" {
		hello["token"] = f.token
	}
	if err := f.send(ctx, conn, "connect", hello, nil); err != nil {
		return err
	}
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(frame)) {
			var r reply
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				return &terminal{fmt.Sprintf("%s: %v", line, err)}
			}
			if err := f.take(ctx, conn, r, line); err != nil {
				return err
			}
		}
	}
}

// send sends a command on a connection (nil: whichever there is); its reply
// comes by wait, which is closed when none will.
func (f *follower) send(ctx context.Context, on *websocket.Conn, name string, params object, wait chan reply) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn == nil || on != nil && on != f.conn || name == "publish" && !f.ready {
		return errNotThere
	}
	f.id++
	b, err := json.Marshal(object{"id": f.id, name: params})
	if err != nil {
		return err
	}
	if wait != nil {
		f.waits[f.id] = wait
	}
	return f.conn.Write(ctx, websocket.MessageText, b)
}

// take is told one line.
func (f *follower) take(ctx context.Context, conn *websocket.Conn, r reply, line string) error {
	switch {
	case strings.TrimSpace(line) == "{}":
		return conn.Write(ctx, websocket.MessageText, []byte("{}"))
	case r.Connect != nil:
		f.mu.Lock()
		f.client = r.Connect.Client
		f.mu.Unlock()
		return f.subscribe(ctx, conn)
	case r.Subscribe != nil:
		f.subscribed(r)
		return nil
	case r.Push != nil:
		return f.pushed(ctx, conn, r)
	}
	f.mu.Lock()
	wait := f.waits[r.ID]
	delete(f.waits, r.ID)
	f.mu.Unlock()
	if wait != nil {
		wait <- r
		return nil
	}
	switch {
	case r.Error == nil:
		return nil
	case !r.Error.Temporary:
		return &terminal{fmt.Sprintf("%d: %s", r.Error.Code, r.Error.Message)}
	case r.ID == 1: // connect
		return fmt.Errorf("%d: %s", r.Error.Code, r.Error.Message)
	}
	time.AfterFunc(rand.N(200*time.Millisecond), func() { _ = f.subscribe(ctx, conn) }) // of no use once the connection broke
	return nil
}

// subscribe asks for the channel from where it was.
func (f *follower) subscribe(ctx context.Context, on *websocket.Conn) error {
	if f.channel == "" {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ready, f.arrived = true, append(f.arrived, time.Now())
		return nil
	}
	f.mu.Lock()
	params := object{"channel": f.channel}
	if f.placed {
		params["recover"], params["offset"], params["epoch"] = true, f.offset, f.epoch
	}
	f.mu.Unlock()
	return f.send(ctx, on, "subscribe", params, nil)
}

func (f *follower) subscribed(r reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := r.Subscribe
	if s.WasRecovering && !s.Recovered {
		f.told++
	}
	f.placed, f.offset, f.epoch = s.Recoverable, s.Offset, s.Epoch
	for _, p := range s.Publications {
		f.hear(p)
	}
	f.ready, f.arrived = true, append(f.arrived, time.Now())
}

func (f *follower) hear(p publication) {
	p.Data.Offset = p.Offset
	f.seen, f.offset = append(f.seen, p.Data), p.Offset
}

func (f *follower) pushed(ctx context.Context, conn *websocket.Conn, r reply) error {
	f.mu.Lock()
	again := false
	switch p := r.Push; {
	case p.Pub != nil:
		f.hear(*p.Pub)
	case p.Join != nil:
		f.joins = append(f.joins, "join "+p.Join.Info.Client)
	case p.Leave != nil:
		f.joins = append(f.joins, "leave "+p.Leave.Info.Client)
	case p.Unsubscribe != nil:
		f.ready, again = false, p.Unsubscribe.Code >= 2500
	}
	f.mu.Unlock()
	if again {
		return f.subscribe(ctx, conn)
	}
	return nil
}

// ask sends a command and waits for its answer. An error means that it may have
// been carried out or not.
func (f *follower) ask(name string, params object) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	wait := make(chan reply, 1)
	if err := f.send(ctx, nil, name, params, wait); err != nil {
		return reply{}, err
	}
	select {
	case r, ok := <-wait:
		if !ok {
			return reply{}, errors.New("the connection broke")
		}
		if r.Error != nil {
			return r, fmt.Errorf("%d: %s", r.Error.Code, r.Error.Message)
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, errors.New("no answer")
	}
}

// publish publishes message n of from in the follower's channel.
func (f *follower) publish(from string, n int) error {
	_, err := f.ask("publish", object{"channel": f.channel, "data": object{"From": from, "N": n}})
	return err
}

// say publishes as soon as it can.
func (f *follower) say(t *testing.T, from string, n int) {
	t.Helper()
	err := errNotThere
	for begin := time.Now(); errors.Is(err, errNotThere) && time.Since(begin) < 30*time.Second; time.Sleep(time.Millisecond) {
		err = f.publish(from, n)
	}
	require.NoError(t, err)
}

// present are the ids of the connections in the follower's channel.
func (f *follower) present(t *testing.T) []string {
	t.Helper()
	r, err := f.ask("presence", object{"channel": f.channel})
	for begin := time.Now(); err != nil && time.Since(begin) < 30*time.Second; time.Sleep(50 * time.Millisecond) { // as on a busy machine
		r, err = f.ask("presence", object{"channel": f.channel})
	}
	require.NoError(t, err)
	var ids []string
	for id := range r.Presence.Presence {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// drop breaks the connection as a network does.
func (f *follower) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		_ = f.conn.CloseNow()
	}
}

// ended is the last close, of a follower that gave up.
func (f *follower) ended(t *testing.T) closing {
	t.Helper()
	select {
	case <-f.over:
	case <-time.After(10 * time.Second):
		t.Fatal("the socket lives")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	require.NotEmpty(t, f.closes, "%v", f.failure)
	return f.closes[len(f.closes)-1]
}

// alive reports whether it is connected and was never closed.
func (f *follower) alive() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready && len(f.closes) == 0
}
