package sqlstore

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gatewire/gatewire/auth/accounts"
)

// Limiter counts tries in this database, for all nodes that use it together.
// What is refused is read and not written, so a flood of guesses costs readers'
// work alone. PostgreSQL is not waited for until a try is on the disk: a server
// that crashes may forget the tries of its last second.
func (s *Store) Limiter() accounts.Limiter { return &s.limiter }

// limiter keeps for each key when it has all its tries again: the generic cell
// rate algorithm, as accounts.MemoryLimiter.
type limiter struct {
	s    *Store
	uses uses
	turn chan struct{} // of the one that writes, with SQLite; else nil
}

// limiterTries bounds how often Take looks again at what others change.
const limiterTries = 10

// Take implements [accounts.Limiter].
func (l *limiter) Take(ctx context.Context, key string, limit accounts.Limit) (time.Duration, error) {
	every := limit.Every.Microseconds()
	window := int64(limit.Burst) * every
	for try := 1; ; try++ {
		var full int64
		if _, err := l.s.db.Row(ctx, "take a try", limitState, []any{key}, []any{&full}); err != nil {
			return 0, err
		}
		now := time.Now().UnixMicro()
		// At the end it is refused though there may be one: nothing was taken.
		if wait := max(full, now) + every - now - window; wait > 0 || try > limiterTries {
			return time.Duration(max(wait, 1)) * time.Microsecond, nil
		}
		n, err := l.write(ctx, "take a try", l.s.sharing.takeTry, key, now, every, now+window-every, now+every)
		if err != nil || n > 0 {
			return 0, err
		}
	}
}

// Give implements [accounts.Limiter].
func (l *limiter) Give(ctx context.Context, key string, limit accounts.Limit) error {
	_, err := l.write(ctx, "give a try back", l.s.sharing.giveTry, key, limit.Every.Microseconds(), time.Now().UnixMicro())
	return err
}

// write runs one statement. SQLite has one writer at a time: of this process's
// guesses one at a time competes for that, so that all else gets its turn.
func (l *limiter) write(ctx context.Context, op, query string, args ...any) (int64, error) {
	if l.turn != nil {
		select {
		case l.turn <- struct{}{}:
			defer func() { <-l.turn }()
		case <-ctx.Done():
			return 0, l.s.db.Wrap(op, ctx.Err())
		}
	}
	n, err := l.s.db.Exec(ctx, op, query, args...)
	if err == nil && l.uses.due() {
		l.s.reap(ctx, l.s.sharing.reapLimits)
	}
	return n, err
}

// uses counts, so that every reapEvery-th use removes what is over. It begins
// anywhere, for programs that never live to see so many.
type uses struct {
	n atomic.Int64
}

const (
	reapEvery = 100
	reapBatch = 1000            // many more than are added meanwhile
	reapAfter = 5 * time.Minute // for clocks that disagree
)

func (u *uses) begin() { u.n.Store(rand.Int64N(reapEvery)) }

func (u *uses) due() bool { return u.n.Add(1)%reapEvery == 0 }

// reap removes a batch of what is over. What it leaves, the next one takes; so
// failing is not the matter of who happened to be the hundredth.
func (s *Store) reap(ctx context.Context, query string) {
	_, _ = s.db.Exec(ctx, "reap", query, time.Now().Add(-reapAfter).UnixMicro(), reapBatch)
}
