package sessionload_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/sessionload"
	"github.com/gatewire/gatewire/session"
)

func run(t *testing.T, store session.Store, limit time.Duration) error {
	t.Helper()
	l, err := sessionload.Start(t.Context(), []session.Store{store, store}, sessionload.Options{Clients: 4})
	require.NoError(t, err)
	_, healed := l.Healed(limit)
	t.Logf("%d requests, %d unanswered, the longest took %v", l.Requests(), l.Unanswered(), l.Longest())
	err = l.Stop(t.Context())
	if err == nil {
		require.NoError(t, healed)
		require.Zero(t, l.Running())
	}
	return err
}

func TestAGoodStorePasses(t *testing.T) {
	require.NoError(t, run(t, session.NewMemoryStore(nil), 20*time.Second))
}

// broken is a store that does one thing wrong.
type broken struct {
	session.Store
	load    func(session.Record, bool, error) (session.Record, bool, error)
	replace func() error
	end     func() (bool, error)
	endUser func() ([]session.Ended, error)
	log     func([]session.Ended) []session.Ended
}

func (b *broken) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	rec, found, err := b.Store.Load(ctx, key)
	if b.load != nil {
		return b.load(rec, found, err)
	}
	return rec, found, err
}

func (b *broken) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	if b.replace != nil {
		return b.replace()
	}
	return b.Store.Replace(ctx, old, rec, ifRev)
}

func (b *broken) End(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
	if b.end != nil {
		return b.end()
	}
	return b.Store.End(ctx, id, reason, at)
}

func (b *broken) EndUser(ctx context.Context, user, except string, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if b.endUser != nil {
		return b.endUser()
	}
	return b.Store.EndUser(ctx, user, except, reason, at)
}

func (b *broken) EndedSince(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
	list, next, err := b.Store.EndedSince(ctx, cursor, limit)
	if b.log != nil {
		list = b.log(list)
	}
	return list, next, err
}

// Each mistake of a store is found by the load, and by its name.
func TestEachMistakeIsFound(t *testing.T) {
	var n atomic.Int64
	var slept atomic.Bool
	for want, b := range map[string]*broken{
		"lives, and ": {load: func(rec session.Record, found bool, err error) (session.Record, bool, error) {
			return rec, found && n.Add(1)%7 != 0, err
		}},
		"updates reads as": {load: func(rec session.Record, found bool, err error) (session.Record, bool, error) {
			rec.Data = nil
			return rec, found, err
		}},
		"is good, and refused": {load: func(rec session.Record, found bool, err error) (session.Record, bool, error) {
			if rec.Kind == session.KindToken {
				rec.Refresh.Secret = [32]byte{}
			}
			return rec, found, err
		}},
		"after the end of all faults": {load: func(rec session.Record, found bool, err error) (session.Record, bool, error) {
			if !found && err == nil {
				err = errors.New("lost")
			}
			return rec, found, err
		}},
		"was handled for": {replace: func() error {
			if slept.CompareAndSwap(false, true) {
				time.Sleep(5 * time.Second)
			}
			return errors.New("late")
		}},
		"is answered with 409":          {replace: func() error { return session.ErrEpoch }},
		"acknowledged, and it is there": {end: func() (bool, error) { return true, nil }},
		"is resurrected by /refresh":    {endUser: func() ([]session.Ended, error) { return nil, nil }},
		"and in the log 0 times":        {log: func(l []session.Ended) []session.Ended { return l[:min(len(l), 1)] }},
		"and in the log 2 times":        {log: func(l []session.Ended) []session.Ended { return append(l, l[:min(len(l), 1)]...) }},
	} {
		b.Store = session.NewMemoryStore(nil)
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, run(t, b, 2*time.Second), want)
		})
	}
}
