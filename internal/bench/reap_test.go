package bench_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// reaping watches Reap of several nodes.
type reaping struct {
	mu             sync.Mutex
	began, ended   time.Time
	longest        time.Duration
	calls, removed int
}

type reapedStore struct {
	session.Store
	watch *reaping
}

func (s reapedStore) Reap(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
	start := time.Now()
	ended, err := s.Store.Reap(ctx, now, limit)
	w := s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.began.IsZero() || start.Before(w.began) {
		w.began = start
	}
	w.calls++
	w.removed += len(ended)
	w.longest = max(w.longest, time.Since(start))
	if len(ended) > 0 {
		w.ended = time.Now()
	}
	return ended, err
}

func (w *reaping) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed
}

type load struct {
	due  time.Time
	took time.Duration
}

// loads loads live sessions while during runs, 400 a second, each timed from
// when it was due: one that is held up counts for those behind it too.
func loads(t *testing.T, store session.Store, keys []session.Key, during func()) (all []load) {
	t.Helper()
	const workers, every = 4, 10 * time.Millisecond
	var running sync.WaitGroup
	var mu sync.Mutex
	stop := make(chan struct{})
	for w := range workers {
		running.Go(func() {
			var own []load
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, own...)
			}()
			for due := time.Now().Add(every * time.Duration(w) / workers); ; due = due.Add(every) {
				select {
				case <-stop:
					return
				case <-time.After(time.Until(due)):
				}
				_, found, err := store.Load(t.Context(), keys[rand.N(len(keys))])
				if err != nil || !found {
					t.Errorf("a live session: found %v, error %v", found, err)
					return
				}
				own = append(own, load{due, time.Since(due)})
			}
		})
	}
	during()
	close(stop)
	running.Wait()
	return all
}

// TestS8_ReapingManyExpired lets the reapers of two managers remove many
// expired sessions while others are loaded: each is logged once, and no load
// fails. How long loads take is for README.md.
func TestS8_ReapingManyExpired(t *testing.T) {
	expired, full := rows(t, 20_000)
	live, idle := 2_000, time.Second
	if full {
		live, idle = 100_000, 10*time.Second
	}
	addr, url := postgresDatabase(t)
	store, db := postgresStore(t, url(addr))
	start := time.Now()
	fillPostgres(t, db, 0, live, start.Add(time.Hour))
	fillPostgres(t, db, live, live+expired, start.Add(-time.Minute))
	t.Logf("%d expired and %d live sessions, written in %v", expired, live, time.Since(start).Round(time.Millisecond))
	keys := make([]session.Key, live)
	for i := range keys {
		keys[i] = keyOf(i)
	}
	watch := &reaping{}
	var told atomic.Int64
	node := func() *session.Manager[data] {
		s, _ := postgresStore(t, url(addr))
		m := newManager(t, reapedStore{s, watch}, &session.Options{ReapEvery: time.Second})
		m.OnEnd(func(_, _, reason string) {
			if reason == string(session.ReasonExpired) {
				told.Add(1)
			}
		})
		return m
	}
	_, cursor, err := store.EndedSince(t.Context(), "", 1)
	require.NoError(t, err)

	loads(t, store, keys, func() { time.Sleep(idle / 4) }) // for warm connections and pages
	before := loads(t, store, keys, func() { time.Sleep(idle) })
	var a, b *session.Manager[data]
	during := loads(t, store, keys, func() {
		a, b = node(), node()
		for limit := time.Now().Add(15 * time.Minute); watch.count() < expired && time.Now().Before(limit); {
			time.Sleep(10 * time.Millisecond)
		}
	})
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())

	require.Equal(t, expired, watch.removed)
	require.EqualValues(t, expired, told.Load())
	for _, m := range []*session.Manager[data]{a, b} {
		logged := everyEnded(t, m, cursor)
		require.Len(t, logged, expired)
		for id, times := range logged {
			require.Equal(t, 1, times, id)
		}
	}
	var left int
	require.NoError(t, db.QueryRow(`SELECT count(*) FROM gatewire_sessions`).Scan(&left))
	require.Equal(t, live, left)

	report := func(name string, list []load) time.Duration {
		var took []time.Duration
		for _, l := range list {
			if name == "idle" || l.due.After(watch.began) && l.due.Before(watch.ended) {
				took = append(took, l.took)
			}
		}
		require.NotEmpty(t, took)
		p99 := quantile(took, 0.99)
		t.Logf("| %s | %d | %v | %v | %v |", name, len(took), short(quantile(took, 0.5)), short(p99), short(took[len(took)-1]))
		return p99
	}
	first := report("idle", before)
	second := report("while reaping", during)
	t.Logf("=> The p99 is %.2f times that of idle; %d sessions were removed in %v, by %d calls of Reap, the longest of %v.",
		float64(second)/float64(first), expired, watch.ended.Sub(watch.began).Round(100*time.Millisecond), watch.calls, short(watch.longest))
}
