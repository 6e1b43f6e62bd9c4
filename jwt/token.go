package jwt

import (
	"slices"
	"time"
)

// A Token is a verified token. It is immutable and safe for concurrent use.
type Token[C any] struct {
	access AccessClaims
	claims C
}

// UserID returns sub, which is never empty.
func (t *Token[C]) UserID() string { return t.access.Subject }

// SessionID returns sid, or "".
func (t *Token[C]) SessionID() string { return t.access.SessionID }

// AuthTime returns auth_time, or the zero time.
func (t *Token[C]) AuthTime() time.Time { return t.access.AuthTime }

// ExpiresAt returns exp. The verifier's skew lets the token live a little longer.
func (t *Token[C]) ExpiresAt() time.Time { return t.access.Expiry }

// Grants returns the scopes in scope and the roles in roles.
func (t *Token[C]) Grants() (scopes, roles []string) {
	return slices.Clone(t.access.Scope), slices.Clone(t.access.Roles)
}

// ClientID returns client_id, or "".
func (t *Token[C]) ClientID() string { return t.access.ClientID }

// Access returns the claims of the profile.
func (t *Token[C]) Access() AccessClaims {
	a := t.access
	a.Audience, a.Scope, a.Roles = slices.Clone(a.Audience), slices.Clone(a.Scope), slices.Clone(a.Roles)
	return a
}

// Claims returns the claims as the verifier's type. What they refer to (maps,
// slices) is shared: read it only.
func (t *Token[C]) Claims() C { return t.claims }
