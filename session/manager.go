package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Manager hands out, finds and ends sessions that carry a D. It is safe for
// concurrent use. Make one with [New].
type Manager[D any] struct {
	store  Store
	config config
	events func(context.Context, Event)
	hooks  hooks
	key    any // of the visit in a request's context

	stop context.CancelFunc // ends the reaper
	done sync.WaitGroup
}

// New returns a manager of sessions in store that carry a D: a struct of the
// host's, stored as JSON, or struct{} for none. It starts a goroutine that
// removes expired sessions; Close ends it. New does not call the store, and
// reports all mistakes in o at once.
func New[D any](store Store, o *Options) (*Manager[D], error) {
	if o == nil {
		o = &Options{}
	}
	var errs []error
	if store == nil {
		errs = append(errs, errors.New("session: no store; NewMemoryStore(nil) is one for a single process"))
	}
	c, err := newConfig(*o)
	errs = append(errs, err, checkData[D]())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &Manager[D]{store: store, config: c, events: o.Events, stop: stop}
	m.key = contextKey{m}
	if c.reapEvery > 0 {
		m.done.Go(func() { m.reap(ctx) })
	}
	return m, nil
}

// Close ends the manager's goroutine and waits for it. The manager's methods
// still work. It always returns nil.
func (m *Manager[D]) Close() error {
	m.stop()
	m.done.Wait()
	return nil
}

// now is cut to what every store keeps, so that what was written compares
// equal to what is read.
func (m *Manager[D]) now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// isLive says whether a record in the store is a session still.
func isLive(rec Record, now time.Time) bool {
	return now.Before(rec.IdleExpires) && now.Before(rec.Expires)
}

// touch writes that a session is in use, once in TouchEvery. It carries no
// data, and failing costs no more than an earlier idle end.
func (m *Manager[D]) touch(ctx context.Context, rec *Record, now time.Time) {
	if now.Sub(rec.Seen) < m.config.touchEvery {
		return
	}
	idle := earlier(now.Add(m.config.cookie.Idle), rec.Expires)
	if err := m.store.Touch(ctx, rec.Key, now, idle); err != nil {
		m.config.logger.WarnContext(ctx, "session: use of a session could not be noted", "session", rec.ID, "error", err)
		return
	}
	rec.Seen, rec.IdleExpires = now, later(rec.IdleExpires, idle)
}

// open makes a session of a record, or returns ErrNotFound and reports it when
// its data is not a D.
func (m *Manager[D]) open(ctx context.Context, rec Record) (*Session[D], error) {
	data, err := decodeData[D](rec.Data)
	if err != nil {
		m.undecodable(ctx, rec, err)
		return nil, ErrNotFound
	}
	return &Session[D]{rec: rec, data: data}, nil
}

func (m *Manager[D]) undecodable(ctx context.Context, rec Record, err error) {
	m.config.logger.WarnContext(ctx, "session: stored data can't be decoded; the session is not used", "session", rec.ID, "error", err)
	m.event(ctx, Event{Kind: EventUndecodable, SessionID: rec.ID, UserID: rec.UserID, Err: err})
}

const (
	// storeTimeout bounds what goes on after a client went away.
	storeTimeout = 5 * time.Second
	// lastTry is what such a step gets also when the request's time is over.
	lastTry = time.Second
)

// detached is for steps that a cancelled request must not lose, such as a
// sign-out. A deadline is something else: who set it wants an answer by then,
// be it that the store could not tell, and not when a store that hangs is given
// up.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := storeTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(deadline), lastTry))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// maxAttempts bounds retries after ErrConflict. One of the competitors wins
// every round, so this many would have to keep it up.
const maxAttempts = 200

// pause waits a little, at random, before the next attempt.
func pause(ctx context.Context, attempt int) error {
	if attempt >= maxAttempts {
		return unavailable(ErrConflict)
	}
	t := time.NewTimer(rand.N(time.Duration(min(attempt+1, 20)) * time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case <-t.C:
		return nil
	}
}
