package password

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const (
	minPepperBytes = 16
	maxPepperBytes = 128
	maxPepperID    = 32
	maxPeppers     = 64
)

// Peppers is a list of peppers: secrets that are mixed into every hash and kept
// outside of the database, so that a stolen database alone can't be guessed
// against. The first one makes new hashes, all of them verify. The zero value
// holds none. Peppers is immutable, safe for concurrent use and prints as
// REDACTED.
type Peppers struct {
	// A func, because fmt looks into everything else: a Peppers in an unexported
	// field, where Format is not called, still shows nothing.
	list func() []pepper
}

type pepper struct {
	id  string
	key []byte
}

// ParsePeppers reads "id:base64[,id:base64…]", the first is current. A pepper has
// 16 to 128 random bytes (32 advised: openssl rand -base64 32). An id has 1 to
// 32 letters, digits, '-', '_' and '.'; it is stored in clear beside each hash.
// Standard and URL-safe base64 are both read, with or without padding. The empty
// string means no pepper. The error tells all entries that are wrong, never what
// is in them.
func ParsePeppers(s string) (Peppers, error) {
	if strings.TrimSpace(s) == "" {
		return Peppers{}, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) > maxPeppers {
		return Peppers{}, fmt.Errorf("password: %d peppers, want at most %d", len(parts), maxPeppers)
	}
	var (
		list []pepper
		errs []error
		seen = make(map[string]bool)
	)
	for i, part := range parts {
		p, err := parsePepper(part)
		if err == nil && seen[p.id] {
			err = errors.New("its id appears twice")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("password: pepper %d: %w", i+1, err))
			continue
		}
		seen[p.id] = true
		list = append(list, p)
	}
	if len(errs) > 0 {
		return Peppers{}, errors.Join(errs...)
	}
	return Peppers{list: func() []pepper { return list }}, nil
}

func parsePepper(s string) (pepper, error) {
	id, b64, ok := strings.Cut(strings.TrimSpace(s), ":")
	if !ok {
		return pepper{}, errors.New("want id:base64")
	}
	if !validPepperID(id) {
		return pepper{}, fmt.Errorf("want an id of 1 to %d letters, digits, '-', '_' and '.'", maxPepperID)
	}
	b64 = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(b64), "=")
	key, err := b64Strict.DecodeString(b64)
	if err != nil || strings.ContainsAny(b64, "\r\n") {
		return pepper{}, errors.New("not base64")
	}
	if len(key) < minPepperBytes || len(key) > maxPepperBytes {
		return pepper{}, fmt.Errorf("%d bytes, want %d to %d random ones", len(key), minPepperBytes, maxPepperBytes)
	}
	return pepper{id: id, key: key}, nil
}

var b64Strict = base64.RawStdEncoding.Strict()

func validPepperID(id string) bool {
	if id == "" || len(id) > maxPepperID {
		return false
	}
	for _, c := range []byte(id) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

// IsZero reports whether there is no pepper.
func (ps Peppers) IsZero() bool { return ps.list == nil }

// current is the id of the pepper that makes new hashes, "" without peppers.
func (ps Peppers) current() string {
	if ps.IsZero() {
		return ""
	}
	return ps.list()[0].id
}

// has reports whether hashes with this pepper id can be verified; "" means none.
func (ps Peppers) has(id string) bool { return id == "" || ps.key(id) != nil }

func (ps Peppers) key(id string) []byte {
	if ps.IsZero() {
		return nil
	}
	for _, p := range ps.list() {
		if p.id == id {
			return p.key
		}
	}
	return nil
}

// apply returns what is hashed in place of the password: HMAC-SHA-256 of it under
// the pepper named id, which has(id), or the password itself when id is empty.
// HMAC, because x/crypto's argon2 takes no secret of its own (RFC 9106's K).
func (ps Peppers) apply(id string, pw []byte) []byte {
	if id == "" {
		return pw
	}
	mac := hmac.New(sha256.New, ps.key(id))
	mac.Write(pw)
	return mac.Sum(nil)
}

// Format keeps the peppers out of every fmt verb.
func (Peppers) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the peppers out of slog.
func (Peppers) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the peppers out of JSON and other encodings.
func (Peppers) MarshalText() ([]byte, error) { return []byte(redacted), nil }
