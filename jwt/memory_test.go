package jwt_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/jwt"
)

func TestMemoryKeyStore(t *testing.T) {
	ctx := t.Context()
	s := jwt.NewMemoryKeyStore()
	keys, err := s.Keys(ctx)
	require.NoError(t, err)
	require.Empty(t, keys)
	now := time.Now().UTC()

	require.ErrorIs(t, s.AddKey(ctx, jwt.StoredKey{ID: "a"}, "x"), jwt.ErrKeyConflict)
	require.NoError(t, s.AddKey(ctx, jwt.StoredKey{ID: "a", Published: now, Sealed: []byte("s")}, ""))
	require.ErrorIs(t, s.AddKey(ctx, jwt.StoredKey{ID: "b"}, ""), jwt.ErrKeyConflict)

	var added atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if s.AddKey(ctx, jwt.StoredKey{ID: "b", Published: now.Add(time.Second)}, "a") == nil {
				added.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, added.Load(), "K2: comparing and storing are one step")

	require.NoError(t, s.AddKey(ctx, jwt.StoredKey{ID: "old", Published: now.Add(-time.Hour)}, "b"))
	keys, err = s.Keys(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"old", "a", "b"}, []string{keys[0].ID, keys[1].ID, keys[2].ID}, "K1: oldest first")
	keys[1].Sealed[0] = 'x'
	keys, _ = s.Keys(ctx)
	require.Equal(t, "s", string(keys[1].Sealed), "what is stored is a copy")

	require.NoError(t, s.RemoveKey(ctx, "a"))
	require.NoError(t, s.RemoveKey(ctx, "a"), "K3")
	keys, _ = s.Keys(ctx)
	require.Len(t, keys, 2)
}
