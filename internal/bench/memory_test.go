package bench

import (
	"container/heap"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gatewire/gatewire/session"
)

// oneMutex is a store in memory as one writes it first, and as gatewire's was:
// maps of records, a heap of expiries that Touch fixes, and one mutex around
// it all. It has the methods that are measured.
type oneMutex struct {
	session.Store // nil
	mu            sync.Mutex
	byKey         map[session.Key]*plain
	byID          map[string]*plain
	byUser        map[string]map[string]*plain
	heap          plainHeap
}

type plain struct {
	rec   session.Record
	index int
}

func newOneMutex() *oneMutex {
	return &oneMutex{byKey: map[session.Key]*plain{}, byID: map[string]*plain{}, byUser: map[string]map[string]*plain{}}
}

func copied(rec session.Record) session.Record {
	rec.Scopes, rec.Roles = slices.Clone(rec.Scopes), slices.Clone(rec.Roles)
	rec.Data = slices.Clone(rec.Data)
	return rec
}

func (s *oneMutex) Create(_ context.Context, rec session.Record, _ uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[rec.Key] != nil || s.byID[rec.ID] != nil {
		return session.ErrExists
	}
	p := &plain{rec: copied(rec)}
	s.byKey[rec.Key], s.byID[rec.ID] = p, p
	if s.byUser[rec.UserID] == nil {
		s.byUser[rec.UserID] = map[string]*plain{}
	}
	s.byUser[rec.UserID][rec.ID] = p
	heap.Push(&s.heap, p)
	return nil
}

func (s *oneMutex) Load(_ context.Context, key session.Key) (session.Record, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.byKey[key]
	if p == nil {
		return session.Record{}, false, nil
	}
	return copied(p.rec), true, nil
}

func (s *oneMutex) Touch(_ context.Context, key session.Key, seen, idle time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byKey[key]; p != nil {
		if seen.After(p.rec.Seen) {
			p.rec.Seen = seen
		}
		if idle.After(p.rec.IdleExpires) {
			p.rec.IdleExpires = idle
		}
		heap.Fix(&s.heap, p.index)
	}
	return nil
}

type plainHeap []*plain

func (h plainHeap) Len() int           { return len(h) }
func (h plainHeap) Less(i, j int) bool { return h[i].rec.IdleExpires.Before(h[j].rec.IdleExpires) }
func (h plainHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *plainHeap) Push(x any) {
	p := x.(*plain)
	p.index = len(*h)
	*h = append(*h, p)
}
func (h *plainHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	*h = old[:len(old)-1]
	return p
}

func browserSession(i int) session.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	rec := session.Record{
		ID: rand.Text(), Kind: session.KindCookie, UserID: rand.Text(), AuthTime: now, Created: now, Seen: now,
		IdleExpires: now.Add(30*time.Minute + time.Duration(i%60)*time.Second), Expires: now.Add(12 * time.Hour),
		// A text of its own for every session, as those of requests are.
		UserAgent: fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", 100+i%50),
		IP:        fmt.Sprintf("203.0.113.%d", i%256),
		Data:      []byte(`{"items":1,"theme":"dark"}`),
	}
	_, _ = rand.Read(rec.Key[:])
	return rec
}

func manySessions(b testing.TB) int {
	n := 100_000
	if s := os.Getenv("GATEWIRE_SESSIONS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// BenchmarkMemoryStore has goroutines load, touch and create sessions in a
// store of GATEWIRE_SESSIONS, in batches of which the two stores take turns,
// and reports the median batch of each.
func BenchmarkMemoryStore(b *testing.B) {
	n := manySessions(b)
	names := []string{"one-mutex", "gatewire"}
	stores := []session.Store{newOneMutex(), session.NewMemoryStore(&session.MemoryOptions{MaxBytes: 1 << 40})}
	keys := [][]session.Key{make([]session.Key, n), make([]session.Key, n)}
	heapBytes := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for i, s := range stores {
		before, data := heapBytes(), 0
		for j := range n {
			rec := browserSession(j)
			data += len(rec.Data)
			if err := s.Create(b.Context(), rec, session.AnyEpoch); err != nil {
				b.Fatal(err)
			}
			keys[i][j] = rec.Key
		}
		b.Logf("%s: %d bytes a session besides its data", names[i], (heapBytes()-before-int64(data))/int64(n))
	}
	key := func(store, i int) session.Key { return keys[store][i*7919%n] }
	ctx := context.Background()
	const batch = 4000
	ops := map[string]func(store, i int, fresh []session.Record) error{
		"Load": func(store, i int, _ []session.Record) error {
			_, found, err := stores[store].Load(ctx, key(store, i))
			if !found {
				return session.ErrNotFound
			}
			return err
		},
		"Touch": func(store, i int, _ []session.Record) error {
			now := time.Now()
			return stores[store].Touch(ctx, key(store, i), now, now.Add(30*time.Minute))
		},
		"Create": func(store, i int, fresh []session.Record) error {
			return stores[store].Create(ctx, fresh[i%batch], session.AnyEpoch)
		},
	}
	for _, name := range []string{"Load", "Touch", "Create"} {
		for _, goroutines := range []int{1, 2, 8} {
			b.Run(fmt.Sprintf("%s/%d", name, goroutines), func(b *testing.B) {
				took := make([][]float64, len(stores))
				done := 0
				for b.Loop() {
					for store := range stores {
						var fresh []session.Record
						if name == "Create" {
							for i := range batch {
								fresh = append(fresh, browserSession(i))
							}
						}
						runtime.GC()
						var wg sync.WaitGroup
						start := time.Now()
						for g := range goroutines {
							wg.Go(func() {
								for i := g * batch / goroutines; i < (g+1)*batch/goroutines; i++ {
									if err := ops[name](store, done+i, fresh); err != nil {
										panic(err)
									}
								}
							})
						}
						wg.Wait()
						took[store] = append(took[store], float64(time.Since(start))/batch)
					}
					done += batch
				}
				b.ReportMetric(0, "ns/op")
				for i, name := range names {
					slices.Sort(took[i])
					b.ReportMetric(took[i][len(took[i])/2], name+"-ns")
				}
			})
		}
	}
}
