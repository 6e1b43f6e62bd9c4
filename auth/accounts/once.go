package accounts

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"
)

// Once remembers for a while what has happened, such as that a logout token
// was used. Its methods may be called concurrently, also by several nodes; each
// is one atomic step. Keys are compared byte for byte and have 1 to 255 bytes;
// what is secret in them was hashed by the caller.
//
//   - O1. Take marks key as taken now, for ttl from now, and reports whether it did not count as taken before. Of N concurrent calls exactly one is first.
//   - O2. Take of a key that counts moves when it was taken and until when it counts forwards, never backwards.
//   - O3. Taken returns when key was last taken, and ok=false when it never was or counts no more. A key is never forgotten while it counts; after that it is as new.
//
// An error means that it could not tell; who asked then does as if the key were
// taken, or fails.
type Once interface {
	Take(ctx context.Context, key string, ttl time.Duration) (first bool, err error)
	Taken(ctx context.Context, key string) (at time.Time, ok bool, err error)
}

// maxOnce bounds the memory of a MemoryOnce to some 100 MB.
const maxOnce = 1 << 18

var (
	errOnceFull = errors.New("accounts: the memory of what happened once is full; use a Once in a database")
	errOnceArgs = errors.New("accounts: a Once takes keys of 1 to 255 bytes, and a ttl above zero")
)

// MemoryOnce is a [Once] for one process. It keeps at most 262,144 keys that
// count; beyond them Take of another one is an error, since to forget one would
// be to let it happen again.
type MemoryOnce struct {
	mu     sync.Mutex
	byKey  map[string]*onceEntry
	byTime onceHeap
}

// NewMemoryOnce returns an empty one.
func NewMemoryOnce() *MemoryOnce { return &MemoryOnce{byKey: make(map[string]*onceEntry)} }

// Take implements [Once].
func (m *MemoryOnce) Take(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if key == "" || len(key) > 255 || ttl <= 0 {
		return false, errOnceArgs
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for len(m.byTime) > 0 && !m.byTime[0].expires.After(now) {
		delete(m.byKey, heap.Pop(&m.byTime).(*onceEntry).key)
	}
	if e := m.byKey[key]; e != nil {
		e.taken = now
		if expires := now.Add(ttl); expires.After(e.expires) {
			e.expires = expires
			heap.Fix(&m.byTime, e.index)
		}
		return false, nil
	}
	if len(m.byKey) >= maxOnce {
		return false, errOnceFull
	}
	e := &onceEntry{key: key, taken: now, expires: now.Add(ttl)}
	m.byKey[key] = e
	heap.Push(&m.byTime, e)
	return true, nil
}

// Taken implements [Once].
func (m *MemoryOnce) Taken(ctx context.Context, key string) (time.Time, bool, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[key]
	if e == nil || !e.expires.After(time.Now()) {
		return time.Time{}, false, nil
	}
	return e.taken.UTC(), true, nil
}

type onceEntry struct {
	key            string
	taken, expires time.Time
	index          int
}

// onceHeap is a container/heap, the next to expire first.
type onceHeap []*onceEntry

func (h onceHeap) Len() int           { return len(h) }
func (h onceHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h onceHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *onceHeap) Push(x any) {
	e := x.(*onceEntry)
	e.index = len(*h)
	*h = append(*h, e)
}
func (h *onceHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
