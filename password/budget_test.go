package password_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/password"
)

// Without the budget these hashes would take 16 × 19 MiB at once; with it, two at
// a time and what the garbage collector has not yet taken back.
func TestP5_MemoryStaysWithinTheBudget(t *testing.T) {
	h := newHasher(t, &password.Options{MemoryBudget: 40 << 20, MaxWait: time.Minute})
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)

	stop, sampled := make(chan struct{}), make(chan uint64)
	go func() {
		var peak uint64
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
			select {
			case <-stop:
				sampled <- peak
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if i%2 == 0 {
				_, err := h.Hash(context.Background(), right)
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, h.VerifyMissing(context.Background(), right), password.ErrMismatch)
			}
		})
	}
	wg.Wait()
	close(stop)
	require.Less(t, int64(<-sampled)-int64(before.HeapAlloc), int64(160<<20))
}

func TestP5_OverloadIsErrBusy(t *testing.T) {
	h := newHasher(t, &password.Options{MemoryBudget: 20 << 20, MaxWait: -1})
	s := hash(t, h, right)
	b := password.BudgetOf(h)
	require.NoError(t, b.Acquire(t.Context(), 10<<20))

	_, err := h.Hash(t.Context(), right)
	require.ErrorIs(t, err, password.ErrBusy)
	_, err = h.Verify(t.Context(), right, s)
	require.ErrorIs(t, err, password.ErrBusy)
	_, err = h.Verify(t.Context(), right, "!")
	require.ErrorIs(t, err, password.ErrBusy, "what is stored doesn't show under load either")
	require.ErrorIs(t, h.VerifyMissing(t.Context(), right), password.ErrBusy)

	b.Release(10 << 20)
	_, err = h.Verify(t.Context(), right, s)
	require.NoError(t, err)
}

func TestP5_WaitersObeyTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, &password.Options{MemoryBudget: 20 << 20, MaxWait: time.Hour})
		b := password.BudgetOf(h)
		require.NoError(t, b.Acquire(t.Context(), 20<<20))

		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := h.Hash(ctx, right)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, password.ErrBusy)
		require.Equal(t, time.Second, time.Since(start))

		_, err = h.Hash(ctx, right)
		require.ErrorIs(t, err, context.DeadlineExceeded, "a dead context does no work")
		b.Release(20 << 20)
		_, err = h.Hash(ctx, right)
		require.ErrorIs(t, err, context.DeadlineExceeded, "not even when memory is free")
		require.NoError(t, b.Acquire(t.Context(), 20<<20), "who gave up holds nothing")
	})
}

func TestP5_MaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := password.NewBudget(10, 0, 0)
		require.NoError(t, err)
		require.NoError(t, b.Acquire(t.Context(), 10))
		start := time.Now()
		require.ErrorIs(t, b.Acquire(t.Context(), 1), password.ErrBusy)
		require.Equal(t, 5*time.Second, time.Since(start))
	})
}

func TestP5_MaxWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := password.NewBudget(10, time.Hour, 3)
		require.NoError(t, err)
		require.NoError(t, b.Acquire(t.Context(), 10))
		var got atomic.Int32
		for range 3 {
			go func() {
				if b.Acquire(t.Context(), 1) == nil {
					got.Add(1)
				}
			}()
		}
		synctest.Wait()
		start := time.Now()
		require.ErrorIs(t, b.Acquire(t.Context(), 1), password.ErrBusy)
		require.Zero(t, time.Since(start))
		b.Release(10)
		synctest.Wait()
		require.EqualValues(t, 3, got.Load())
	})
}

// A large request at the head is not starved by small ones behind it, and once it
// gives up those behind it get their turn at once.
func TestP5_FirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := password.NewBudget(10, time.Hour, 0)
		require.NoError(t, err)
		require.NoError(t, b.Acquire(t.Context(), 6))

		var order []string
		var mu sync.Mutex
		ask := func(name string, ctx context.Context, n int64) {
			go func() {
				err := b.Acquire(ctx, n)
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, context.Canceled) {
					name += " gave up"
				}
				order = append(order, name)
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		ask("large", t.Context(), 9)
		ask("small", t.Context(), 1) // would fit
		require.Empty(t, order)
		b.Release(6)
		synctest.Wait()
		require.ElementsMatch(t, []string{"large", "small"}, order)

		order = nil
		ask("impatient", ctx, 5)
		ask("next", t.Context(), 0)
		require.Empty(t, order)
		cancel()
		synctest.Wait()
		require.ElementsMatch(t, []string{"impatient gave up", "next"}, order)
	})
}

// Whatever the mix of grants, timeouts and cancellations, no byte is lost.
func TestP5_NothingLeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := password.NewBudget(100, 7*time.Millisecond, 0)
		require.NoError(t, err)
		var held, most atomic.Int64
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				time.Sleep(time.Duration(i%50) * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%11+1)*time.Millisecond)
				defer cancel()
				n := int64(i%100 + 1)
				if b.Acquire(ctx, n) != nil {
					return
				}
				most.Store(max(most.Load(), held.Add(n)))
				time.Sleep(time.Duration(i%5) * time.Millisecond)
				held.Add(-n)
				b.Release(n)
			})
		}
		wg.Wait()
		require.LessOrEqual(t, most.Load(), int64(100))
		require.NoError(t, b.Acquire(t.Context(), 100))
	})
}
