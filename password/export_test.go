package password

import (
	"context"
	"time"
)

// Cheap is h with one pass over so many KiB, less than New lets through: for tests
// that are not about the cost.
func Cheap(h *Hasher, kib uint32) *Hasher {
	c := *h
	c.params = Argon2idParams{MemoryKiB: kib, Time: 1, Threads: 1}
	c.missing.params = c.params
	return &c
}

// Parse takes a hash apart and puts it together again.
func Parse(h Hash) (Hash, error) {
	s, err := parse(h)
	if err != nil {
		return "", err
	}
	return s.encode(), nil
}

// Budget lets tests hold memory without hashing.
type Budget struct{ b *budget }

func NewBudget(size int64, maxWait time.Duration, maxWaiting int) (Budget, error) {
	b, err := newBudget(&Options{MemoryBudget: size, MaxWait: maxWait, MaxWaiting: maxWaiting})
	return Budget{b}, err
}

func (b Budget) Acquire(ctx context.Context, n int64) error { return b.b.acquire(ctx, n) }
func (b Budget) Release(n int64)                            { b.b.release(n) }

// BudgetOf is the budget of a Hasher.
func BudgetOf(h *Hasher) Budget { return Budget{h.budget} }

// CommonList is the embedded list.
func CommonList() string { return commonList }

// IsCommon looks a lower-case password up.
func IsCommon(pw string) bool { return common(pw) }

// EmptyHash is a well-formed argon2id hash of the empty password.
func EmptyHash(h *Hasher) Hash {
	s := stored{params: h.params, salt: random(saltBytes)}
	s.tag = s.params.key(nil, s.salt, tagBytes)
	return s.encode()
}
