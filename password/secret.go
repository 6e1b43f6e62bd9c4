package password

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "REDACTED"

// Password is a plain password as the user typed it. It prints as REDACTED under
// fmt, slog and JSON; string(p) is the password. JSON decodes into it.
//
// Two places escape this, because no method is called there: an unexported struct
// field under fmt, and a map key under JSON. Keep it out of both.
type Password string

// Format keeps the password out of every fmt verb.
func (Password) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the password out of slog.
func (Password) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the password out of JSON and other encodings.
func (Password) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Hash is a stored hash: a PHC string such as
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<tag>
//	$argon2id$v=19$m=19456,t=2,p=1,keyid=MjAyNg$<salt>$<tag>
//
// The second is under the pepper whose id is "2026", in base64 without padding
// like salt and tag. What Hash makes has at most 160 bytes, all ASCII. It prints as REDACTED under fmt, slog and
// JSON; store string(h), and read it back with Hash(s).
//
// Two places escape this, as with Password: an unexported struct field under fmt,
// and a map key under JSON.
type Hash string

// Format keeps the hash out of every fmt verb.
func (Hash) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the hash out of slog.
func (Hash) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the hash out of JSON and other encodings.
func (Hash) MarshalText() ([]byte, error) { return []byte(redacted), nil }
