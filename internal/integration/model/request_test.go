package model_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/gatewire/gatewire/session"
)

const (
	cookieName = "__Host-session"
	issuer     = "https://issuer.example"
	marker     = "X-Handler" // a header of the handler: gone when its response is withheld
)

// action is one thing a handler does.
type action struct {
	kind   string
	user   string
	epoch  bool // sign in with the epoch taken before
	origin session.Origin
}

// programs are what handlers do, one action after another, until one fails.
var programs = rapid.SampledFrom([][]string{
	{"get"}, {"auth"}, {"auth", "get"}, {"get", "think", "auth"},
	{"update"}, {"update"}, {"auth", "update"}, {"update", "think", "update"}, {"get", "think", "update"},
	{"login"}, {"login"}, {"login"}, {"update", "login"}, {"login", "update"}, {"auth", "login", "get"}, {"login", "login"},
	{"renew"}, {"update", "renew"}, {"renew", "update"}, {"auth", "think", "renew", "auth"},
	{"logout"}, {"logout"}, {"update", "logout"}, {"login", "logout"}, {"auth", "think", "logout"}, {"logout", "login"},
	{"others"}, {"others", "renew"}, {"auth", "think", "others"},
	{"update", "panic"}, {"login", "panic"}, {"renew", "panic"},
})

// outside are those that also work without Handler.
var outside = rapid.SampledFrom([][]string{{"auth"}, {"login"}, {"login"}, {"renew"}, {"logout"}})

var kinds = rapid.SampledFrom([]string{
	"http", "http", "http", "http", "http", "http", "http", "http", "http", "http", "http", "http", "http", "http", "http",
	"outside", "outside", "begin token", "refresh", "refresh", "refresh", "refresh", "end by refresh",
	"revoke", "revoke user", "revoke user", "end origin", "list", "by id", "poll", "poll", "reap", "reap",
})

func pick[T any](w *world, what string, list []T) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(w.t, what)]
}

func (w *world) drawOrigin() session.Origin {
	switch rapid.IntRange(0, 3).Draw(w.t, "origin") {
	case 2:
		return session.Origin{Issuer: issuer, Subject: "sub", SID: "1"}
	case 3:
		return session.Origin{Issuer: issuer, SID: "2"}
	}
	return session.Origin{}
}

// startOne begins a request of some kind.
func (w *world) startOne() {
	nd := pick(w, "node", w.nodes)
	switch kind := kinds.Draw(w.t, "kind"); kind {
	case "http", "outside":
		b := pick(w, "browser", w.browsers)
		values := []string{b.now()}
		if n := len(b.held); n > 1 && rapid.IntRange(0, 3).Draw(w.t, "old tab") == 3 {
			values[0] = b.held[rapid.IntRange(0, n-1).Draw(w.t, "tab")]
		}
		switch rapid.IntRange(0, 11).Draw(w.t, "planted") {
		case 10: // as from a sibling domain
			values = append(values, pick(w, "other", w.browsers).now())
		case 11:
			values = append(values, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		}
		program := programs
		if kind == "outside" {
			program = outside
		}
		var actions []action
		for _, name := range program.Draw(w.t, "program") {
			a := action{kind: name}
			if name == "login" {
				a.user, a.origin = pick(w, "user", w.users), w.drawOrigin()
				a.epoch = rapid.IntRange(0, 3).Draw(w.t, "epoch") > 0
			}
			actions = append(actions, a)
		}
		if rapid.IntRange(0, 9).Draw(w.t, "answer") == 9 {
			b = nil // the client does not get the answer
		}
		if kind == "outside" {
			w.startOutside(nd, values, actions[0], b)
			return
		}
		w.startRequest(nd, values, actions, b)
	case "begin token":
		w.startBeginToken(nd, action{kind: kind, user: pick(w, "user", w.users), epoch: rapid.Bool().Draw(w.t, "epoch"), origin: w.drawOrigin()})
	case "refresh", "end by refresh":
		if len(w.devices) == 0 {
			w.startBeginToken(nd, action{kind: "begin token", user: w.users[0]})
			return
		}
		d := pick(w, "device", w.devices)
		back := min(pick(w, "back", []int{0, 0, 0, 1, 1, 2}), len(d.held)-1)
		text := d.held[len(d.held)-1-back]
		if kind == "refresh" {
			w.startRefresh(nd, d, text)
		} else {
			w.startEndByRefresh(nd, text)
		}
	case "revoke", "by id":
		if len(w.order) == 0 {
			return
		}
		l := pick(w, "session", w.order)
		if kind == "revoke" {
			w.startRevoke(nd, pick(w, "user", w.users), l)
		} else {
			w.startByID(nd, l)
		}
	case "revoke user":
		w.startRevokeUser(nd, pick(w, "user", w.users), rapid.Bool().Draw(w.t, "at an epoch"))
	case "end origin":
		w.startEndOrigin(nd, pick(w, "names", []session.Origin{{Issuer: issuer, Subject: "sub"}, {Issuer: issuer, SID: "1"}, {Issuer: issuer, SID: "2"}}))
	case "list":
		w.startList(nd, pick(w, "user", w.users))
	case "poll":
		if f := w.followers[nd.n]; !f.busy {
			w.startPoll(f)
		}
	case "reap":
		limit := rapid.IntRange(1, 4).Draw(w.t, "limit")
		w.begin(&op{name: "reap", kind: "reap", node: nd}, func(o *op) {
			_, _ = (&nodeStore{nd}).Reap(o.ctx, ms(time.Now()), limit)
		})
	}
}

// present makes the request one that holds these tokens.
func (o *op) present(w *world, values []string) *op {
	for _, v := range values {
		if t := w.texts[v]; t != nil && !slices.Contains(o.presented, t) {
			o.presented = append(o.presented, t)
		}
	}
	return o
}

func httpRequest(o *op, values []string) *http.Request {
	r := (&http.Request{Method: "GET", URL: &url.URL{Scheme: "https", Host: "app.example", Path: "/"}, Host: "app.example", Header: http.Header{}}).WithContext(o.ctx)
	for _, v := range values {
		if v != "" {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: v})
		}
	}
	return r
}

// served is what a handler has come to.
type served struct {
	changed  bool // it signed in or out, or renewed: what was presented counts no more
	pending  []int
	out      bool // signed out last
	outError bool
	panicked bool
	updates  bool // did nothing but read and update
}

var errPanic = errors.New("the handler panics")

func (w *world) startRequest(nd *node, values []string, actions []action, b *browser) {
	name := ""
	for _, a := range actions {
		name += a.kind + " "
	}
	o := (&op{name: name[:len(name)-1], kind: "http", node: nd}).present(w, values)
	w.begin(o, func(o *op) {
		rec := httptest.NewRecorder()
		s := &served{updates: true}
		func() {
			defer func() {
				if e := recover(); e != nil && e != errPanic {
					panic(e)
				}
			}()
			nd.m.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set(marker, "1")
				for i, a := range actions {
					if err := o.act(s, rw, r, a, i); err != nil {
						rw.WriteHeader(session.StatusOf(err))
						return
					}
				}
				rw.WriteHeader(http.StatusOK)
			})).ServeHTTP(rec, httpRequest(o, values))
		}()
		o.answered(s, rec, b)
	})
}

func (w *world) startOutside(nd *node, values []string, a action, b *browser) {
	o := (&op{name: a.kind + " outside", kind: "http", node: nd}).present(w, values)
	w.begin(o, func(o *op) {
		rec := httptest.NewRecorder()
		rec.Header().Set(marker, "1")
		s := &served{}
		if err := o.act(s, rec, httpRequest(o, values), a, 0); err != nil {
			rec.WriteHeader(session.StatusOf(err))
		}
		o.answered(s, rec, b)
	})
}

// act does one action of a handler and checks what it says.
func (o *op) act(s *served, rw http.ResponseWriter, r *http.Request, a action, i int) (err error) {
	w, m := o.w, o.node.m
	switch a.kind {
	case "think":
		o.think()
	case "panic":
		s.panicked = true
		panic(errPanic)
	case "get", "auth":
		var got *session.Session[data]
		if a.kind == "get" {
			got, err = m.Get(r.Context())
		} else {
			got, err = m.Authenticate(r)
		}
		o.saw(s, got, err, a.kind == "auth", len(r.Cookies()) > 0)
	case "update":
		mark := o.n*10 + i
		as := ""
		if got, err := m.Get(r.Context()); err == nil {
			as = got.UserID()
		}
		o.marks[mark] = as
		err = m.Update(r.Context(), func(d *data) error { d.Marks = append(d.Marks, mark); return nil })
		if err == nil {
			s.pending = append(s.pending, mark)
		}
		o.couldTell(err)
	case "login":
		s.updates = false
		err = o.login(s, rw, r, a)
		s.changed, s.out = true, false
	case "renew":
		s.updates = false
		before := len(o.minted)
		err = m.Renew(rw, r)
		o.couldTell(err)
		switch {
		case err == nil && len(o.minted) == before:
			w.violate("S4", "%v renews nothing", o)
		case err != nil && !s.changed && !unavailable(err):
			if l, sure := o.sure(); sure && l != nil {
				w.violate("S4", "%v is told %v, and s%d lives", o, err, l.n)
			}
		}
		s.changed = true
	case "logout":
		s.updates = false
		o.kind = "logout"
		err = m.Logout(rw, r)
		o.couldTell(err)
		for _, t := range slices.Concat(o.presented, o.minted) {
			if err == nil && t.until == 0 && t.life.ended == 0 && o.lives(t.life) {
				w.violate("S3", "%v signs out, and s%d lives", o, t.life.n)
			}
		}
		s.changed, s.out, s.outError = true, true, err != nil
		s.pending = nil
	case "others":
		var got *session.Session[data]
		got, err = m.Authenticate(r)
		o.saw(s, got, err, true, len(r.Cookies()) > 0)
		if err != nil {
			break
		}
		err = o.revokeAll(got.UserID(), got.ID(), false)
	}
	return err
}

// lives says whether a session that o knows of had not expired by its clock all
// the while.
func (o *op) lives(l *life) bool {
	deadline := l.deadline()
	if b, ok := o.before[l]; ok {
		deadline = b.deadline
	}
	return deadline.After(o.node.now())
}

// sure says what the cookies presented come to, where nothing that went on
// meanwhile leaves room for doubt: the only one that lives, or none.
func (o *op) sure() (l *life, sure bool) {
	n := 0
	for _, t := range o.presented {
		switch {
		case !t.goodAfter(o.start) || !t.life.deadline().After(o.from):
		case t.until == 0 && t.life.ended == 0 && o.lives(t.life):
			n++
			l = t.life
		default:
			return nil, false
		}
	}
	if n != 1 {
		l = nil // none, or two: then neither is taken
	}
	return l, true
}

func unavailable(err error) bool {
	var code interface{ AuthError() string }
	return errors.As(err, &code) && code.AuthError() == "unavailable"
}

// couldTell: an answer that the store could not tell needs a reason.
func (o *op) couldTell(err error) {
	if unavailable(err) && !o.faulty {
		o.w.violate("S17", "%v is told %v, and no call has failed", o, err)
	}
}

// identified checks a session that o was given.
func (o *op) identified(id, user string) *life {
	w := o.w
	l := w.lives[id]
	switch {
	case l == nil:
		w.violate("S1", "%v is given a session that never was", o)
		return nil
	case !l.livedAfter(o.start):
		w.violate("S3", "%v is given s%d, which had ended", o, l.n)
	case !l.deadline().After(o.from):
		w.violate("S6", "%v is given s%d, which had expired", o, l.n)
	case user != "" && user != l.rec.UserID:
		w.violate("S2", "%v is given s%d as one of %q", o, l.n, user)
	}
	return l
}

// saw checks what a request was told about who it is.
func (o *op) saw(s *served, got *session.Session[data], err error, authenticated, cookies bool) {
	w := o.w
	o.couldTell(err)
	certain, sure := o.sure()
	sure = sure && !s.changed
	switch {
	case err != nil && !unavailable(err) && sure:
		if certain != nil && certain.rec.UserID != "" {
			w.violate("S17", "%v is told %v, and s%d lives", o, err, certain.n)
		}
		want := session.ErrInvalid
		if !cookies || certain != nil {
			want = session.ErrNoSession
		}
		if !errors.Is(err, want) {
			w.violate("S12", "%v is told %v, want %v", o, err, want)
		}
	case err == nil && sure && (certain == nil) != (got.ID() == ""),
		err == nil && sure && certain != nil && got.ID() != certain.rec.ID:
		w.violate("S12", "%v is given %s, want %v", o, w.name(got.ID()), certain != nil)
	}
	if err != nil {
		return
	}
	if authenticated && got.UserID() == "" {
		w.violate("S2", "%v is authenticated as nobody", o)
	}
	if got.ID() == "" {
		for _, mark := range got.Data().Marks {
			if _, own := o.marks[mark]; !own {
				w.violate("S5", "%v sees data of others", o)
			}
		}
		return
	}
	l := o.identified(got.ID(), got.UserID())
	if l == nil {
		return
	}
	held := false
	for _, t := range o.presented {
		held = held || t.life == l && t.goodAfter(o.start)
	}
	for _, t := range o.minted {
		held = held || t.life == l
	}
	if !held {
		w.violate("S4", "%v is given s%d by a token that was replaced", o, l.n)
	}
	o.reads(l, got.Data().Marks)
	if b, ok := o.before[l]; ok && sure && !o.faulty && o.from.Sub(b.seen) >= touchEvery && o.from.Sub(l.rec.Seen) >= touchEvery {
		w.violate("S7", "%v uses s%d, and it is not noted", o, l.n)
	}
}

// reads checks the data of a session: all that was there when the request
// began, and nothing that never was.
func (o *op) reads(l *life, marks []int) {
	for _, mark := range marks {
		if _, own := o.marks[mark]; !own && !slices.Contains(l.marks, mark) {
			o.w.violate("S5", "%v sees in s%d what was never written", o, l.n)
		}
	}
	if b, ok := o.before[l]; ok {
		if b.marks > len(l.marks) { // a store that lies
			o.w.violate("S5", "what was written in s%d before %v began is gone", l.n, o)
			return
		}
		for _, mark := range l.marks[:b.marks] {
			if !slices.Contains(marks, mark) {
				o.w.violate("S5", "%v does not see in s%d what was written before", o, l.n)
			}
		}
	}
}

// signIn takes the epoch, if it is to, and runs f.
func (o *op) signIn(a action, f func(session.Start) (*session.Session[data], error)) (*session.Session[data], error) {
	w := o.w
	start := session.Start{UserID: a.user, Origin: a.origin, Scopes: []string{"read"}}
	taken, at := 0, w.clock.now()
	if a.epoch {
		e, err := o.node.m.Epoch(o.ctx, a.user)
		o.couldTell(err)
		if err != nil {
			return nil, err
		}
		start.Epoch = &e
		taken = w.moment
		o.think() // the credentials are checked
	}
	before := len(o.minted)
	o.signing = a.user
	got, err := f(start)
	o.signing = ""
	o.couldTell(err)
	if err != nil {
		raised := slices.ContainsFunc(w.raise[a.user], func(m int) bool { return m > taken })
		if errors.Is(err, session.ErrEpoch) && !raised && !w.forgot(a.user) {
			w.violate("S22", "%v is told %v, and no epoch was raised", o, err)
		}
		if o.faulty {
			w.over[a.user] = w.moment + 1
		}
		return nil, err
	}
	if o.faulty {
		w.over[a.user] = w.moment + 1
	} else if w.over[a.user] <= o.start {
		delete(w.over, a.user)
	}
	t := o.given()
	if len(o.minted) == before || t == nil {
		w.violate("S2", "%v signs in without a session in the store", o)
		return got, err
	}
	if l := t.life; l.rec.ID != got.ID() || l.rec.UserID != a.user || got.UserID() != a.user {
		w.violate("S2", "%v signs %q in and gives out %s", o, a.user, w.name(got.ID()))
	}
	if a.epoch && w.clock.now().Sub(at) < time.Hour && slices.ContainsFunc(w.raise[a.user], func(m int) bool { return m > taken && m < t.from }) {
		w.violate("S22", "%v signs in with an epoch from before all sessions of the user were ended", o)
	}
	return got, nil
}

func (o *op) login(s *served, rw http.ResponseWriter, r *http.Request, a action) error {
	w := o.w
	certain, _ := o.sure()
	got, err := o.signIn(a, func(start session.Start) (*session.Session[data], error) { return o.node.m.Begin(rw, r, start) })
	if err != nil {
		return err
	}
	l := w.lives[got.ID()]
	if l == nil {
		return nil
	}
	for _, t := range o.presented {
		if t.until == 0 && t.life.ended == 0 && o.lives(t.life) {
			w.violate("S2", "%v signs in, and the token of s%d that it came with is good", o, t.life.n)
		}
	}
	if certain != nil && certain != l && len(o.presented) == 1 && o.lives(certain) && (certain.rec.UserID == "" || certain.rec.UserID == a.user) && certain.by == o && certain.reason == session.ReasonReplaced {
		w.violate("S2", "%v signs in, and s%d is not carried on", o, certain.n)
	}
	if l.rec.UserID == a.user {
		o.reads(l, got.Data().Marks)
	}
	return nil
}

// answered checks the response as a whole.
func (o *op) answered(s *served, rec *httptest.ResponseRecorder, b *browser) {
	w := o.w
	value, set := "", false
	for _, c := range rec.Result().Cookies() {
		if c.Name == cookieName {
			value, set = c.Value, true
		}
	}
	withheld := rec.Header().Get(marker) == ""
	if s.panicked {
		for _, mark := range s.pending {
			for _, l := range w.order {
				if s.updates && !o.faulty && slices.Contains(l.marks, mark) {
					w.violate("S16", "%v panics, and its change is in s%d", o, l.n)
				}
			}
		}
		for _, t := range o.minted {
			if !o.faulty && t.life.ended == 0 && t.until == 0 {
				w.violate("S16", "%v panics, and s%d, whose token nobody has, lives", o, t.life.n)
			}
		}
		return
	}
	if withheld {
		switch {
		case rec.Code < 400 || value != "":
			w.violate("S17", "%v has its response withheld, and the status %d or a cookie", o, rec.Code)
		case rec.Code == http.StatusConflict && s.updates:
			if l, sure := o.sure(); sure && l != nil {
				w.violate("S5", "%v is told that its session ended, and s%d lives", o, l.n)
			}
		case rec.Code == http.StatusServiceUnavailable && !o.faulty:
			w.violate("S17", "%v is answered with 503, and no call has failed", o)
		}
	}
	if rec.Code >= 400 && rec.Code < 500 && rec.Code != http.StatusConflict && withheld {
		w.violate("S17", "%v is answered with %d", o, rec.Code)
	}
	for _, mark := range s.pending {
		n := 0
		for _, l := range w.order {
			if slices.Contains(l.marks, mark) {
				n++
			}
		}
		switch {
		case n > 1 && !o.faulty: // an answer that is lost leaves a session whose token nobody has
			w.violate("S5", "%v has changed %d sessions", o, n)
		case n == 0 && rec.Code < 400 && (s.updates || !s.changed):
			w.violate("S5", "%v is told that its change is saved, and it is nowhere", o)
		case n > 0 && withheld && s.updates && !o.faulty:
			w.violate("S17", "%v is told that its change is not saved, and it is", o)
		}
	}
	if s.out {
		if !set || value != "" {
			w.violate("S10", "%v signs out, and the cookie is not deleted", o)
		}
		if s.outError && rec.Code < 500 {
			w.violate("S17", "%v could not sign out, and is answered with %d", o, rec.Code)
		}
	}
	if value != "" {
		t := o.given()
		if t == nil {
			w.violate("S1", "%v is given a cookie of no session", o)
			return
		}
		if t.life.by == o && t.life.ended != 0 && (t.life.reason != session.ReasonEvicted || !w.overtaken(t.life)) {
			w.violate("S2", "%v is given the cookie of s%d, which it has ended", o, t.life.n)
		}
		if w.texts[value] != nil {
			w.violate("S1", "%v is given a cookie that there was before", o)
		}
		t.text = value
		w.texts[value] = t
	}
	if b != nil && !o.killed && set {
		b.held = append(b.held, value)
	}
}

// overtaken says whether a sign-in may be the one too many by itself: others of
// the user have signed in no earlier, or clocks disagree about that.
func (w *world) overtaken(l *life) bool {
	return w.disagreed || slices.ContainsFunc(w.order, func(other *life) bool {
		return other != l && other.rec.UserID == l.rec.UserID && !other.rec.Created.Before(l.rec.Created)
	})
}

// given is the token that the client is to get: the last that was stored, as far
// as the manager knows.
func (o *op) given() *token {
	for _, t := range slices.Backward(o.minted) {
		if !t.lost {
			return t
		}
	}
	return nil
}

// mayEnd says why o may not end l for this reason, "" if it may.
func (o *op) mayEnd(l *life, reason session.Reason) string {
	of := func(list []*token) bool {
		return slices.ContainsFunc(list, func(t *token) bool { return t.life == l })
	}
	switch {
	case reason == session.ReasonExpired && o.kind == "reap",
		reason == o.reason && (l.rec.UserID != "") && o.reason != "",
		reason == session.ReasonSignedOut && (o.kind == "logout" || o.kind == "end by refresh") && (of(o.presented) || of(o.minted)),
		reason == session.ReasonReplaced && o.signing != "" && (of(o.presented) || of(o.minted)),
		reason == session.ReasonRevoked && of(o.minted):
		return ""
	case reason == session.ReasonEvicted && o.signing == l.rec.UserID && l.rec.UserID != "":
		return ""
	case reason == session.ReasonReused && o.kind == "refresh" && of(o.presented):
		if t := o.presented[0]; t.until == 0 || t.until > o.start && t == l.tokens[max(0, len(l.tokens)-2)] && o.lives(l) && o.inGrace(l.current()) {
			return "its refresh token was not used before"
		}
		return ""
	}
	return "for the reason " + string(reason)
}

// inGrace says whether a repeat of the token before t is surely tolerated.
func (o *op) inGrace(t *token) bool {
	return o.from.Sub(t.rotated).Abs() <= grace && o.node.now().Sub(t.rotated).Abs() <= grace
}
