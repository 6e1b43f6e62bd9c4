package session

import (
	"fmt"
	"io"
	"log/slog"
)

// RefreshToken is a refresh token on its way to the client. It prints as
// REDACTED; Reveal returns it.
type RefreshToken struct {
	// A pointer, because fmt can't call Format for an unexported field of
	// another struct, and prints what is in there instead.
	text *string
}

// Reveal returns the token's text, for the response to the client alone.
func (t RefreshToken) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// Format keeps the token out of every fmt verb.
func (RefreshToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "REDACTED") }

// LogValue keeps the token out of slog.
func (RefreshToken) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// MarshalText keeps the token out of JSON and other encodings.
func (RefreshToken) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }
