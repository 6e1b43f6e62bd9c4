package jwt

import (
	"bytes"
	"context"
	"slices"
	"sync"
)

// MemoryKeyStore is a [KeyStore] for one process: tokens of an earlier run do
// not verify. The zero value is not usable; see [NewMemoryKeyStore].
type MemoryKeyStore struct {
	mu   sync.Mutex
	keys []StoredKey // oldest Published first
}

// NewMemoryKeyStore returns an empty store.
func NewMemoryKeyStore() *MemoryKeyStore { return &MemoryKeyStore{} }

// Keys implements [KeyStore].
func (m *MemoryKeyStore) Keys(ctx context.Context) ([]StoredKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.keys)
	for i := range out {
		out[i] = cloneKey(out[i])
	}
	return out, nil
}

// AddKey implements [KeyStore].
func (m *MemoryKeyStore) AddKey(ctx context.Context, k StoredKey, newest string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	last := ""
	if n := len(m.keys); n > 0 {
		last = m.keys[n-1].ID
	}
	if last != newest {
		return ErrKeyConflict
	}
	m.keys = append(m.keys, cloneKey(k))
	slices.SortStableFunc(m.keys, func(a, b StoredKey) int { return a.Published.Compare(b.Published) })
	return nil
}

// RemoveKey implements [KeyStore].
func (m *MemoryKeyStore) RemoveKey(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = slices.DeleteFunc(m.keys, func(k StoredKey) bool { return k.ID == id })
	return nil
}

func cloneKey(k StoredKey) StoredKey {
	k.Public, k.Sealed = bytes.Clone(k.Public), bytes.Clone(k.Sealed)
	return k
}
