package password

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// Argon2idParams are the cost of argon2id (RFC 9106). New refuses what is below
// OWASP ASVS 5.0 Appendix C: MemoryKiB at least 47104 with Time 1, 19456 with
// Time 2, 12288 with Time 3 or more.
type Argon2idParams struct {
	// MemoryKiB is the memory of one hash in KiB ("m").
	MemoryKiB uint32

	// Time is the number of passes over the memory ("t"), at most 64.
	Time uint32

	// Threads is the number of lanes ("p"), at most 16. It is part of the hash
	// and never follows the number of CPUs.
	Threads uint8
}

// Argon2id19MiB is the default: 19 MiB, 2 passes, 1 lane. It is OWASP's minimum
// and leaves room for 13 sign-ins at once in the default memory budget.
func Argon2id19MiB() Argon2idParams { return Argon2idParams{MemoryKiB: 19456, Time: 2, Threads: 1} }

// Argon2id46MiB is OWASP's equal with more memory: 46 MiB, 1 pass, 1 lane.
func Argon2id46MiB() Argon2idParams { return Argon2idParams{MemoryKiB: 47104, Time: 1, Threads: 1} }

// Argon2id64MiB is RFC 9106's second recommended option: 64 MiB, 3 passes, 4
// lanes. It costs about three times as much as the default.
func Argon2id64MiB() Argon2idParams { return Argon2idParams{MemoryKiB: 65536, Time: 3, Threads: 4} }

const (
	saltBytes  = 16
	tagBytes   = 32
	maxTime    = 64
	maxThreads = 16
)

// bytes is the memory of one hash.
func (p Argon2idParams) bytes() int64 { return int64(p.MemoryKiB) << 10 }

// work is what the duration of one hash grows with: KiB filled.
func (p Argon2idParams) work() uint64 { return uint64(p.MemoryKiB) * uint64(p.Time) }

// check refuses what must not make new hashes.
func (p Argon2idParams) check() error {
	var errs []error
	if p.Time < 1 || p.Time > maxTime {
		errs = append(errs, fmt.Errorf("password: Argon2id.Time is %d, want 1 to %d", p.Time, maxTime))
	}
	if p.Threads < 1 || p.Threads > maxThreads {
		errs = append(errs, fmt.Errorf("password: Argon2id.Threads is %d, want 1 to %d", p.Threads, maxThreads))
	}
	// OWASP ASVS 5.0 Appendix C.
	var least uint32 = 12288
	switch p.Time {
	case 0, 1:
		least = 47104
	case 2:
		least = 19456
	}
	if p.MemoryKiB < least {
		errs = append(errs, fmt.Errorf("password: Argon2id.MemoryKiB is %d, want at least %d with Time %d", p.MemoryKiB, least, p.Time))
	}
	return errors.Join(errs...)
}

// missingTo returns what p must do in addition to take about the time of want:
// zero when p is no cheaper.
func (p Argon2idParams) missingTo(want Argon2idParams) Argon2idParams {
	if p.work() >= want.work() {
		return Argon2idParams{}
	}
	want.MemoryKiB = uint32((want.work() - p.work()) / uint64(want.Time))
	if want.MemoryKiB < 8*uint32(want.Threads) {
		return Argon2idParams{}
	}
	return want
}

func (p Argon2idParams) key(pw, salt []byte, size int) []byte {
	return argon2.IDKey(pw, salt, p.Time, p.MemoryKiB, p.Threads, uint32(size))
}
