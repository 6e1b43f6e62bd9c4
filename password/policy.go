package password

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxBytes is the longest password in bytes that is hashed or verified. Longer
// ones are refused, never cut.
const MaxBytes = 4096

const (
	minLength    = 8
	maxMinLength = 64

	// A context word has minWord characters or more: shorter ones are part of too
	// many good passwords. The others bound the work: bytes of a hint, words.
	minWord, maxHint, maxWords = 3, 512, 64
)

// Policy says which new passwords Check lets through. The zero value is the
// default. There are no composition rules ("one digit, one capital"): they make
// passwords weaker (NIST SP 800-63B-4, OWASP ASVS 5.0 6.2.5).
type Policy struct {
	// MinLength is the least number of characters (Unicode code points in NFC),
	// 8 to 64. Set 15 where the password is the only factor (NIST SP 800-63B-4).
	// Defaults to 8.
	MinLength int

	// Words are context words that hold for every user, such as the name of the
	// application or the company (OWASP ASVS 5.0 6.1.2, 6.2.11).
	Words []string
}

// Reason is why a password was refused.
type Reason string

// The reasons of a PolicyError. New ones may come.
const (
	ReasonTooShort Reason = "too_short" // fewer than Min characters
	ReasonTooLong  Reason = "too_long"  // more than MaxBytes bytes
	ReasonCommon   Reason = "common"    // among the passwords that are guessed first
	ReasonContext  Reason = "context"   // made of the user's or the application's name
)

// PolicyError says why Check refused a password. errors.Is(err, ErrPolicy) is
// true of it.
type PolicyError struct {
	Reason Reason
	Min    int // characters, with ReasonTooShort
}

// Error is UserMessage with the package's prefix. It never shows the password.
func (e *PolicyError) Error() string { return "password: " + e.UserMessage() }

// UserMessage is a sentence for the user who chose the password.
func (e *PolicyError) UserMessage() string {
	switch e.Reason {
	case ReasonTooShort:
		return fmt.Sprintf("Use at least %d characters.", e.Min)
	case ReasonTooLong:
		return fmt.Sprintf("Use at most %d bytes.", MaxBytes)
	case ReasonCommon:
		return "This password is among the first that attackers try. Choose another one."
	case ReasonContext:
		return "This password is too close to your name, your e-mail address or the name of this service. Choose another one."
	default:
		return "This password can't be used. Choose another one."
	}
}

// Unwrap returns ErrPolicy.
func (e *PolicyError) Unwrap() error { return ErrPolicy }

// Check applies the policy to a new password and returns nil or a *PolicyError.
// hints are what an attacker would try first for this user: the user name, the
// e-mail address, the display name.
//
// Refused, all without regard to case: passwords shorter than the policy's
// minimum or longer than MaxBytes; 11,833 common ones, and rows such as
// "aaaaaaaaaa" and "abcdefgh"; those of which fewer than 8 characters, or a
// common password, are left without the words (of 3 characters and more) of
// hints and Policy.Words.
//
// Call it when a password is chosen, never when one is verified: users must be
// able to sign in with what they have.
func (h *Hasher) Check(pw Password, hints ...string) error {
	if len(pw) > MaxBytes {
		return &PolicyError{Reason: ReasonTooLong}
	}
	normal := h.nfc.String(string(pw))
	if utf8.RuneCountInString(normal) < h.policy.MinLength {
		return &PolicyError{Reason: ReasonTooShort, Min: h.policy.MinLength}
	}
	folded := strings.ToLower(normal)
	if common(folded) {
		return &PolicyError{Reason: ReasonCommon}
	}
	rest := folded
	for _, w := range h.words(hints) {
		rest = strings.ReplaceAll(rest, w, "")
	}
	if rest != folded && (utf8.RuneCountInString(rest) < minLength || common(rest)) {
		return &PolicyError{Reason: ReasonContext}
	}
	return nil
}

// words returns the context words in lower case, the longest first: each hint as
// a whole and its parts.
func (h *Hasher) words(hints []string) []string {
	var words []string
	for _, hint := range slices.Concat(h.policy.Words, hints) {
		if len(words) == maxWords {
			break
		}
		hint = strings.ToLower(h.nfc.String(hint[:min(len(hint), maxHint)]))
		parts := strings.FieldsFunc(hint, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsNumber(r)
		})
		for _, w := range append(parts, hint) {
			if utf8.RuneCountInString(w) >= minWord && len(words) < maxWords {
				words = append(words, w)
			}
		}
	}
	slices.SortStableFunc(words, func(a, b string) int { return len(b) - len(a) })
	return words
}

func (p Policy) check() error {
	if p.MinLength < minLength || p.MinLength > maxMinLength {
		return fmt.Errorf("password: Policy.MinLength is %d, want %d to %d", p.MinLength, minLength, maxMinLength)
	}
	return nil
}
