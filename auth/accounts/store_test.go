package accounts_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/auth/accounts/accountstest"
)

func TestMemoryStore(t *testing.T) {
	accountstest.Run(t, func(*testing.T) accounts.Store { return accounts.NewMemoryStore() })
}

func TestMemoryLimiter(t *testing.T) {
	accountstest.RunLimiter(t, func(*testing.T) accounts.Limiter { return accounts.NewMemoryLimiter() })
}

func TestMemoryOnce(t *testing.T) {
	accountstest.RunOnce(t, func(*testing.T) accounts.Once { return accounts.NewMemoryOnce() })
}

// What is full refuses the next one, and forgets none.
func TestMemoryOnceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := accounts.NewMemoryOnce()
		ctx := context.Background()
		for i := range 1 << 18 {
			first, err := o.Take(ctx, fmt.Sprint(i), time.Hour)
			require.NoError(t, err)
			require.True(t, first)
		}
		first, err := o.Take(ctx, "another", time.Hour)
		require.Error(t, err)
		require.False(t, first)
		time.Sleep(30 * time.Minute)
		first, err = o.Take(ctx, "0", time.Hour)
		require.NoError(t, err)
		require.False(t, first)
		time.Sleep(30 * time.Minute)
		first, err = o.Take(ctx, "another", time.Hour)
		require.NoError(t, err)
		require.True(t, first)
		_, ok, err := o.Taken(ctx, "0")
		require.NoError(t, err)
		require.True(t, ok)
	})
}

// A flood of keys costs bounded memory and does not free who is being throttled.
func TestMemoryLimiterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := accounts.NewMemoryLimiter()
		limit := accounts.Limit{Burst: 30, Every: time.Minute}
		ctx := context.Background()
		for range limit.Burst {
			_, err := l.Take(ctx, "victim", limit)
			require.NoError(t, err)
		}
		for i := range 300_000 { // more than it keeps
			_, err := l.Take(ctx, fmt.Sprint("flood", i), limit)
			require.NoError(t, err)
		}
		require.LessOrEqual(t, l.Len(), 1<<18)
		wait, err := l.Take(ctx, "victim", limit)
		require.NoError(t, err)
		require.Positive(t, wait)

		time.Sleep(31 * time.Minute)
		for i := range 100_000 {
			_, err := l.Take(ctx, fmt.Sprint("later", i), limit)
			require.NoError(t, err)
		}
		require.Less(t, l.Len(), 150_000, "what is as new is forgotten")
	})
}
