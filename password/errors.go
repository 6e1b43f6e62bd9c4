package password

import "errors"

// Errors of Hash, Verify and VerifyMissing, for errors.Is. None of them shows a
// password, a pepper or a stored hash. Only ErrMismatch means "wrong password";
// for every other one the caller could not tell and must not sign anyone in.
var (
	// ErrMismatch: the password is wrong, or nothing can match: the account is
	// missing, or its stored hash is empty or marked as disabled.
	ErrMismatch = errors.New("password: mismatch")

	// ErrMalformed: the stored hash can't be read. The row is damaged.
	ErrMalformed = errors.New("password: stored hash is malformed")

	// ErrParams: the stored hash is well formed but asks for more work or memory
	// than this Hasher grants. No work was done.
	ErrParams = errors.New("password: stored hash asks for too much work or memory")

	// ErrUnsupported: the stored hash is of a scheme that this package does not
	// verify. The error's text names the scheme.
	ErrUnsupported = errors.New("password: unsupported scheme")

	// ErrUnknownPepper: the stored hash was made with a pepper that is not among
	// Options.Peppers. The error's text names the pepper's id. Nobody with such
	// a hash can sign in until that pepper is configured again.
	ErrUnknownPepper = errors.New("password: unknown pepper")

	// ErrBusy: the memory budget is used up and the wait for it was too long, or
	// too many callers were waiting. Answer 503 with Retry-After.
	ErrBusy = errors.New("password: busy")

	// ErrTooLong: the password has more than MaxBytes bytes.
	ErrTooLong = errors.New("password: longer than 4096 bytes")

	// ErrEmpty: Hash was given the empty password.
	ErrEmpty = errors.New("password: empty")

	// ErrPolicy: Check refused the password. The error is a *PolicyError.
	ErrPolicy = errors.New("password: refused by policy")
)
