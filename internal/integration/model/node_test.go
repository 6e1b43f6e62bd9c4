package model_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/gatewire/gatewire/session"
)

// data is what a session carries: the marks of the requests that changed it.
// Nothing takes a mark out again, so that a lost one shows.
type data struct {
	Marks []int `json:",omitempty"`
}

// What the nodes are configured with.
const (
	idle            = 30 * time.Minute
	absolute        = 2 * time.Hour
	touchEvery      = time.Minute
	refreshIdle     = time.Hour
	refreshAbsolute = 3 * time.Hour
	grace           = 10 * time.Second
	maxPerUser      = 3
)

// clock is the time of the world. In a synctest bubble time is fake and passes
// when the world sleeps, for requests under way too. On a server the world is
// ahead of the machine's clock instead, by an amount that changes only while no
// request is under way: a manager compares the times it reads with each other
// and with now, so it can't tell a clock that went on from records that are older.
type clock struct {
	fake  bool
	ahead time.Duration
}

func (c *clock) now() time.Time { return ms(time.Now()).Add(c.ahead) }

func (c *clock) pass(d time.Duration) {
	if c.fake {
		time.Sleep(d)
		return
	}
	c.ahead += d
}

func ms(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// node is one process with a manager. Its clock is wrong by skew.
type node struct {
	w    *world
	n    int
	skew time.Duration
	busy int // requests under way
	m    *session.Manager[data]
}

func newNode(w *world, n int) (*node, error) {
	nd := &node{w: w, n: n}
	m, err := session.New[data](&nodeStore{nd}, &session.Options{
		Idle: idle, Absolute: absolute, TouchEvery: touchEvery, Grace: grace, MaxPerUser: maxPerUser, ReapEvery: -1,
		Refresh: session.Lifetime{Idle: refreshIdle, Absolute: refreshAbsolute},
		Logger:  slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.Level(100)})),
	})
	if err != nil {
		return nil, err
	}
	m.OnEnd(func(id, user, reason string) {
		if l := w.lives[id]; l == nil || l.ended == 0 {
			w.violate("E1", "OnEnd tells of a session that lives")
		}
	})
	nd.m = m
	return nd, nil
}

// now is this node's clock, in the time of the store's records.
func (n *node) now() time.Time { return n.w.clock.now().Add(n.skew) }

// in and out turn a time of this node's manager into one of the store and back.
func (n *node) in(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(n.w.clock.ahead + n.skew)
}

func (n *node) out(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(-n.w.clock.ahead - n.skew)
}

func shifted(rec session.Record, f func(time.Time) time.Time) session.Record {
	for _, t := range []*time.Time{&rec.AuthTime, &rec.Created, &rec.Seen, &rec.IdleExpires, &rec.Expires, &rec.Refresh.RotatedAt} {
		*t = f(*t)
	}
	return rec
}

// verdict is what becomes of a call of the store.
type verdict int

const (
	proceed      verdict = iota
	failBefore           // an error, and no effect
	failAfter            // an effect, and its answer is lost
	cancelBefore         // the client goes away before the call
	cancelAfter          // and after it
	abort                // the run is over
)

var errFault = errors.New("the store is out of reach")

type opKey struct{}

// nodeStore is the store as one node sees it: by its own clock, and with every
// call waiting for the scheduler's verdict. Each effect is noted in the ledger,
// which compares the answer with its own.
//
// A call with a context that is over is not made: a store may answer that with
// an effect or without one, and these are the verdicts before and after it. What
// is made is made without one, so that no timer decides in the scheduler's place.
type nodeStore struct{ n *node }

func (s *nodeStore) do(ctx context.Context, name string, f func(o *op) error) error {
	o := ctx.Value(opKey{}).(*op)
	v := o.gate(name)
	if v == cancelBefore {
		o.kill()
	}
	if err := ctx.Err(); err != nil {
		o.faulty = true
		return err
	}
	if v == failBefore || v == abort {
		o.faulty = true
		return errFault
	}
	o.w.moment++
	minted := len(o.minted)
	err := f(o)
	switch v {
	case failAfter:
		o.faulty = true
		for _, t := range o.minted[minted:] {
			t.lost = true
		}
		return errFault
	case cancelAfter:
		o.kill()
	}
	return err
}

func (s *nodeStore) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	return s.do(ctx, "Create", func(o *op) error {
		rec = shifted(rec, s.n.in)
		want := o.w.create(o, rec, epoch)
		err := o.w.raw.Create(context.WithoutCancel(ctx), rec, epoch)
		o.w.agree("C1, C2", want, err)
		return err
	})
}

func (s *nodeStore) Load(ctx context.Context, key session.Key) (rec session.Record, found bool, err error) {
	err = s.do(ctx, "Load", func(o *op) error {
		o.loads[key] = true
		rec, found, err = o.w.raw.Load(context.WithoutCancel(ctx), key)
		o.w.agree("L1", nil, err)
		o.w.sameRecord("L1, U3", o.w.byKey(key), rec, found)
		return err
	})
	return shifted(rec, s.n.out), found && err == nil, err
}

func (s *nodeStore) ByID(ctx context.Context, id string) (rec session.Record, found bool, err error) {
	err = s.do(ctx, "ByID", func(o *op) error {
		rec, found, err = o.w.raw.ByID(context.WithoutCancel(ctx), id)
		o.w.agree("L1", nil, err)
		o.w.sameRecord("L1", o.w.byID(id), rec, found)
		return err
	})
	return shifted(rec, s.n.out), found && err == nil, err
}

func (s *nodeStore) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	return s.do(ctx, "Replace", func(o *op) error {
		rec = shifted(rec, s.n.in)
		want := o.w.replace(o, old, rec, ifRev)
		err := o.w.raw.Replace(context.WithoutCancel(ctx), old, rec, ifRev)
		o.w.agree("U1, U2, U3", want, err)
		return err
	})
}

func (s *nodeStore) Touch(ctx context.Context, key session.Key, seen, idleExpires time.Time) error {
	return s.do(ctx, "Touch", func(o *op) error {
		seen, idleExpires = s.n.in(seen), s.n.in(idleExpires)
		o.w.touch(o, key, seen, idleExpires)
		err := o.w.raw.Touch(context.WithoutCancel(ctx), key, seen, idleExpires)
		o.w.agree("T2", nil, err)
		return err
	})
}

func (s *nodeStore) End(ctx context.Context, id string, reason session.Reason, at time.Time) (ended bool, err error) {
	err = s.do(ctx, "End", func(o *op) error {
		at = s.n.in(at)
		want := o.w.end(o, id, reason, at)
		ended, err = o.w.raw.End(context.WithoutCancel(ctx), id, reason, at)
		o.w.agree("E1", nil, err)
		if want != ended {
			o.w.disagree("E1", "End says %t, want %t", ended, want)
		}
		return err
	})
	return ended && err == nil, err
}

func (s *nodeStore) EndUser(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) (ended []session.Ended, err error) {
	err = s.do(ctx, "EndUser", func(o *op) error {
		at = s.n.in(at)
		want := o.w.endUser(o, userID, exceptID, reason, at)
		ended, err = o.w.raw.EndUser(context.WithoutCancel(ctx), userID, exceptID, reason, at)
		o.w.agree("E2", nil, err)
		o.w.sameEnds("E2", want, ended)
		o.w.raised(userID)
		return err
	})
	return s.outEnded(ended, err), err
}

func (s *nodeStore) EndUserAt(ctx context.Context, userID, exceptID string, epoch uint64, reason session.Reason, at time.Time) (ended []session.Ended, err error) {
	err = s.do(ctx, "EndUserAt", func(o *op) error {
		at = s.n.in(at)
		now, err := o.w.raw.Epoch(ctx, userID) // nobody else is asking
		if err != nil {
			return err
		}
		if now != epoch {
			_, err = o.w.raw.EndUserAt(ctx, userID, exceptID, epoch, reason, at)
			o.w.agree("E5", session.ErrEpoch, err)
			return err
		}
		want := o.w.endUser(o, userID, exceptID, reason, at)
		ended, err = o.w.raw.EndUserAt(ctx, userID, exceptID, epoch, reason, at)
		o.w.agree("E5", nil, err)
		o.w.sameEnds("E5", want, ended)
		o.w.raised(userID)
		return err
	})
	return s.outEnded(ended, err), err
}

func (s *nodeStore) EndOrigin(ctx context.Context, origin session.Origin, reason session.Reason, at time.Time) (ended []session.Ended, err error) {
	err = s.do(ctx, "EndOrigin", func(o *op) error {
		at = s.n.in(at)
		want := o.w.endOrigin(o, origin, reason, at)
		ended, err = o.w.raw.EndOrigin(context.WithoutCancel(ctx), origin, reason, at)
		o.w.agree("E4", nil, err)
		o.w.sameEnds("E4", want, ended)
		return err
	})
	return s.outEnded(ended, err), err
}

func (s *nodeStore) Reap(ctx context.Context, now time.Time, limit int) (ended []session.Ended, err error) {
	err = s.do(ctx, "Reap", func(o *op) error {
		now = s.n.in(now)
		ended, err = o.w.raw.Reap(context.WithoutCancel(ctx), now, limit)
		o.w.agree("R1", nil, err)
		o.w.reap(o, now, limit, ended)
		return err
	})
	return s.outEnded(ended, err), err
}

func (s *nodeStore) EndedSince(ctx context.Context, cursor string, limit int) (ended []session.Ended, next string, err error) {
	err = s.do(ctx, "EndedSince", func(o *op) error {
		ended, next, err = o.w.raw.EndedSince(context.WithoutCancel(ctx), cursor, limit)
		o.logAt = len(o.w.log)
		o.w.since(cursor, limit, ended, next, err)
		return err
	})
	return s.outEnded(ended, err), next, err
}

func (s *nodeStore) ListUser(ctx context.Context, userID string) (recs []session.Record, err error) {
	err = s.do(ctx, "ListUser", func(o *op) error {
		recs, err = o.w.raw.ListUser(context.WithoutCancel(ctx), userID)
		o.w.agree("I1", nil, err)
		o.w.sameList(userID, recs)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range recs {
		recs[i] = shifted(recs[i], s.n.out)
	}
	return recs, nil
}

func (s *nodeStore) Epoch(ctx context.Context, userID string) (epoch uint64, err error) {
	err = s.do(ctx, "Epoch", func(o *op) error {
		epoch, err = o.w.raw.Epoch(context.WithoutCancel(ctx), userID)
		o.w.agree("E3", nil, err)
		o.w.epochIs(userID, epoch)
		return err
	})
	return epoch, err
}

func (s *nodeStore) outEnded(ended []session.Ended, err error) []session.Ended {
	if err != nil {
		return nil
	}
	for i := range ended {
		ended[i].At = s.n.out(ended[i].At)
	}
	return ended
}
