package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gatewire/gatewire/password/internal/nfc"
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
	nfc     *nfc.Form
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
	h.policy.Words = slices.Clone(o.Policy.Words)
	if h.policy.MinLength == 0 {
		h.policy.MinLength = 8
	}
	var nfcErr error
	h.nfc, nfcErr = nfc.New()
	b, err := newBudget(o)
	errs := []error{h.params.check(), h.policy.check(), err, nfcErr}
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
	if err := h.budget.acquire(ctx, s.params.bytes()); err != nil {
		return "", err
	}
	defer h.budget.release(s.params.bytes())
	s.tag = s.params.key(h.input(pw, s.pepper), s.salt, tagBytes)
	return s.encode(), nil
}

// Verify tells whether pw is the password of the stored hash: a nil error means
// that it is, ErrMismatch that it is not, any other error that it could not tell.
// rehash is true when the password is right and the stored hash is not what Hash
// makes today (cost, pepper, sizes): make a new one with Hash and store it, but
// only while the old one is still there, as the example shows. An empty hash and
// one that begins with '!' or '*' (the markers of Unix and Django for a disabled
// password) match nothing, and so does the empty password.
//
// Everything but ErrParams and ErrTooLong takes at least the time of a wrong
// password at the current cost, whatever is stored; a hash of a higher cost than
// the current one takes its own, longer time.
//
// Errors: ErrMismatch, ErrMalformed, ErrParams, ErrUnsupported,
// ErrUnknownPepper, ErrBusy, ErrTooLong, or that of ctx, which bounds the wait
// for memory but can't interrupt the hashing itself.
func (h *Hasher) Verify(ctx context.Context, pw Password, hash Hash) (rehash bool, err error) {
	if len(pw) > MaxBytes {
		return false, ErrTooLong
	}
	s, err := parse(hash)
	if err == nil {
		err = h.admit(s)
	}
	if err == nil && pw == "" {
		err = ErrMismatch
	}
	switch {
	case errors.Is(err, ErrParams):
		return false, err
	case err != nil:
		if e := h.VerifyMissing(ctx, pw); !errors.Is(e, ErrMismatch) {
			return false, e
		}
		return false, err
	}
	if err := h.verify(ctx, pw, s); err != nil {
		return false, err
	}
	return s.outdated(h), nil
}

// VerifyMissing takes the time of Verify for an account that does not exist, so
// that nobody can tell by the clock who has an account. It always returns an
// error: ErrMismatch, or those that Verify would return too: ErrTooLong,
// ErrBusy, that of ctx.
func (h *Hasher) VerifyMissing(ctx context.Context, pw Password) error {
	if len(pw) > MaxBytes {
		return ErrTooLong
	}
	if err := h.verify(ctx, pw, h.missing); err != nil {
		return err
	}
	return ErrMismatch
}

// admit refuses a stored hash that this Hasher can't or must not work on.
func (h *Hasher) admit(s stored) error {
	if s.params.bytes() > h.budget.size || s.params.work() > h.maxWork {
		return ErrParams
	}
	if !h.peppers.has(s.pepper) {
		return fmt.Errorf("%w %q", ErrUnknownPepper, s.pepper)
	}
	return nil
}

// verify is for a stored hash that was admitted.
func (h *Hasher) verify(ctx context.Context, pw Password, s stored) error {
	rest := s.params.missingTo(h.params)
	need := max(s.params.bytes(), rest.bytes())
	if err := h.budget.acquire(ctx, need); err != nil {
		return err
	}
	defer h.budget.release(need)
	input := h.input(pw, s.pepper)
	if subtle.ConstantTimeCompare(s.params.key(input, s.salt, len(s.tag)), s.tag) == 1 {
		return nil
	}
	// A wrong password for an old, cheaper hash must not be told from one for
	// nobody's account. A right one needs no such care: it's hashed anew anyway.
	if rest.MemoryKiB > 0 {
		rest.key(input, h.missing.salt, tagBytes)
	}
	return ErrMismatch
}

// input is what argon2id gets: the password in NFC, under its pepper.
func (h *Hasher) input(pw Password, pepper string) []byte {
	return h.peppers.apply(pepper, []byte(h.nfc.String(string(pw))))
}

// Format keeps the peppers out of every fmt verb.
func (*Hasher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "password.Hasher") }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}
