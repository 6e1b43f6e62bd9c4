package password

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	defaultBudget  = 256 << 20
	maxBudget      = 1 << 40
	defaultMaxWait = 5 * time.Second
	defaultWaiting = 1000
)

// budget hands out memory, first come first served: a large request is never
// overtaken by small ones. It bounds both the wait and the number who wait.
type budget struct {
	size       int64
	maxWait    time.Duration
	maxWaiting int

	mu      sync.Mutex
	free    int64
	waiters list.List // of *waiter, the first waits longest
}

type waiter struct {
	n     int64
	ready chan struct{} // closed once the memory is this waiter's
}

func newBudget(o *Options) (*budget, error) {
	b := &budget{size: o.MemoryBudget, maxWait: o.MaxWait, maxWaiting: o.MaxWaiting}
	if b.size == 0 {
		b.size = defaultBudget
	}
	if b.maxWait == 0 {
		b.maxWait = defaultMaxWait
	}
	if b.maxWaiting == 0 {
		b.maxWaiting = defaultWaiting
	}
	var errs []error
	if b.size < 0 || b.size > maxBudget {
		errs = append(errs, fmt.Errorf("password: MemoryBudget is %d bytes, want 1 to %d", b.size, int64(maxBudget)))
	}
	if b.maxWait < -1 {
		errs = append(errs, fmt.Errorf("password: MaxWait is %v, want a positive duration, or -1 for none", b.maxWait))
	}
	if b.maxWaiting < 0 {
		errs = append(errs, fmt.Errorf("password: MaxWaiting is %d, want at least 1 (MaxWait -1 forbids waiting)", b.maxWaiting))
	}
	b.free = b.size
	return b, errors.Join(errs...)
}

// acquire takes n bytes, at most size, and waits for them if it must.
func (b *budget) acquire(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("password: %w", err)
	}
	b.mu.Lock()
	if b.waiters.Len() == 0 && b.free >= n {
		b.free -= n
		b.mu.Unlock()
		return nil
	}
	if b.maxWait < 0 || b.waiters.Len() >= b.maxWaiting {
		b.mu.Unlock()
		return ErrBusy
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	place := b.waiters.PushBack(w)
	b.mu.Unlock()

	timeout := time.NewTimer(b.maxWait)
	defer timeout.Stop()
	var err error
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = fmt.Errorf("password: waiting for memory: %w", ctx.Err())
	case <-timeout.C:
		err = ErrBusy
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // granted at the same moment
		b.free += n
	default:
		b.waiters.Remove(place)
	}
	b.grant() // those behind may fit now
	return err
}

func (b *budget) release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	b.grant()
}

// grant wakes waiters in order for as long as the memory suffices.
func (b *budget) grant() {
	for e := b.waiters.Front(); e != nil; e = b.waiters.Front() {
		w := e.Value.(*waiter)
		if w.n > b.free {
			return
		}
		b.free -= w.n
		b.waiters.Remove(e)
		close(w.ready)
	}
}
