package accountstest

import (
	"context"
	"testing"
	"time"

	"github.com/gatewire/gatewire/auth/accounts"
)

// RunLimiter tests the rules of [accounts.Limiter]. newLimiter returns an empty
// one. It takes a second.
func RunLimiter(t *testing.T, newLimiter func(t *testing.T) accounts.Limiter) {
	t.Helper()
	slow := accounts.Limit{Burst: 5, Every: time.Hour}
	quick := accounts.Limit{Burst: 2, Every: 100 * time.Millisecond}

	t.Run("L1 tries and waits", func(t *testing.T) {
		l := newLimiter(t)
		for range slow.Burst {
			took(t, l, "key", slow)
		}
		for range 2 { // a refused try takes nothing
			wait := waits(t, l, "key", slow)
			if wait > slow.Every || wait < slow.Every-time.Minute {
				t.Fatalf("the wait is %v, want about %v", wait, slow.Every)
			}
		}
		took(t, l, "another key", slow)
	})
	t.Run("L1 no more than there are, at once", func(t *testing.T) {
		l := newLimiter(t)
		waited := make([]time.Duration, 50)
		errs := race(len(waited), func(i int) (err error) {
			waited[i], err = l.Take(context.WithoutCancel(t.Context()), "key", slow)
			return err
		})
		taken := 0
		for i, err := range errs {
			must(t, err)
			if waited[i] == 0 {
				taken++
			}
		}
		if taken != slow.Burst {
			t.Fatalf("%d of %d calls took a try, want %d", taken, len(errs), slow.Burst)
		}
	})
	t.Run("L2 given back", func(t *testing.T) {
		l := newLimiter(t)
		for range 20 {
			took(t, l, "key", slow)
			must(t, l.Give(t.Context(), "key", slow))
		}
		for range 3 { // beyond the burst
			must(t, l.Give(t.Context(), "key", slow))
		}
		for range slow.Burst {
			took(t, l, "key", slow)
		}
		waits(t, l, "key", slow)
	})
	t.Run("L3 time gives tries back", func(t *testing.T) {
		l := newLimiter(t)
		for range 2 {
			for range quick.Burst {
				took(t, l, "key", quick)
			}
			time.Sleep(time.Duration(quick.Burst)*quick.Every + 20*time.Millisecond)
		}
	})
}

func took(t *testing.T, l accounts.Limiter, key string, limit accounts.Limit) {
	t.Helper()
	wait, err := l.Take(t.Context(), key, limit)
	must(t, err)
	if wait != 0 {
		t.Fatalf("a try was refused for %v, want it to be there", wait)
	}
}

func waits(t *testing.T, l accounts.Limiter, key string, limit accounts.Limit) time.Duration {
	t.Helper()
	wait, err := l.Take(t.Context(), key, limit)
	must(t, err)
	if wait <= 0 {
		t.Fatal("there was a try beyond the burst")
	}
	return wait
}
