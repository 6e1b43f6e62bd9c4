package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/internal/sqldb"
)

// Once remembers in this database what has happened, for all nodes that use it
// together.
func (s *Store) Once() accounts.Once { return &s.once }

type once struct {
	s    *Store
	uses uses
}

var errOnceArgs = errors.New("a key of 1 to 255 bytes and a ttl above zero are wanted")

// Take implements [accounts.Once].
func (o *once) Take(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if key == "" || len(key) > 255 || ttl <= 0 {
		return false, o.s.db.Wrap("take once", errOnceArgs)
	}
	var times int64
	err := o.s.db.Tx(ctx, "take once", func(ctx context.Context, tx *sqldb.Tx) error {
		now := time.Now()
		return tx.Row(ctx, takeOnce, []any{key, now.UnixMicro(), now.Add(ttl).UnixMicro()}, &times)
	})
	if err != nil {
		return false, err
	}
	if o.uses.due() {
		o.s.reap(ctx, o.s.sharing.reapOnce)
	}
	return times == 1, nil
}

// Taken implements [accounts.Once].
func (o *once) Taken(ctx context.Context, key string) (time.Time, bool, error) {
	var at, expires int64
	found, err := o.s.db.Row(ctx, "taken", takenOnce, []any{key}, []any{&at, &expires})
	if err != nil || !found || expires <= time.Now().UnixMicro() {
		return time.Time{}, false, err
	}
	return time.UnixMicro(at).UTC(), true, nil
}
