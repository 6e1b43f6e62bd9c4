package oidc

import (
	"context"
	"sync"
	"time"
)

// Once remembers for a while which keys were taken, so that no logout token
// counts twice. Nodes behind one BaseURL share one. An error means that it
// could not tell.
type Once interface {
	// Take takes a key for ttl and reports whether nobody had. Of concurrent
	// calls for one key one is the first.
	Take(ctx context.Context, key string, ttl time.Duration) (first bool, err error)
	// Taken returns when the key was taken, and found=false when it is not.
	Taken(ctx context.Context, key string) (at time.Time, found bool, err error)
}

// memoryOnce is the Once of one process. What fills it has the provider's
// signature.
type memoryOnce struct {
	mu    sync.Mutex
	keys  map[string]takenKey
	swept time.Time
}

type takenKey struct{ at, until time.Time }

func newMemoryOnce() *memoryOnce { return &memoryOnce{keys: map[string]takenKey{}} }

func (o *memoryOnce) Take(_ context.Context, key string, ttl time.Duration) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if now.Sub(o.swept) > time.Minute {
		o.swept = now
		for k, t := range o.keys {
			if !now.Before(t.until) {
				delete(o.keys, k)
			}
		}
	}
	if now.Before(o.keys[key].until) {
		return false, nil
	}
	o.keys[key] = takenKey{now, now.Add(ttl)}
	return true, nil
}

func (o *memoryOnce) Taken(_ context.Context, key string) (time.Time, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.keys[key]
	return t.at, time.Now().Before(t.until), nil
}
