package session

import (
	"context"
	"time"
)

// MemoryOptions configures a [MemoryStore]. nil and zero mean the defaults.
type MemoryOptions struct {
	// MaxBytes bounds, about, the memory of the sessions. Defaults to 256 MiB.
	MaxBytes int64
}

// MemoryStore is a [Store] in the memory of one process.
type MemoryStore struct{}

// NewMemoryStore returns an empty store.
func NewMemoryStore(o *MemoryOptions) *MemoryStore { return &MemoryStore{} }

var _ Store = (*MemoryStore)(nil)

func (s *MemoryStore) Create(ctx context.Context, rec Record, epoch uint64) error { return errSkeleton }
func (s *MemoryStore) Load(ctx context.Context, key Key) (rec Record, found bool, err error) {
	return Record{}, false, errSkeleton
}
func (s *MemoryStore) ByID(ctx context.Context, id string) (rec Record, found bool, err error) {
	return Record{}, false, errSkeleton
}
func (s *MemoryStore) Replace(ctx context.Context, old Key, rec Record, ifRev uint64) error {
	return errSkeleton
}
func (s *MemoryStore) Touch(ctx context.Context, key Key, seen, idleExpires time.Time) error {
	return errSkeleton
}
func (s *MemoryStore) End(ctx context.Context, id string, reason Reason, at time.Time) (ended bool, err error) {
	return false, errSkeleton
}
func (s *MemoryStore) EndUser(ctx context.Context, userID, exceptID string, reason Reason, at time.Time) (ended []Ended, err error) {
	return nil, errSkeleton
}
func (s *MemoryStore) EndedSince(ctx context.Context, cursor string, limit int) (ended []Ended, next string, err error) {
	return nil, "", errSkeleton
}
func (s *MemoryStore) ListUser(ctx context.Context, userID string) ([]Record, error) {
	return nil, errSkeleton
}
func (s *MemoryStore) Epoch(ctx context.Context, userID string) (uint64, error) { return 0, errSkeleton }
func (s *MemoryStore) Reap(ctx context.Context, now time.Time, limit int) (ended []Ended, err error) {
	return nil, errSkeleton
}
