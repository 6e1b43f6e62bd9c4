package model_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gatewire/gatewire/session"
)

// ledger is what the store holds, kept by the plainest means, and all that ever
// was. A moment is the number of a store call.
type ledger struct {
	lives map[string]*life       // by id, also those that ended
	order []*life                // by their beginning
	keys  map[session.Key]*life  // every key there ever was
	texts map[string]*token      // what clients hold
	log   []logged               // what ended, oldest first
	known map[string]int         // cursors, by how much of the log they are after
	raise map[string][]int       // user: the moments of EndUser
	epoch map[string][]epochHeld // user: the epochs there were
}

// life is a session from its beginning on.
type life struct {
	n       int            // the how manieth, for people
	rec     session.Record // as it is, or was last
	tokens  []*token       // oldest first
	marks   []int
	signed  int // moment of the last sign-in; 0: nobody has
	origin  int // moment since which its Origin is what it is
	created int
	ended   int // moment; 0: it lives
	by      *op // who ended it
	reason  session.Reason
}

// token is what a client presents a session by: the key of a cookie, or one
// secret of a refresh token.
type token struct {
	life    *life
	key     session.Key
	secret  [32]byte
	text    string // "": no client was given it
	from    int
	until   int       // moment it was replaced; 0: it is the current one
	rotated time.Time // when it came in place of the one before
	by      *op
	lost    bool // the store's answer was: its manager does not know that it is stored
}

type logged struct {
	session.Ended
	batch  int // moment: of one batch the store chooses the order
	pinned bool
	real   time.Time
}

type epochHeld struct {
	value uint64
	since time.Time
}

func newLedger() *ledger {
	return &ledger{
		lives: make(map[string]*life), keys: make(map[session.Key]*life), texts: make(map[string]*token),
		known: make(map[string]int), raise: make(map[string][]int), epoch: make(map[string][]epochHeld),
	}
}

func (l *life) current() *token { return l.tokens[len(l.tokens)-1] }

func (l *life) deadline() time.Time {
	if l.rec.IdleExpires.Before(l.rec.Expires) {
		return l.rec.IdleExpires
	}
	return l.rec.Expires
}

func (l *life) livedAfter(moment int) bool { return l.ended == 0 || l.ended > moment }

// goodAfter says whether t was what its session is presented by at some moment
// after this one.
func (t *token) goodAfter(moment int) bool {
	return (t.until == 0 || t.until > moment) && t.life.livedAfter(moment)
}

func (g *ledger) byID(id string) *life {
	if l := g.lives[id]; l != nil && l.ended == 0 {
		return l
	}
	return nil
}

func (g *ledger) byKey(key session.Key) *life {
	if l := g.keys[key]; l != nil && l.ended == 0 && l.rec.Key == key {
		return l
	}
	return nil
}

func (g *ledger) ofUser(userID string) (list []*life) {
	for _, l := range g.order {
		if l.ended == 0 && l.rec.UserID == userID && userID != "" {
			list = append(list, l)
		}
	}
	return list
}

func marksOf(rec session.Record) []int {
	if len(rec.Data) == 0 {
		return nil
	}
	var d data
	if err := json.Unmarshal(rec.Data[1:], &d); err != nil {
		panic(err)
	}
	return d.Marks
}

// written checks what a request writes into a session: what was there, and
// nothing new but marks of its own, made as nobody or as the session's user.
func (w *world) written(o *op, before []int, rec session.Record) {
	after := marksOf(rec)
	if len(after) < len(before) || !slices.Equal(after[:len(before)], before) {
		w.violate("S5", "%v loses a change: %v becomes %v", o, before, after)
		return
	}
	for i, mark := range after[len(before):] {
		as, own := o.marks[mark]
		if !own || as != "" && as != rec.UserID || slices.Contains(after[:len(before)+i], mark) {
			w.violate("S5", "%v writes the mark %d, which is not its own, another user's or there already", o, mark)
		}
	}
}

func (w *world) create(o *op, rec session.Record, epoch uint64) error {
	if epoch != session.AnyEpoch && epoch != w.epochNow(rec.UserID) {
		return session.ErrEpoch
	}
	if w.keys[rec.Key] != nil || o.loads[rec.Key] {
		w.violate("S1", "%v stores a session under a key that was there", o)
	}
	if rec.UserID == "" && len(rec.Data) == 0 {
		w.violate("S27", "%v stores a session of nobody without data", o)
	}
	if rec.UserID != o.signing {
		w.violate("S2", "%v stores a session of %q", o, rec.UserID)
	}
	w.written(o, nil, rec)
	rec.Rev = 1
	l := &life{n: len(w.order) + 1, rec: rec, marks: marksOf(rec), created: w.moment, origin: w.moment}
	if rec.UserID != "" {
		l.signed = w.moment
	}
	w.lives[rec.ID] = l
	w.order = append(w.order, l)
	w.mint(o, l)
	w.note("%v begins s%d of %q", o, l.n, rec.UserID)
	return nil
}

func (w *world) mint(o *op, l *life) {
	t := &token{life: l, key: l.rec.Key, secret: l.rec.Refresh.Secret, from: w.moment, by: o, rotated: l.rec.Refresh.RotatedAt}
	if len(l.tokens) > 0 {
		l.current().until = w.moment
	}
	l.tokens = append(l.tokens, t)
	w.keys[t.key] = l
	o.minted = append(o.minted, t)
}

// holds says whether a request may act on what is stored under key: it
// presented what finds it, or made it itself.
func (o *op) holds(l *life, key session.Key) bool {
	for _, t := range o.minted {
		if t.life == l && t.key == key {
			return true
		}
	}
	for _, t := range o.presented {
		if t.life == l && t.key == key && t.until == 0 {
			return true
		}
	}
	return false
}

func (w *world) replace(o *op, old session.Key, rec session.Record, ifRev uint64) error {
	l := w.byKey(old)
	switch {
	case l == nil:
		return session.ErrNotFound
	case l.rec.Rev != ifRev:
		return session.ErrConflict
	case rec.Key != old && w.keys[rec.Key] != nil:
		return session.ErrExists
	}
	if !o.holds(l, old) {
		w.violate("S4", "%v writes s%d, whose token it does not have", o, l.n)
	}
	if !l.deadline().After(o.from) {
		w.violate("S6", "%v writes s%d, which had expired", o, l.n)
	}
	if !rec.Expires.Equal(l.rec.Expires) && o.signing == "" {
		w.violate("S6", "%v moves the absolute end of s%d", o, l.n)
	}
	if o.signing != "" && rec.Expires.After(o.node.now().Add(absolute)) || rec.IdleExpires.After(rec.Expires) {
		w.violate("S6", "%v has s%d end too late", o, l.n)
	}
	if rec.UserID != l.rec.UserID && (l.rec.UserID != "" || rec.UserID != o.signing) {
		w.violate("S2", "%v makes s%d a session of %q", o, l.n, rec.UserID)
	}
	w.written(o, l.marks, rec)
	before := l.rec
	rec.ID, rec.Created, rec.Rev = before.ID, before.Created, ifRev+1
	rec.Seen = later(rec.Seen, before.Seen)
	rec.IdleExpires = earlier(later(rec.IdleExpires, before.IdleExpires), rec.Expires)
	l.rec, l.marks = rec, marksOf(rec)
	if rec.Origin != before.Origin {
		l.origin = w.moment
	}
	if rec.Key != before.Key || rec.Refresh.Secret != before.Refresh.Secret {
		w.mint(o, l)
		if o.signing != "" {
			l.signed = w.moment
		}
	} else if o.signing != "" {
		w.violate("S2", "%v signs in and leaves the token of s%d", o, l.n)
	}
	w.note("%v writes s%d", o, l.n)
	return nil
}

func (w *world) touch(o *op, key session.Key, seen, idleExpires time.Time) {
	l := w.byKey(key)
	if l == nil {
		return
	}
	if !o.holds(l, key) {
		w.violate("S4", "%v touches s%d, whose token it does not have", o, l.n)
	}
	if !l.deadline().After(o.from) {
		w.violate("S6", "%v touches s%d, which had expired", o, l.n)
	}
	if idleExpires.After(l.rec.Expires) || idleExpires.After(o.node.now().Add(idle)) {
		w.violate("S6", "%v touches s%d past its end", o, l.n)
	}
	if b, ok := o.before[l]; ok && seen.Sub(b.seen) < touchEvery {
		w.violate("S7", "%v touches s%d too early", o, l.n)
	}
	l.rec.Seen = later(l.rec.Seen, seen)
	l.rec.IdleExpires = earlier(later(l.rec.IdleExpires, idleExpires), l.rec.Expires)
	w.note("%v touches s%d", o, l.n)
}

// finish ends a life.
func (w *world) finish(o *op, l *life, reason session.Reason, at time.Time) session.Ended {
	l.ended, l.by, l.reason = w.moment, o, reason
	e := session.Ended{ID: l.rec.ID, UserID: l.rec.UserID, Reason: reason, At: at}
	w.log = append(w.log, logged{Ended: e, batch: w.moment, real: w.clock.now()})
	if why := o.mayEnd(l, reason); why != "" {
		w.violate("E1", "%v ends s%d: %s", o, l.n, why)
	}
	w.note("%v ends s%d: %s", o, l.n, reason)
	return e
}

func (w *world) end(o *op, id string, reason session.Reason, at time.Time) bool {
	l := w.byID(id)
	if l == nil {
		return false
	}
	w.finish(o, l, reason, at)
	return true
}

func (w *world) endUser(o *op, userID, exceptID string, reason session.Reason, at time.Time) (ended []session.Ended) {
	w.raise[userID] = append(w.raise[userID], w.moment)
	for _, l := range w.ofUser(userID) {
		if l.rec.ID != exceptID {
			ended = append(ended, w.finish(o, l, reason, at))
		}
	}
	w.note("%v has ended all of %q", o, userID)
	return ended
}

func (w *world) endOrigin(o *op, from session.Origin, reason session.Reason, at time.Time) (ended []session.Ended) {
	for _, l := range w.order {
		has := l.rec.Origin
		if l.ended == 0 && has.Issuer == from.Issuer && (from.Subject == "" || from.Subject == has.Subject) && (from.SID == "" || from.SID == has.SID) {
			ended = append(ended, w.finish(o, l, reason, at))
		}
	}
	return ended
}

func (w *world) reap(o *op, now time.Time, limit int, ended []session.Ended) {
	due := 0
	for _, l := range w.order {
		if l.ended == 0 && !l.deadline().After(now) {
			due++
		}
	}
	for _, e := range ended {
		l := w.byID(e.ID)
		if l == nil || l.deadline().After(now) || e.Reason != session.ReasonExpired || e.UserID != l.rec.UserID || !e.At.Equal(now) {
			w.disagree("R1", "Reap ends what has not expired, or has ended: %s", w.name(e.ID))
			continue
		}
		w.finish(o, l, session.ReasonExpired, now)
	}
	if len(ended) != min(limit, due) {
		w.disagree("R1", "Reap ends %d of %d at a limit of %d", len(ended), due, limit)
	}
}

// since compares a piece of the log. Of sessions that ended in one step the
// first reader shows the order; it binds all others.
func (w *world) since(cursor string, limit int, ended []session.Ended, next string, err error) {
	at, ok := w.known[cursor]
	if cursor == "" {
		at, ok = len(w.log), true
		limit = 0
	}
	switch {
	case !ok:
		w.violate("W1", "a follower has a cursor that no node was given")
		return
	case errors.Is(err, session.ErrCursorLost):
		if at >= len(w.log) || w.clock.now().Sub(w.log[at].real) < 15*time.Minute {
			w.disagree("W2", "a cursor is lost that is younger than 15 minutes")
		}
		return
	case err != nil:
		w.agree("W1", nil, err)
		return
	}
	w.known[next] = at + len(ended)
	if len(ended) != min(limit, len(w.log)-at) {
		w.disagree("W1", "EndedSince has %d sessions of %d", len(ended), min(limit, len(w.log)-at))
		return
	}
	for i, e := range ended {
		entry := &w.log[at+i]
		for j := at + i; !entry.pinned && j < len(w.log) && w.log[j].batch == entry.batch; j++ {
			if w.log[j].ID == e.ID {
				w.log[at+i], w.log[j] = w.log[j], w.log[at+i]
				break
			}
		}
		entry.pinned = true
		if entry.ID != e.ID || entry.UserID != e.UserID || entry.Reason != e.Reason || !entry.At.Equal(e.At) {
			w.disagree("W1", "EndedSince has %s, want %s", w.name(e.ID), w.name(entry.ID))
			return
		}
	}
}

// raised notes the epoch after EndUser: one that no sign-in under way holds.
func (w *world) raised(userID string) {
	now := w.clock.now()
	value, err := w.raw.Epoch(context.Background(), userID)
	w.agree("E3", nil, err)
	held := w.epoch[userID]
	for i, h := range held {
		until := now
		if i+1 < len(held) {
			until = held[i+1].since
		}
		if h.value == value && now.Sub(until) < time.Hour {
			w.disagree("E3", "an epoch of %q returns", userID)
		}
	}
	w.epoch[userID] = append(held, epochHeld{value, now})
}

// epochIs compares an epoch with the last one known. A store may forget one
// that was raised more than an hour ago.
func (w *world) epochIs(userID string, value uint64) {
	held := w.epoch[userID]
	if n := len(held); n > 0 {
		last := held[n-1]
		if last.value == value {
			return
		}
		if w.clock.now().Sub(last.since) < time.Hour {
			w.disagree("E3", "the epoch of %q changes", userID)
			return
		}
	}
	w.epoch[userID] = append(held, epochHeld{value, w.clock.now()})
}

// forgot says whether the store has just forgotten an epoch of long ago. Who
// signs in meanwhile is told ErrEpoch in vain, and may try again.
func (w *world) forgot(userID string) bool {
	held := w.epoch[userID]
	return len(held) > 1 && w.clock.now().Sub(held[len(held)-2].since) >= time.Hour
}

func (w *world) epochNow(userID string) uint64 {
	value, err := w.raw.Epoch(context.Background(), userID)
	w.agree("E3", nil, err)
	w.epochIs(userID, value)
	return value
}

// agree compares an error of the store. What is none of the sentinels is never
// right: no request runs at the same time, and the servers are up.
func (w *world) agree(rule string, want, got error) {
	if !errors.Is(got, want) {
		w.disagree(rule, "the store says %v, want %v", got, want)
	}
	for _, known := range []error{nil, session.ErrExists, session.ErrNotFound, session.ErrConflict, session.ErrEpoch, session.ErrCursorLost} {
		if errors.Is(got, known) {
			return
		}
	}
	w.violate(rule, "the store says %v", got)
}

func (w *world) sameRecord(rule string, l *life, rec session.Record, found bool) {
	if found != (l != nil) {
		w.disagree(rule, "found is %t, want %t (%s)", found, l != nil, w.name(rec.ID))
		return
	}
	if found && !reflect.DeepEqual(plain(rec), plain(l.rec)) {
		w.disagree(rule, "s%d is not what was stored", l.n)
	}
}

func (w *world) sameList(userID string, recs []session.Record) {
	want := w.ofUser(userID)
	if len(recs) != len(want) {
		w.disagree("I1", "ListUser has %d sessions of %d", len(recs), len(want))
		return
	}
	for i, rec := range recs {
		if i > 0 && rec.Created.After(recs[i-1].Created) {
			w.disagree("I1", "ListUser is not newest first")
		}
		if i > 0 && rec.ID == recs[i-1].ID || !slices.ContainsFunc(want, func(l *life) bool { return l.rec.ID == rec.ID }) {
			w.disagree("I1", "ListUser has a session that is none of the user's")
			return
		}
		w.sameRecord("I1", w.byID(rec.ID), rec, true)
	}
}

func (w *world) sameEnds(rule string, want, got []session.Ended) {
	got = slices.Clone(got)
	for _, list := range [][]session.Ended{want, got} {
		slices.SortFunc(list, func(a, b session.Ended) int { return strings.Compare(a.ID, b.ID) })
	}
	same := slices.EqualFunc(want, got, func(a, b session.Ended) bool {
		return a.ID == b.ID && a.UserID == b.UserID && a.Reason == b.Reason && a.At.Equal(b.At)
	})
	if !same {
		w.disagree(rule, "%d sessions ended, want %d", len(got), len(want))
	}
}

// audit compares all that the store can be asked for.
func (w *world) audit() {
	ctx := context.Background()
	for key := range w.keys {
		rec, found, err := w.raw.Load(ctx, key)
		w.agree("L1", nil, err)
		w.sameRecord("L1, U2, U3, E1", w.byKey(key), rec, found)
	}
	for _, l := range w.order {
		rec, found, err := w.raw.ByID(ctx, l.rec.ID)
		w.agree("L1", nil, err)
		w.sameRecord("L1, E1", w.byID(l.rec.ID), rec, found)
	}
	for _, user := range append(w.users, "") {
		recs, err := w.raw.ListUser(ctx, user)
		w.agree("I1", nil, err)
		w.sameList(user, recs)
	}
}

// plain makes records comparable: times without zone, nothing for empty lists.
func plain(rec session.Record) session.Record {
	rec = shifted(rec, time.Time.UTC)
	if len(rec.Scopes) == 0 {
		rec.Scopes = nil
	}
	if len(rec.Roles) == 0 {
		rec.Roles = nil
	}
	if len(rec.Data) == 0 {
		rec.Data = nil
	}
	if len(rec.Refresh.Successor) == 0 {
		rec.Refresh.Successor = nil
	}
	return rec
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
