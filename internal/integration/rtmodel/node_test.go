package rtmodel_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
	"github.com/gatewire/gatewire/session"
)

// What the nodes are configured with.
const (
	cookieLife = 2 * time.Minute // of a session
	tokenGrace = 5 * time.Second // Options.RefreshGrace
	blindAfter = 30 * time.Second
	reapEvery  = 5 * time.Second
	wheelTick  = 250 * time.Millisecond
)

// keep is how channels are kept that have a history.
var keep = realtime.Keep{Size: 1000, TTL: time.Hour}

var quiet = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.Level(100)}))

// node is one process: a hub, a session manager, and what keeps it from both.
type node struct {
	w      *world
	n      int
	m      *session.Manager[struct{}]
	hub    *realtime.Hub
	server *realtimetest.Server
	broker *nodeBroker

	deaf atomic.Bool // what ends here is not pushed to the hub
	mute atomic.Bool // what the hub tells the others is lost

	// Guarded by world.mu.
	down     bool // the store doesn't answer
	downAt   time.Time
	upAt     time.Time
	outages  []outage
	closing  bool
	cuts     trouble
	sequence map[string]int // channel: publications
}

type outage struct{ from, to time.Time }

func newNode(w *world, n int, down bool) (*node, error) {
	nd := &node{w: w, n: n, down: down, downAt: time.Now(), sequence: map[string]int{}}
	m, err := session.New[struct{}](w.store, &session.Options{
		Idle: cookieLife, Absolute: cookieLife, ReapEvery: -1, Logger: quiet,
		Refresh: session.Lifetime{Idle: cookieLife, Absolute: cookieLife},
	})
	if err != nil {
		return nil, err
	}
	nd.m = m
	var sessions realtime.Sessions = &nodeSessions{nd}
	if w.lie.sessions != nil {
		sessions = w.lie.sessions(nd, sessions)
	}
	nd.broker = &nodeBroker{nd: nd, depot: w.depot}
	var broker realtime.Broker = nd.broker
	if w.lie.broker != nil {
		broker = w.lie.broker(nd, nd.broker)
	}
	nd.hub, err = realtime.New("https://app.example", realtime.AuthenticatorFunc(nd.authenticate), sessions,
		realtime.Rules{"room:": w.rule, "drop:": w.rule, "plain:": w.rule, "board:": w.rule, "desk:": w.rule},
		&realtime.Options{
			Broker: broker, Logger: quiet, RefreshGrace: tokenGrace, UnknownAfter: blindAfter,
			MaxMessage: maxMessage, MaxQueue: maxQueue,
			Channels:  w.channels(),
			Subscribe: nd.desk, OnConnect: nd.opened, OnClose: nd.ended,
			RPC: map[string]realtime.RPCFunc{"whoami": func(_ context.Context, c *realtime.Conn, _ json.RawMessage) (json.RawMessage, error) {
				who := c.Identity()
				w.nap()
				return json.RawMessage(strconv.Quote(who.UserID() + " " + who.SessionID())), nil
			}},
		})
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	nd.server = realtimetest.Serve(nd.hub)
	return nd, nil
}

// channels are Options.Channels.
func (w *world) channels() map[string]realtime.Channel {
	of := map[string]realtime.Channel{}
	for _, channel := range channels {
		prefix, _, _ := strings.Cut(channel, ":")
		if kept(channel) {
			of[prefix+":"] = realtime.Channel{HistorySize: keep.Size, HistoryTTL: keep.TTL, Overflow: overflow(channel)}
		}
	}
	for prefix, other := range w.lie.overflow {
		ch := of[prefix]
		ch.Overflow = other
		of[prefix] = ch
	}
	return of
}

// desk is Options.Subscribe.
func (nd *node) desk(who realtime.Identity) []string {
	nd.w.mu.Lock()
	defer nd.w.mu.Unlock()
	if who.UserID() != servedTo || nd.w.lie.noDesk && nd.w.pace.IntN(10) == 0 {
		return nil
	}
	return []string{served}
}

func (nd *node) isDown() bool {
	nd.w.mu.Lock()
	defer nd.w.mu.Unlock()
	return nd.down
}

// wasDown reports whether the store was down at some time since, for at least
// so long.
func (nd *node) wasDown(since time.Time, atLeast time.Duration) bool {
	if nd.down && time.Since(nd.downAt) >= atLeast {
		return true
	}
	for _, o := range nd.outages {
		if !o.to.Before(since) && o.to.Sub(o.from) >= atLeast {
			return true
		}
	}
	return false
}

var errDown = errors.New("the store is down")

// refusal is an authenticator's error.
type refusal struct {
	kind    string
	expired bool
}

func (e refusal) Error() string     { return e.kind }
func (e refusal) AuthError() string { return e.kind }
func (e refusal) Expired() bool     { return e.expired }

// bearer is what a token says: user/session/milliseconds.
type bearer struct {
	user, session string
	expires       time.Time
}

func (b bearer) UserID() string                   { return b.user }
func (b bearer) SessionID() string                { return b.session }
func (b bearer) AuthTime() time.Time              { return time.Time{} }
func (b bearer) ExpiresAt() time.Time             { return b.expires }
func (b bearer) Grants() (scopes, roles []string) { return nil, nil }

func (b bearer) text() string {
	return b.user + "/" + b.session + "/" + strconv.FormatInt(b.expires.UnixMilli(), 10)
}

func parseBearer(text string) (b bearer, ok bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return b, false
	}
	ms, err := strconv.ParseInt(parts[2], 10, 64)
	return bearer{parts[0], parts[1], time.UnixMilli(ms)}, err == nil
}

// authenticate knows cookies, which are asked about in the store, and tokens,
// which stand for themselves: a token knows nothing of its session's end.
func (nd *node) authenticate(r *http.Request) (realtime.Identity, error) {
	nd.w.nap()
	if a := r.Header.Get("Authorization"); a != "" {
		b, ok := parseBearer(strings.TrimPrefix(a, "Bearer "))
		switch {
		case !ok:
			return realtime.Identity{}, refusal{kind: "invalid_token"}
		case !time.Now().Before(b.expires):
			return realtime.Identity{}, refusal{kind: "invalid_token", expired: true}
		}
		return realtime.NewIdentity(b), nil
	}
	if nd.isDown() {
		return realtime.Identity{}, refusal{kind: "unavailable"}
	}
	s, err := nd.m.Authenticate(r)
	if err != nil {
		return realtime.Identity{}, err
	}
	nd.w.nap()
	return realtime.NewIdentity(s), nil
}

// begin signs a user in and returns the cookie.
func (nd *node) begin(user string) (s *session.Session[struct{}], cookie string, err error) {
	h := nd.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err = nd.m.Begin(w, r, session.Start{UserID: user})
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "https://app.example/login", nil))
	if err == nil && len(w.Result().Cookies()) == 0 {
		err = errors.New("no cookie")
	}
	if err != nil {
		return nil, "", err
	}
	c := w.Result().Cookies()[0]
	return s, c.Name + "=" + c.Value, nil
}

// nodeSessions are the sessions as a node's hub sees them.
type nodeSessions struct{ nd *node }

func (s *nodeSessions) Alive(ctx context.Context, id string) (bool, error) {
	s.nd.w.nap()
	if s.nd.isDown() {
		return false, errDown
	}
	alive, err := s.nd.m.Alive(ctx, id)
	s.nd.w.nap()
	return alive, err
}

func (s *nodeSessions) EndedSince(ctx context.Context, cursor string) ([]string, string, error) {
	ids, _, next, err := s.EndedReasons(ctx, cursor)
	return ids, next, err
}

func (s *nodeSessions) EndedReasons(ctx context.Context, cursor string) (ids, reasons []string, next string, err error) {
	s.nd.w.nap()
	if s.nd.isDown() {
		return nil, nil, "", errDown
	}
	ids, reasons, next, err = s.nd.m.EndedReasons(ctx, cursor)
	s.nd.w.nap()
	return ids, reasons, next, err
}

func (s *nodeSessions) OnEnd(f func(sessionID, userID, reason string)) (cancel func()) {
	return s.nd.m.OnEnd(func(sessionID, userID, reason string) {
		if s.nd.deaf.Load() {
			counts.lost.Add(1)
			return
		}
		f(sessionID, userID, reason)
	})
}
