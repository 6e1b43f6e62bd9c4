package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"time"
)

// Options configure a Hasher. The zero value is safe for production.
type Options struct {
	// Argon2id is the cost of new hashes. Defaults to Argon2id19MiB().
	Argon2id Argon2idParams

	// Peppers are mixed into the hashes. Defaults to none.
	Peppers Peppers

	// MemoryBudget bounds, in bytes, the memory of all the hashing that runs at
	// once. Callers beyond it wait. Defaults to 256 MiB.
	MemoryBudget int64

	// MaxWait bounds the wait for memory, after which the answer is ErrBusy.
	// Defaults to 5 seconds. -1 never waits.
	MaxWait time.Duration

	// MaxWaiting bounds how many callers wait at once; the next one gets ErrBusy
	// immediately. Defaults to 1000.
	MaxWaiting int

	// Policy is what Check applies.
	Policy Policy
}

// Hasher makes and verifies password hashes. Make one per process with New: the
// memory budget is its own. It is immutable and safe for concurrent use.
type Hasher struct {
	params  Argon2idParams
	peppers Peppers
	policy  Policy
	budget  *budget
	maxWork uint64 // KiB filled, the most that a stored hash may ask for
	missing stored // what VerifyMissing verifies against: nobody's hash, at the current cost
}

// New returns a Hasher. A nil Options means the defaults. The error names every
// option that is wrong.
func New(o *Options) (*Hasher, error) {
	if o == nil {
		o = &Options{}
	}
	h := &Hasher{params: o.Argon2id, peppers: o.Peppers, policy: o.Policy}
	if h.params == (Argon2idParams{}) {
		h.params = Argon2id19MiB()
	}
	if h.policy.MinLength == 0 {
		h.policy.MinLength = 8
	}
	b, err := newBudget(o)
	errs := []error{h.params.check(), h.policy.check(), err}
	if err == nil && b.size < h.params.bytes() {
		errs = append(errs, fmt.Errorf("password: MemoryBudget is %d bytes, want at least the %d of one hash", b.size, h.params.bytes()))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	h.budget = b
	h.maxWork = 4 * max(h.params.work(), Argon2id64MiB().work())
	h.missing = stored{params: h.params, pepper: h.peppers.current(), salt: random(saltBytes), tag: random(tagBytes)}
	return h, nil
}

// Hash returns a new hash of pw for storing, made with the current cost, the
// current pepper and a fresh random salt of 16 bytes. It does not apply the
// policy: call Check first.
//
// Errors: ErrEmpty, ErrTooLong, ErrBusy, or that of ctx, which bounds the wait
// for memory but can't interrupt the hashing itself.
func (h *Hasher) Hash(ctx context.Context, pw Password) (Hash, error) {
	if pw == "" {
		return "", ErrEmpty
	}
	if len(pw) > MaxBytes {
		return "", ErrTooLong
	}
	s := stored{params: h.params, pepper: h.peppers.current(), salt: random(saltBytes)}
	key, err := h.peppers.apply(s.pepper, []byte(pw))
	if err != nil {
		return "", err
	}
	if err := h.budget.acquire(ctx, s.params.bytes()); err != nil {
		return "", err
	}
	defer h.budget.release(s.params.bytes())
	s.tag = s.params.key(key, s.salt, tagBytes)
	return s.encode(), nil
}

// Verify tells whether pw is the password of the stored hash: a nil error means
// that it is, ErrMismatch that it is not, any other error that it could not tell.
// rehash is true when the password is right and the hash should be replaced.
func (h *Hasher) Verify(ctx context.Context, pw Password, hash Hash) (rehash bool, err error) {
	if len(pw) > MaxBytes {
		return false, ErrTooLong
	}
	s, err := parse(hash)
	if err != nil {
		return false, err
	}
	if s.params.bytes() > h.budget.size || s.params.work() > h.maxWork {
		return false, ErrParams
	}
	if err := h.verify(ctx, pw, s); err != nil {
		return false, err
	}
	return s.outdated(h), nil
}

// VerifyMissing takes the time of Verify for an account that does not exist, so
// that a caller can't tell who has an account. It returns ErrMismatch, or the
// errors that Verify would return too: ErrTooLong, ErrBusy, that of ctx.
func (h *Hasher) VerifyMissing(ctx context.Context, pw Password) error {
	if len(pw) > MaxBytes {
		return ErrTooLong
	}
	if err := h.verify(ctx, pw, h.missing); err != nil {
		return err
	}
	return ErrMismatch
}

func (h *Hasher) verify(ctx context.Context, pw Password, s stored) error {
	key, err := h.peppers.apply(s.pepper, []byte(pw))
	if err != nil {
		return err
	}
	if err := h.budget.acquire(ctx, s.params.bytes()); err != nil {
		return err
	}
	defer h.budget.release(s.params.bytes())
	if subtle.ConstantTimeCompare(s.params.key(key, s.salt, len(s.tag)), s.tag) != 1 {
		return ErrMismatch
	}
	return nil
}

// Format keeps the peppers out of every fmt verb.
func (*Hasher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "password.Hasher") }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}
