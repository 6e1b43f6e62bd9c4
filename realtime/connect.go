package realtime

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

type connectRequest struct {
	Token string                      `json:"token"`
	Subs  map[string]*subscribeParams `json:"subs"` // server-side subscriptions of the connection before
}

type connectResult struct {
	Client  string                      `json:"client"`
	Data    json.RawMessage             `json:"data,omitempty"` // of Options.OnConnect
	Node    string                      `json:"node,omitempty"`
	Expires bool                        `json:"expires,omitempty"`
	TTL     int64                       `json:"ttl,omitempty"`
	Subs    map[string]*subscribeResult `json:"subs,omitempty"`
	Ping    int64                       `json:"ping"`
	Pong    bool                        `json:"pong"`
}

// connect answers the connect command: who is it, may they, and is their
// session alive.
func (c *conn) connect(ctx context.Context, id uint32, q *connectRequest) {
	c.mu.Lock()
	if c.state != opened || c.closed {
		c.mu.Unlock()
		c.disconnect(closeBadRequest)
		return
	}
	c.state = connecting
	r := c.request
	c.mu.Unlock()

	who, token, why := c.credential(ctx, r, q.Token)
	if why != refusalGranted {
		c.refuseConnect(id, why)
		return
	}
	// What ends from here on must be found: without a cursor nobody would look.
	if err := c.hub.watch.wait(ctx); err != nil {
		c.hub.warn("realtime: connect", "error", err)
		c.refuseConnect(id, refusalUnavailable)
		return
	}
	if !c.identify(who, token) {
		return
	}
	// The connection is registered; a session that ended before that is not
	// kicked any more, but isn't alive either. So one of the two always catches it.
	if !c.checkAlive(ctx, id) {
		return
	}
	data, ok := c.welcome(ctx, id)
	if !ok {
		return
	}
	result := &connectResult{Client: c.id, Data: data, Node: c.hub.node, Ping: seconds(c.hub.o.PingInterval), Pong: true}
	result.Expires, result.TTL = c.ttl(time.Now())
	subs, ok := c.serverSubs(ctx, id, who, q, result)
	if !ok {
		return
	}

	e, _ := encoders.Get().(*encoder)
	defer e.free()
	body, err := e.encode(result)
	if err != nil {
		c.hub.fault("realtime: encode a reply", "error", err)
		c.disconnect(closeInternal)
		return
	}
	c.flush()
	frame := textFrame(appendReply(make([]byte, 0, len(body)+32), id, "connect", body))
	now := time.Now()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	if slices.ContainsFunc(subs, func(s *subscription) bool { return s.rights != c.rights }) {
		c.mu.Unlock() // the reply holds what may have been missed in channels that may be denied by now
		c.disconnect(closeState)
		return
	}
	c.state, c.request = connected, nil
	c.pingAt = now.Add(c.hub.o.PingInterval)
	first := c.hub.o.PingInterval
	if !c.expires.IsZero() {
		first = min(first, c.expires.Sub(now))
	}
	res := c.wire.send(chunk{b: frame}) // with the lock: whoever finds it connected sends after this
	if len(c.held) > 0 && res == sentOK {
		res = c.wire.send(chunk{b: c.held})
	}
	c.held = nil
	groups := slices.Clone(c.groups)
	c.hub.wheel.schedule(c, first) // with the lock: a close that comes now is scheduled after this
	c.mu.Unlock()
	if res == sentFull {
		c.disconnect(closeSlow)
		return
	}
	for _, s := range groups {
		s.group.open(s)
	}
	for _, s := range subs {
		if s.activate(func() {}) {
			c.announceJoin(ctx, s)
		} else {
			c.kick(s, unsubscribeGap)
		}
	}
}

// welcome asks the host about a connection, and returns what it says to the
// client. It returns false when there is nobody left to be answered.
func (c *conn) welcome(ctx context.Context, id uint32) (json.RawMessage, bool) {
	var data json.RawMessage
	if f := c.hub.o.OnConnect; f != nil {
		var err error
		if data, err = f(ctx, &c.face); err != nil {
			c.turnAway(id, c.errorFor("Options.OnConnect", err))
			return nil, false
		}
	}
	c.mu.Lock()
	c.hooked = c.hub.o.OnClose != nil
	c.mu.Unlock()
	if len(data) == 0 {
		return nil, true
	}
	data, err := c.hub.sendable(data)
	if err != nil {
		c.hub.fault("realtime: Options.OnConnect", "error", err)
		c.disconnect(closeInternal)
		return nil, false
	}
	return data, true
}

// turnAway refuses a connect and closes the connection.
func (c *conn) turnAway(id uint32, e *Error) {
	c.refuse(id, e)
	c.flush()
	d := disconnect{closeRefused.code, e.Message}
	if e.Temporary {
		d.code = closeUnknown.code
	}
	c.disconnect(d)
}

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// refusalGranted is no refusal.
const refusalGranted refusal = -1

// refuseConnect answers a connect that is not granted. What may pass is an
// error the SDK tries again after; what may not is a close that ends it.
func (c *conn) refuseConnect(id uint32, why refusal) {
	switch why {
	case refusalExpired:
		c.refuse(id, errExpired)
	case refusalUnavailable:
		c.refuse(id, errInternal)
	default:
		c.flush()
		c.disconnect(closeInvalid)
		return
	}
	// The socket may try again with another connect, until ConnectTimeout.
	c.mu.Lock()
	c.state = opened
	c.mu.Unlock()
}

// credential asks who connects. A token must be good by itself, and agree with
// what came with the handshake: a bad or another's credential beside a good one
// refuses.
func (c *conn) credential(ctx context.Context, r *http.Request, token string) (who Identity, isToken bool, why refusal) {
	r = r.WithContext(ctx)
	if token == "" {
		_, isToken = r.Header["Authorization"]
		who, why = c.authenticate(r)
		return who, isToken, why
	}
	presented := r.Header["Authorization"]
	if len(presented) > 0 {
		if who, why = c.authenticate(r); why != refusalGranted {
			return Identity{}, true, why
		}
	}
	alone, why := c.authenticateToken(ctx, r, token, false)
	if why != refusalGranted {
		return Identity{}, true, why
	}
	if len(presented) > 0 && !sameSession(who, alone) {
		return Identity{}, true, refusalInvalid
	}
	if _, cookies := r.Header["Cookie"]; cookies {
		both, why := c.authenticateToken(ctx, r, token, true)
		if why != refusalGranted {
			return Identity{}, true, why
		}
		if !sameSession(alone, both) {
			return Identity{}, true, refusalInvalid
		}
		return both, true, refusalGranted
	}
	return alone, true, refusalGranted
}

// authenticateToken asks with a copy of the handshake that carries the token.
func (c *conn) authenticateToken(ctx context.Context, r *http.Request, token string, cookies bool) (Identity, refusal) {
	if r == nil { // an in-band refresh: the handshake is long gone
		var err error
		if r, err = http.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody); err != nil {
			return Identity{}, refusalUnavailable
		}
	}
	r = r.Clone(ctx)
	if !cookies {
		r.Header.Del("Cookie")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return c.authenticate(r)
}

// authenticate asks the authenticator. Whoever it names must have a user and a
// session, or there is nothing that could end the connection.
func (c *conn) authenticate(r *http.Request) (Identity, refusal) {
	who, err := c.hub.auth.Authenticate(r)
	if err != nil {
		why := refusalOf(err)
		if why == refusalUnavailable {
			c.hub.warn("realtime: can't tell who connects", "error", err)
		}
		return Identity{}, why
	}
	if who.user == "" || who.session == "" {
		c.hub.fault("realtime: the authenticator named no user or no session")
		return Identity{}, refusalInvalid
	}
	if !who.expires.IsZero() && !time.Now().Before(who.expires) {
		return Identity{}, refusalExpired
	}
	return who, refusalGranted
}

func sameSession(a, b Identity) bool { return a.user == b.user && a.session == b.session }

// identify makes the connection that of a user and a session, where a kick
// finds it from then on. It returns false when it is closed.
func (c *conn) identify(who Identity, token bool) bool {
	info := &ClientInfo{Client: c.id, User: who.user}
	if f := c.hub.o.Info; f != nil {
		if data := f(who); data != nil {
			var err error
			if info.Info, err = compact(data); err != nil {
				c.hub.fault("realtime: Options.Info", "error", err)
				info.Info = nil
			}
		}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	c.who, c.token, c.info = who, token, info
	c.expires = c.expiry(who, token)
	c.mu.Unlock()
	if !c.hub.register(c, who) {
		c.disconnect(closeConnections)
		return false
	}
	return true
}

// expiry is when a credential's time is over.
func (c *conn) expiry(who Identity, token bool) time.Time {
	if who.expires.IsZero() || !token {
		return who.expires
	}
	return who.expires.Add(c.hub.o.RefreshGrace)
}

// checkAlive asks whether the session lives. Unlike a connection, a refusal
// for now is answered and the connection taken out again.
func (c *conn) checkAlive(ctx context.Context, id uint32) bool {
	c.mu.Lock()
	session := c.who.session
	c.mu.Unlock()
	alive, err := c.hub.sessions.Alive(ctx, session)
	if err != nil {
		c.hub.warn("realtime: can't tell whether a session lives", "error", err)
		c.refuse(id, errInternal)
		c.flush()
		c.disconnect(closeUnknown)
		return false
	}
	if !alive {
		c.disconnect(closeSessionEnded)
		return false
	}
	return true
}

// ttl says whether the client must refresh its token, and in how many seconds:
// a little early, so that it needn't live from the grace.
func (c *conn) ttl(now time.Time) (expires bool, ttl int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.token || c.who.expires.IsZero() {
		return false, 0
	}
	left := c.who.expires.Sub(now)
	left -= min(left/5, 10*time.Second)
	return true, max(int64(left/time.Second), 1)
}

// refresh answers the refresh command: the same user and session with a newer
// token. Anyone else's ends the connection.
func (c *conn) refresh(ctx context.Context, token string) (any, *Error) {
	if token == "" {
		return nil, errBadRequest
	}
	who, why := c.authenticateToken(ctx, nil, token, false)
	switch why {
	case refusalGranted:
	case refusalExpired:
		return nil, errExpired
	case refusalUnavailable:
		return nil, errInternal
	default:
		c.disconnect(closeInvalid)
		return nil, errDenied
	}
	c.mu.Lock()
	same, closed := sameSession(c.who, who), c.closed
	c.mu.Unlock()
	if closed {
		return nil, errInternal
	}
	if !same {
		c.disconnect(closeInvalid)
		return nil, errDenied
	}
	alive, err := c.hub.sessions.Alive(ctx, who.session)
	if err != nil {
		return nil, c.errorFor("refresh", err)
	}
	if !alive {
		c.disconnect(closeSessionEnded)
		return nil, errDenied
	}
	now := time.Now()
	c.mu.Lock()
	if c.token { // a cookie's connection ends with its session, whatever token it shows
		c.who = who
		c.expires = c.expiry(who, true)
	}
	c.mu.Unlock()
	c.hub.wheel.schedule(c, wheelTick) // the new moment may be earlier than what is planned
	c.reask(ctx)
	var result struct {
		Expires bool  `json:"expires,omitempty"`
		TTL     int64 `json:"ttl,omitempty"`
	}
	result.Expires, result.TTL = c.ttl(now)
	return result, nil
}

// serverSubs enters the channels the server puts a user in. One whose rule
// refuses is left out. Where the rule or the broker can't tell, the connection is
// turned away: a client left out then would never learn of it, as only
// connecting again brings it in. False says that this was done.
func (c *conn) serverSubs(ctx context.Context, id uint32, who Identity, q *connectRequest, result *connectResult) ([]*subscription, bool) {
	if c.hub.o.Subscribe == nil {
		return nil, true
	}
	var subs []*subscription
	room := c.hub.o.MaxQueue/2 - len(result.Data) // for all of them: they share a reply
	whole := room
	for _, channel := range c.hub.o.Subscribe(who) {
		p := &subscribeParams{}
		if old := q.Subs[channel]; old != nil {
			*p = *old
		}
		p.Channel, p.server, p.room, p.whole = channel, true, room, whole
		s, r, e := c.subscribe(ctx, p)
		if e != nil && e.Temporary {
			c.turnAway(id, e)
			return nil, false
		}
		if e != nil {
			c.hub.o.Logger.Debug("realtime: server-side subscription", "channel", channel, "error", e)
			continue
		}
		if s == nil {
			break
		}
		if result.Subs == nil {
			result.Subs = map[string]*subscribeResult{}
		}
		room -= r.Publications.size()
		if s.overflow == Latest { // it may take as much every time
			whole -= r.Publications.size()
		}
		result.Subs[channel] = r
		subs = append(subs, s)
	}
	return subs, true
}

// keepAliveEvery is between two words that a session is in use.
const keepAliveEvery = 10 * time.Second

// keepAlive tells the sessions that one is being used, if they want to know.
func (h *Hub) keepAlive(c *conn, who Identity) {
	k, ok := h.sessions.(interface {
		KeepAlive(ctx context.Context, sessionID string) error
	})
	now := c.bucket.at // of the command that is running
	if !ok || now.UnixNano()-c.used.Load() < int64(keepAliveEvery) {
		return
	}
	h.mu.Lock()
	if h.closing {
		h.mu.Unlock()
		return
	}
	for other := h.kin[bySession][who.session]; other != nil; other = other.kin[bySession].next {
		other.used.Store(now.UnixNano())
	}
	c.used.Store(now.UnixNano())
	h.wg.Add(1)
	h.mu.Unlock()
	go func() {
		defer h.wg.Done()
		defer c.rescue("Sessions.KeepAlive")
		ctx, cancel := context.WithTimeout(h.ctx, cleanupTimeout)
		defer cancel()
		if err := k.KeepAlive(ctx, who.session); err != nil && h.ctx.Err() == nil {
			h.warn("realtime: keep a session alive", "error", err)
		}
	}()
}
