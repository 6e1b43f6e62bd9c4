package model_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatewire/gatewire/session"
)

// revokeAll is RevokeOthers, or RevokeUser where none is kept; with atEpoch, of
// the sessions of an epoch that is read before.
func (o *op) revokeAll(userID, keepID string, atEpoch bool) error {
	w, m := o.w, o.node.m
	o.reason = session.ReasonPasswordChanged
	revoke := m.RevokeOthers
	asked := 0
	if atEpoch {
		epoch, err := m.Epoch(o.ctx, userID)
		o.couldTell(err)
		if err != nil {
			return err
		}
		asked = w.moment
		revoke = func(ctx context.Context, userID, keepID string, reason session.Reason) (int, error) {
			return m.RevokeOthersAt(ctx, userID, keepID, epoch, reason)
		}
	}
	from := w.moment
	before := len(w.log)
	n, err := revoke(o.ctx, userID, keepID, o.reason)
	o.couldTell(err)
	if errors.Is(err, session.ErrEpoch) {
		raised := slices.ContainsFunc(w.raise[userID], func(at int) bool { return at > asked })
		if !raised && !w.forgot(userID) {
			w.violate("E5", "%v is told that somebody else has ended the sessions, and nobody has", o)
		}
		for _, e := range w.log[before:] {
			if w.lives[e.ID].by == o {
				w.violate("E5", "%v is told that it was too late, and has ended s%d", o, w.lives[e.ID].n)
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, l := range w.ofUser(userID) {
		if l.signed <= from && l.rec.ID != keepID {
			w.violate("S22", "%v has ended all sessions, and s%d lives", o, l.n)
		}
	}
	if kept := w.lives[keepID]; kept != nil && kept.by == o {
		w.violate("S22", "%v was to keep s%d, and ended it", o, kept.n)
	}
	mine := 0
	for _, e := range w.log[before:] {
		if w.lives[e.ID].by == o {
			mine++
		}
	}
	if n != mine {
		w.disagree("S22", "%v is told that it ended %d sessions, want %d", o, n, mine)
	}
	return nil
}

func (w *world) startRevokeUser(nd *node, userID string, atEpoch bool) {
	w.begin(&op{name: "revoke user", node: nd}, func(o *op) { _ = o.revokeAll(userID, "", atEpoch) })
}

func (w *world) startRevoke(nd *node, userID string, l *life) {
	w.begin(&op{name: "revoke", node: nd, reason: session.ReasonRevoked}, func(o *op) {
		lived, own := l.ended == 0, l.rec.UserID == userID
		done, err := nd.m.Revoke(o.ctx, userID, l.rec.ID, o.reason)
		o.couldTell(err)
		switch {
		case done && (l.ended == 0 || l.by != o || l.rec.UserID != userID):
			w.violate("S22", "%v is told that it ended s%d, and it did not", o, l.n)
		case !done && err == nil && lived && own && l.ended == 0:
			w.violate("S22", "%v is told that there is no s%d, and it lives", o, l.n)
		case l.by == o && l.rec.UserID != userID:
			w.violate("S22", "%v ends s%d of another user", o, l.n)
		}
	})
}

func (w *world) startEndOrigin(nd *node, from session.Origin) {
	w.begin(&op{name: "end origin", node: nd, reason: session.ReasonProvider}, func(o *op) {
		_, err := nd.m.EndOrigin(o.ctx, from, o.reason)
		o.couldTell(err)
		for _, l := range w.order {
			has := l.rec.Origin
			if err == nil && l.ended == 0 && l.origin <= o.start && has.Issuer == from.Issuer &&
				(from.Subject == "" || from.Subject == has.Subject) && (from.SID == "" || from.SID == has.SID) {
				w.violate("E4", "%v has ended all of the provider's, and s%d lives", o, l.n)
			}
		}
	})
}

func (w *world) startList(nd *node, userID string) {
	w.begin(&op{name: "list", node: nd}, func(o *op) {
		own := make(map[*life]time.Time)
		for _, l := range w.ofUser(userID) {
			own[l] = l.deadline()
		}
		list, err := nd.m.List(o.ctx, userID)
		o.couldTell(err)
		if err != nil {
			return
		}
		listed := make(map[*life]bool)
		for _, info := range list {
			if l := o.identified(info.ID, info.UserID); l != nil {
				if info.UserID != userID || listed[l] {
					w.violate("S30", "%v lists s%d of another user, or twice", o, l.n)
				}
				listed[l] = true
			}
		}
		for l, deadline := range own {
			if l.ended == 0 && deadline.After(nd.now()) && !listed[l] {
				w.violate("S30", "%v does not list s%d", o, l.n)
			}
		}
	})
}

func (w *world) startByID(nd *node, l *life) {
	w.begin(&op{name: "by id", node: nd}, func(o *op) {
		lived, deadline := l.ended == 0, l.deadline()
		got, err := nd.m.Session(o.ctx, l.rec.ID)
		o.couldTell(err)
		switch {
		case err == nil:
			if l2 := o.identified(got.ID(), got.UserID()); l2 != l {
				w.violate("S30", "%v finds another session", o)
			}
		case errors.Is(err, session.ErrNotFound) && lived && l.ended == 0 && deadline.After(nd.now()):
			w.violate("S30", "%v does not find s%d", o, l.n)
		}
		alive, err := nd.m.Alive(o.ctx, l.rec.ID)
		o.couldTell(err)
		if alive {
			o.identified(l.rec.ID, "")
		}
	})
}

// startPoll reads the log on. A follower whose cursor is lost asks about what
// it holds, which is nothing here, and begins anew.
func (w *world) startPoll(f *follower) {
	f.busy = true
	w.begin(&op{name: "poll", node: f.node}, func(o *op) {
		defer func() { f.busy = false }()
		ids, reasons, next, err := f.node.m.EndedReasons(o.ctx, f.cursor)
		if lost := (interface{ CursorLost() bool })(nil); errors.As(err, &lost) {
			*f = follower{node: f.node, busy: true}
			return
		}
		o.couldTell(err)
		if err != nil {
			return
		}
		if f.cursor == "" {
			f.from = o.logAt
		}
		f.cursor = next
		for i, id := range ids {
			l := w.lives[id]
			if l == nil || l.ended == 0 {
				w.violate("W1", "%v tells of %s, which has not ended", o, w.name(id))
			} else if reasons[i] != string(l.reason) {
				w.violate("W1", "%v tells that s%d ended for the reason %s, want %s", o, l.n, reasons[i], l.reason)
			}
		}
		f.seen = append(f.seen, ids...)
	})
}

func (w *world) startBeginToken(nd *node, a action) {
	w.begin(&op{name: a.kind, node: nd}, func(o *op) {
		var text string
		_, err := o.signIn(a, func(start session.Start) (*session.Session[data], error) {
			t, s, err := nd.m.BeginToken(o.ctx, start)
			text = t.Reveal()
			return s, err
		})
		t := o.given()
		if err != nil || o.killed || t == nil {
			return
		}
		t.text, w.texts[text] = text, t
		w.devices = append(w.devices, &device{held: []string{text}})
	})
}

func (w *world) startEndByRefresh(nd *node, text string) {
	o := (&op{name: "end by refresh", kind: "end by refresh", node: nd}).present(w, []string{text})
	w.begin(o, func(o *op) {
		err := nd.m.EndByRefresh(o.ctx, text)
		o.couldTell(err)
		if l := o.presented[0].life; err == nil && l.ended == 0 && o.lives(l) {
			w.violate("J14", "%v ends s%d, and it lives", o, l.n)
		}
	})
}

func (w *world) startRefresh(nd *node, d *device, text string) {
	o := (&op{name: "refresh", kind: "refresh", node: nd}).present(w, []string{text})
	w.begin(o, func(o *op) {
		next, got, err := nd.m.Refresh(o.ctx, text)
		o.couldTell(err)
		t := o.presented[0]
		l := t.life
		i := slices.Index(l.tokens, t)
		if err == nil {
			o.refreshed(t, next.Reveal(), got)
			if !o.killed && !slices.Contains(d.held, next.Reveal()) {
				d.held = append(d.held, next.Reveal())
			}
			return
		}
		if !errors.Is(err, session.ErrRefreshInvalid) {
			return
		}
		// Unless something else went on, a good token works, a repeat too, and
		// any other ends its session.
		switch {
		case !o.lives(l) || l.ended != 0 && l.ended <= o.start:
		case t.until == 0 && l.ended == 0,
			i == len(l.tokens)-2 && t.until <= o.start && l.ended == 0 && o.inGrace(l.current()):
			w.violate("J14", "%v is refused a good token of s%d", o, l.n)
		case l.ended == 0:
			w.violate("J14", "%v presents a superseded token, and s%d lives", o, l.n)
		}
	})
}

// refreshed checks the successor of t that a client is given.
func (o *op) refreshed(t *token, text string, got *session.Session[data]) {
	w, l := o.w, t.life
	if found := o.identified(got.ID(), got.UserID()); found != l {
		w.violate("J14", "%v is given another session", o)
		return
	}
	i := slices.Index(l.tokens, t)
	if i == len(l.tokens)-1 {
		w.violate("J14", "%v is given a successor that the store does not have", o)
		return
	}
	next := l.tokens[i+1]
	switch {
	case next.text != "" && next.text != text:
		w.violate("J14", "%v is given a second successor", o)
	case w.texts[text] != nil && w.texts[text] != next:
		w.violate("J14", "%v is given a token that there was before", o)
	case !next.goodAfter(o.start):
		w.violate("J14", "%v is given a successor that was used", o)
	case next.by != o && o.node.now().Sub(next.rotated).Abs() > grace && o.from.Sub(next.rotated).Abs() > grace && next.from <= o.start:
		w.violate("J14", "%v is given a successor again after the grace", o)
	}
	next.text, w.texts[text] = text, next
	o.reads(l, got.Data().Marks)
}
