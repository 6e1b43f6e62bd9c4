package oidc

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// providerTimeout bounds each request to a provider.
	providerTimeout = 10 * time.Second
	// patience is how long a caller who has an older value waits for a new one.
	patience = 2 * time.Second
	maxPause = 10 * time.Second
)

// source is something fetched when it is first needed and kept: one fetch at a
// time, the last good value while fetching fails, a growing pause between
// failed attempts. A running fetch belongs to nobody's request, and ends by its
// own time-out. It is safe for concurrent use.
type source[T any] struct {
	fetch func(ctx context.Context, last T) (T, error)
	fresh time.Duration // used without asking again
	stale time.Duration // used while asking again fails
	force time.Duration // between two fruitless refetches

	mu        sync.Mutex
	value     T
	gen       int // counts fetched values; 0: none yet
	at        time.Time
	err       error // of the last attempt
	failures  int
	retryAt   time.Time
	nextForce time.Time
	running   chan struct{} // closed when the running fetch ends
}

// get returns the value and its generation.
func (s *source[T]) get(ctx context.Context) (T, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := time.Since(s.at)
	if s.gen > 0 && age < s.fresh {
		return s.value, s.gen, nil
	}
	if s.gen > 0 && age < s.stale {
		wait, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_ = s.update(wait) // the last good value will do
		return s.value, s.gen, nil
	}
	if err := s.update(ctx); err != nil {
		var none T
		return none, 0, err
	}
	return s.value, s.gen, nil
}

// refetch returns a value newer than generation gen. When the last fruitless
// refetch is too recent it returns the present one, so that what a stranger
// sends can't make us fetch again and again.
func (s *source[T]) refetch(ctx context.Context, gen int) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != gen {
		return s.value, nil
	}
	if s.running == nil {
		now := time.Now()
		if now.Before(s.nextForce) {
			return s.value, nil
		}
		s.nextForce = now.Add(s.force)
	}
	if err := s.update(ctx); err != nil {
		s.nextForce = time.Time{} // it brought nothing to judge by; update has a pause for failures
		var none T
		return none, err
	}
	return s.value, nil
}

// fruitful takes back the pause that refetch set: it found what was looked for.
func (s *source[T]) fruitful() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextForce = time.Time{}
}

// update fetches, or waits for the fetch that runs. s.mu is held, but not
// while waiting.
func (s *source[T]) update(ctx context.Context) error {
	if s.running == nil {
		if wait := time.Until(s.retryAt); wait > 0 {
			return withRetryAfter(s.err, wait)
		}
		s.running = make(chan struct{})
		go s.run(context.WithoutCancel(ctx), s.value, s.running)
	}
	running := s.running
	s.mu.Unlock()
	select {
	case <-running:
		s.mu.Lock()
		return withRetryAfter(s.err, time.Until(s.retryAt))
	case <-ctx.Done():
		s.mu.Lock()
		return timedOut("gave up waiting for the provider: %w", ctx.Err())
	}
}

func (s *source[T]) run(ctx context.Context, last T, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	value, err := s.fetch(ctx, last)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.err = nil, err
	if err == nil {
		s.value, s.at, s.failures, s.retryAt = value, time.Now(), 0, time.Time{}
		s.gen++
	} else {
		s.retryAt = time.Now().Add(min(time.Second<<min(s.failures, 8), maxPause))
		s.failures++
	}
	close(done)
}

// withRetryAfter notes when the next attempt is due.
func withRetryAfter(err error, wait time.Duration) error {
	var f *failure
	if wait <= 0 || !errors.As(err, &f) || f.retryAfter == 0 {
		return err
	}
	timed := *f
	timed.retryAfter = wait
	return &timed
}
