package accounts

import (
	"strings"
)

// Limits of an email address in bytes (RFC 5321 section 4.5.3.1; 254 is what
// its 256-byte path leaves for the address).
const (
	maxEmail      = 254
	maxEmailLocal = 64
	maxLabel      = 63
)

// EmailKey is the form of an address by which accounts are unique: lower case.
// Two addresses with one key are one account's. Only ASCII letters are changed:
// folding others would let an address that merely looks alike reach an account
// (U+212A, the Kelvin sign, folds to "k").
//
// A [Store] compares keys. The key of "" is "", which means that there is no
// address: any number of users have none, and UserByEmail finds none of them.
func EmailKey(email string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, email)
}

// parseEmail trims an address and checks it: the dot-atom form of RFC 5321
// section 4.1.2 in ASCII. Quoted local parts, comments, address literals and
// non-ASCII addresses are refused: they are what parsers disagree about.
// Internationalised domains are written in their ASCII form (xn--…).
func parseEmail(s string) (string, error) {
	s = strings.Trim(s, " ")
	local, domain, ok := strings.Cut(s, "@")
	if !ok || len(s) > maxEmail || len(local) > maxEmailLocal {
		return "", ErrEmail
	}
	for _, atom := range strings.Split(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return !isAtext(r) }) {
			return "", ErrEmail
		}
	}
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !isAlnum(r) && r != '-' }) {
			return "", ErrEmail
		}
	}
	return s, nil
}

func isAlnum(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// isAtext is RFC 5322 section 3.2.3.
func isAtext(r rune) bool {
	return isAlnum(r) || r < 0x80 && strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}
