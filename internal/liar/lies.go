package liar

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gatewire/gatewire/session"
)

// CreateOverlooksTheEpoch lets a session begin with an epoch read before its
// user's sessions were ended.
func CreateOverlooksTheEpoch(l *Store) {
	l.OnCreate = func(ctx context.Context, rec session.Record, _ uint64) error {
		return l.Store.Create(ctx, rec, session.AnyEpoch)
	}
}

// ReplaceInserts brings back what has ended.
func ReplaceInserts(l *Store) {
	put := l.Resurrect()
	l.OnReplace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
		err := l.Store.Replace(ctx, old, rec, ifRev)
		if errors.Is(err, session.ErrNotFound) {
			put(rec)
			return nil
		}
		return err
	}
}

// ReplaceDoesNotCompare overlooks that the record is another by now.
func ReplaceDoesNotCompare(l *Store) {
	var mu sync.Mutex
	l.OnReplace = func(ctx context.Context, old session.Key, rec session.Record, _ uint64) error {
		mu.Lock()
		defer mu.Unlock()
		now, found, err := l.Store.Load(ctx, old)
		if err != nil || !found {
			return errors.Join(err, session.ErrNotFound)
		}
		return l.Store.Replace(ctx, old, rec, now.Rev)
	}
}

// ReplaceLeavesTheOldKey lets the key from before a renewal go on.
func ReplaceLeavesTheOldKey(l *Store) {
	put := l.Resurrect()
	l.OnReplace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
		before, _, _ := l.Store.Load(ctx, old)
		err := l.Store.Replace(ctx, old, rec, ifRev)
		if err == nil && old != rec.Key {
			put(before)
		}
		return err
	}
}

// TouchRaisesRev makes a visit an update.
func TouchRaisesRev(l *Store) {
	l.OnTouch = func(ctx context.Context, key session.Key, seen, idle time.Time) error {
		if err := l.Store.Touch(ctx, key, seen, idle); err != nil {
			return err
		}
		rec, found, err := l.Store.Load(ctx, key)
		if err != nil || !found {
			return err
		}
		return l.Store.Replace(ctx, key, rec, rec.Rev)
	}
}

// EndAlwaysSaysTrue, also of what had ended.
func EndAlwaysSaysTrue(l *Store) {
	l.OnEnd = func(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
		_, err := l.Store.End(ctx, id, reason, at)
		return true, err
	}
}

// EndUserSparesNobody overlooks the exception.
func EndUserSparesNobody(l *Store) {
	l.OnEndUser = func(ctx context.Context, userID, _ string, reason session.Reason, at time.Time) ([]session.Ended, error) {
		return l.Store.EndUser(ctx, userID, "", reason, at)
	}
}

// EpochStandsStill says 0 whatever was ended.
func EpochStandsStill(l *Store) {
	l.OnEpoch = func(uint64) uint64 { return 0 }
}
