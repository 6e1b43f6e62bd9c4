package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// report is what the clients have seen.
type report struct {
	Received, Connections, Recoveries      int
	Lost, Doubled, Unexplained             int
	Gaps                                   int // told to clients, which then read the history
	Closed                                 map[int]int
	Revoked                                int
	RevokedP50, RevokedP99, RevokedLongest time.Duration
	Problems                               []string
}

// judge says what was wrong. In a run that was long enough, everything has
// happened.
func (r *report) judge(long bool) error {
	switch {
	case r.Lost > 0 || r.Doubled > 0:
		return fmt.Errorf("%d messages lost, %d doubled", r.Lost, r.Doubled)
	case r.Unexplained > 0:
		return fmt.Errorf("%d ends that nobody can explain: %v", r.Unexplained, r.Problems)
	case r.Received == 0 || r.Revoked == 0 || r.Recoveries == 0,
		long && (r.Gaps == 0 || r.Closed[3008] == 0 || r.Closed[3012] == 0 || r.Closed[4501] == 0):
		return errors.New("not everything has happened that was to")
	case r.RevokedLongest > time.Second:
		return fmt.Errorf("a socket outlived its session by %v", r.RevokedLongest)
	}
	return nil
}

// load is all clients.
type load struct {
	base string
	o    options

	mu   sync.Mutex
	r    report
	took []time.Duration
}

func (l *load) count(f func(r *report)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.r)
}

func (l *load) problem(err error) {
	l.count(func(r *report) {
		r.Unexplained++
		if len(r.Problems) < 10 {
			r.Problems = append(r.Problems, err.Error())
		}
	})
}

// runLoad has clients come and go until o.For is over, and writes its report.
func runLoad(ctx context.Context, base string, o options, out io.Writer) error {
	l := &load{base: base, o: o, r: report{Closed: map[int]int{}}}
	until := time.Now().Add(o.For)
	var running sync.WaitGroup
	for n := range o.Clients {
		running.Go(func() {
			c := newClient(l, n)
			for ctx.Err() == nil && time.Now().Before(until) {
				c.live(ctx, until)
			}
		})
	}
	running.Wait()
	slices.Sort(l.took)
	if n := len(l.took); n > 0 {
		l.r.RevokedP50, l.r.RevokedP99, l.r.RevokedLongest = l.took[n/2], l.took[n*99/100], l.took[n-1]
	}
	return json.NewEncoder(out).Encode(l.r)
}

// manner is how a client's connection ends.
type manner int

const (
	byeManner     manner = iota // in order
	cutManner                   // without a word
	silentManner                // it stays, and nothing is read or answered any more
	slowManner                  // it stops reading for a while, and is closed for it
	revokedManner               // its session is revoked
)

// client is one user at one device, over many connections.
type client struct {
	l         *load
	user      string
	slow      bool
	cookie    string
	session   string
	positions map[string]*position
}

type position struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

func newClient(l *load, n int) *client {
	c := &client{l: l, user: "u" + strconv.Itoa(n), slow: n%10 == 0, positions: map[string]*position{}}
	c.positions["room:"+strconv.Itoa(n%rooms)] = nil
	c.positions["room:"+strconv.Itoa((n+7)%rooms)] = nil
	if c.slow {
		c.positions["room:flood"] = nil
	}
	return c
}

func (c *client) post(ctx context.Context, path string, form url.Values) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.l.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", c.l.base)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(resp.Body)
	if e := resp.Body.Close(); err == nil {
		err = e
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, resp.StatusCode, b)
	}
	return resp, string(b), err
}

func (c *client) login(ctx context.Context) error {
	resp, id, err := c.post(ctx, "/login", url.Values{"user": {c.user}})
	if err != nil {
		return err
	}
	for _, cookie := range resp.Cookies() {
		c.cookie, c.session = cookie.Name+"="+cookie.Value, id
	}
	return nil
}

// small are connections on which a client that doesn't read is soon noticed.
var small = &http.Client{Transport: &http.Transport{
	DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if tcp, ok := c.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(16 << 10)
		}
		return c, err
	},
	DisableKeepAlives: true,
}}

// live is one connection from its beginning to its end.
func (c *client) live(ctx context.Context, until time.Time) {
	if c.cookie == "" {
		if err := c.login(ctx); err != nil {
			c.l.problem(err)
			time.Sleep(time.Second)
			return
		}
	}
	pause := 5 * time.Second
	how := []manner{byeManner, byeManner, cutManner, cutManner, silentManner, revokedManner}[rand.N(6)]
	switch {
	case c.slow:
		how = slowManner
	case how == silentManner:
		pause = 12 * time.Second // a ping, and the time for its answer
	}
	stay := time.Second + rand.N(20*time.Second)
	if left := time.Until(until); left < stay {
		stay, how = left, byeManner
	}
	dialing := http.DefaultClient
	if c.slow {
		dialing = small
	}
	ws, _, err := websocket.Dial(ctx, strings.Replace(c.l.base, "http", "ws", 1)+"/realtime", &websocket.DialOptions{
		HTTPClient: dialing, HTTPHeader: http.Header{"Cookie": {c.cookie}, "Origin": {c.l.base}},
	})
	if err != nil {
		c.l.problem(err)
		return
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(1 << 20)
	c.l.count(func(r *report) { r.Connections++ })
	t := &talk{c: c, ws: ws, turn: make(chan struct{}, 1), filling: map[string]uint64{}}
	if err := t.begin(ctx); err != nil {
		code := int(websocket.CloseStatus(err))
		c.l.count(func(r *report) { r.Closed[code]++ })
		if code == 3500 { // its session has ended, and something else closed it first
			c.cookie = ""
		}
		if !c.slow || code != 3008 { // what it has missed may be too much for it
			c.l.problem(err)
		}
		return
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var asked time.Time
	timer := time.AfterFunc(stay, func() {
		switch how {
		case byeManner:
			_ = ws.Close(websocket.StatusNormalClosure, "")
		case cutManner:
			_ = ws.CloseNow()
		case silentManner, slowManner:
			t.turn <- struct{}{} // the reader stands still from its next message on
			time.Sleep(pause)
			<-t.turn
			time.Sleep(time.Second) // what was sent before its end is read
			_ = ws.CloseNow()
		case revokedManner:
			asked = time.Now()
			if _, _, err := c.post(ctx, "/revoke", url.Values{"user": {c.user}, "session": {c.session}}); err != nil {
				c.l.problem(err)
			}
		}
	})
	defer timer.Stop()
	err = t.read(reading)
	code := int(websocket.CloseStatus(err))
	c.l.count(func(r *report) { r.Closed[code]++ })
	switch {
	case code == 4501 && how == revokedManner && !asked.IsZero():
		took := time.Since(asked)
		c.l.count(func(r *report) { r.Revoked++ })
		c.l.mu.Lock()
		c.l.took = append(c.l.took, took)
		c.l.mu.Unlock()
		c.cookie = ""
	case code == 1000 && how == byeManner, code == -1 && (how == cutManner || how == byeManner):
	case (code == 3008 || code == 3012 || code == -1) && (how == silentManner || how == slowManner):
	case ctx.Err() != nil:
	default:
		c.l.problem(fmt.Errorf("a client to end by %d was closed with %d: %w", how, code, err))
	}
}

// talk is one connection's protocol.
type talk struct {
	c       *client
	ws      *websocket.Conn
	turn    chan struct{} // whoever holds it makes the reader stand still
	id      int
	filling map[string]uint64 // channel: read from the history up to here
}

type message struct {
	ID    int `json:"id"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Subscribe *struct {
		position
		Recovered     bool          `json:"recovered"`
		WasRecovering bool          `json:"was_recovering"`
		Publications  []publication `json:"publications"`
	} `json:"subscribe"`
	History *struct {
		position
		Publications []publication `json:"publications"`
	} `json:"history"`
	Push *struct {
		Channel string       `json:"channel"`
		Pub     *publication `json:"pub"`
	} `json:"push"`
}

type publication struct {
	Offset uint64 `json:"offset"`
}

func (t *talk) say(ctx context.Context, command string, params any) (int, error) {
	t.id++
	b, err := json.Marshal(map[string]any{"id": t.id, command: params})
	if err == nil {
		err = t.ws.Write(ctx, websocket.MessageText, b)
	}
	return t.id, err
}

// begin connects and subscribes, from where the connection before ended.
func (t *talk) begin(ctx context.Context) error {
	if _, err := t.say(ctx, "connect", struct{}{}); err != nil {
		return err
	}
	for channel, at := range t.c.positions {
		params := map[string]any{"channel": channel}
		if at != nil {
			params["recover"], params["offset"], params["epoch"] = true, at.Offset, at.Epoch
		}
		id, err := t.say(ctx, "subscribe", params)
		if err != nil {
			return err
		}
		if err := t.answered(ctx, id, channel); err != nil {
			return err
		}
	}
	return nil
}

// answered reads until the subscribe with this id is answered.
func (t *talk) answered(ctx context.Context, id int, channel string) error {
	for {
		done := false
		err := t.next(ctx, func(m *message) error {
			if m.ID != id {
				return t.take(m)
			}
			done = true
			if m.Error != nil {
				return fmt.Errorf("subscribe: %+v", *m.Error)
			}
			return t.subscribed(ctx, channel, m)
		})
		if err != nil || done {
			return err
		}
	}
}

func (t *talk) subscribed(ctx context.Context, channel string, m *message) error {
	sub := m.Subscribe
	at := t.c.positions[channel]
	if at == nil || at.Epoch != sub.Epoch {
		t.c.positions[channel] = &position{sub.Offset, sub.Epoch}
		if at != nil {
			return fmt.Errorf("the epoch of %s changed", channel)
		}
		return nil
	}
	if sub.Recovered {
		t.c.l.count(func(r *report) { r.Recoveries++ })
		t.publications(channel, sub.Publications)
		return nil
	}
	t.c.l.count(func(r *report) { r.Gaps++ })
	var meanwhile []publication // most of them are in the history, too
	for at.Offset < sub.Offset {
		id, err := t.say(ctx, "history", map[string]any{"channel": channel, "since": at, "limit": 200})
		if err != nil {
			return err
		}
		from := at.Offset
		for answered := false; !answered; {
			err := t.next(ctx, func(m *message) error {
				switch {
				case m.ID != id && m.Push != nil && m.Push.Channel == channel:
					if m.Push.Pub != nil {
						meanwhile = append(meanwhile, *m.Push.Pub)
					}
					return nil
				case m.ID != id:
					return t.take(m)
				case m.Error != nil:
					return fmt.Errorf("history: %+v", *m.Error)
				}
				answered = true
				t.publications(channel, m.History.Publications)
				sub.Offset = m.History.Offset
				return nil
			})
			if err != nil {
				return err
			}
		}
		if at.Offset == from {
			return fmt.Errorf("the history of %s ends before what was told", channel)
		}
	}
	t.filling[channel] = at.Offset
	t.publications(channel, meanwhile)
	return nil
}

// publications takes what comes for a channel: each follows the one before.
func (t *talk) publications(channel string, pubs []publication) {
	at := t.c.positions[channel]
	for _, p := range pubs {
		switch {
		case p.Offset <= t.filling[channel]: // sent while the history was read
			continue
		case p.Offset <= at.Offset:
			t.c.l.count(func(r *report) { r.Doubled++ })
			continue
		case p.Offset > at.Offset+1:
			t.c.l.count(func(r *report) { r.Lost += int(p.Offset - at.Offset - 1) })
		}
		at.Offset = p.Offset
		t.c.l.count(func(r *report) { r.Received++ })
	}
}

func (t *talk) take(m *message) error {
	switch {
	case m.Error != nil:
		return fmt.Errorf("refused: %+v", *m.Error)
	case m.Push != nil && m.Push.Pub != nil:
		t.publications(m.Push.Channel, []publication{*m.Push.Pub})
	}
	return nil
}

// next reads one frame.
func (t *talk) next(ctx context.Context, f func(m *message) error) error {
	_, b, err := t.ws.Read(ctx)
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if line == "{}" {
			if err := t.ws.Write(ctx, websocket.MessageText, []byte("{}")); err != nil {
				return err
			}
			continue
		}
		var m message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			return fmt.Errorf("not the protocol: %q", line)
		}
		if err := f(&m); err != nil {
			return err
		}
	}
	return nil
}

// read takes what comes until the connection ends.
func (t *talk) read(ctx context.Context) error {
	for {
		t.turn <- struct{}{}
		<-t.turn
		if err := t.next(ctx, t.take); err != nil {
			return err
		}
	}
}
