// Package liar is session stores that do not keep their promises, for tests
// that must notice.
package liar

import (
	"context"
	"sync"
	"time"

	"github.com/gatewire/gatewire/session"
)

// Store is a session store that breaks a rule where a function is set. OnLoad,
// OnListUser and OnEpoch are given what the store says; each of the others is
// called in its place. OnLoad finds the key it is about also where there is no
// record.
type Store struct {
	session.Store
	OnCreate     func(ctx context.Context, rec session.Record, epoch uint64) error
	OnLoad       func(rec session.Record, found bool) (session.Record, bool)
	OnReplace    func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error
	OnTouch      func(ctx context.Context, key session.Key, seen, idle time.Time) error
	OnEnd        func(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error)
	OnEndUser    func(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error)
	OnEndUserAt  func(ctx context.Context, userID, exceptID string, epoch uint64, reason session.Reason, at time.Time) ([]session.Ended, error)
	OnEndOrigin  func(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error)
	OnEndedSince func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error)
	OnListUser   func(recs []session.Record) []session.Record
	OnEpoch      func(epoch uint64) uint64
	OnReap       func(ctx context.Context, now time.Time, limit int) ([]session.Ended, error)
}

func (l *Store) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	if l.OnCreate != nil {
		return l.OnCreate(ctx, rec, epoch)
	}
	return l.Store.Create(ctx, rec, epoch)
}

func (l *Store) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	rec, found, err := l.Store.Load(ctx, key)
	if l.OnLoad != nil {
		if !found {
			rec.Key = key
		}
		rec, found = l.OnLoad(rec, found)
	}
	return rec, found, err
}

func (l *Store) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	if l.OnReplace != nil {
		return l.OnReplace(ctx, old, rec, ifRev)
	}
	return l.Store.Replace(ctx, old, rec, ifRev)
}

func (l *Store) Touch(ctx context.Context, key session.Key, seen, idle time.Time) error {
	if l.OnTouch != nil {
		return l.OnTouch(ctx, key, seen, idle)
	}
	return l.Store.Touch(ctx, key, seen, idle)
}

func (l *Store) End(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
	if l.OnEnd != nil {
		return l.OnEnd(ctx, id, reason, at)
	}
	return l.Store.End(ctx, id, reason, at)
}

func (l *Store) EndUser(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if l.OnEndUser != nil {
		return l.OnEndUser(ctx, userID, exceptID, reason, at)
	}
	return l.Store.EndUser(ctx, userID, exceptID, reason, at)
}

func (l *Store) EndUserAt(ctx context.Context, userID, exceptID string, epoch uint64, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if l.OnEndUserAt != nil {
		return l.OnEndUserAt(ctx, userID, exceptID, epoch, reason, at)
	}
	return l.Store.EndUserAt(ctx, userID, exceptID, epoch, reason, at)
}

func (l *Store) EndOrigin(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if l.OnEndOrigin != nil {
		return l.OnEndOrigin(ctx, o, reason, at)
	}
	return l.Store.EndOrigin(ctx, o, reason, at)
}

func (l *Store) EndedSince(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
	if l.OnEndedSince != nil {
		return l.OnEndedSince(ctx, cursor, limit)
	}
	return l.Store.EndedSince(ctx, cursor, limit)
}

func (l *Store) ListUser(ctx context.Context, userID string) ([]session.Record, error) {
	recs, err := l.Store.ListUser(ctx, userID)
	if l.OnListUser != nil {
		recs = l.OnListUser(recs)
	}
	return recs, err
}

func (l *Store) Epoch(ctx context.Context, userID string) (uint64, error) {
	epoch, err := l.Store.Epoch(ctx, userID)
	if l.OnEpoch != nil {
		epoch = l.OnEpoch(epoch)
	}
	return epoch, err
}

func (l *Store) Reap(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
	if l.OnReap != nil {
		return l.OnReap(ctx, now, limit)
	}
	return l.Store.Reap(ctx, now, limit)
}

// Resurrect makes records that are gone come back: into a map of its own,
// which Load looks into.
func (l *Store) Resurrect() (put func(session.Record)) {
	var mu sync.Mutex
	back := make(map[session.Key]session.Record)
	l.OnLoad = func(rec session.Record, found bool) (session.Record, bool) {
		mu.Lock()
		defer mu.Unlock()
		if other, ok := back[rec.Key]; !found && ok {
			return other, true
		}
		return rec, found
	}
	return func(rec session.Record) {
		mu.Lock()
		defer mu.Unlock()
		back[rec.Key] = rec
	}
}
