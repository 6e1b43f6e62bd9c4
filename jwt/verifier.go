package jwt

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// VerifierOptions adjust a [Verifier]. The zero value is right for most programs.
type VerifierOptions struct {
	// Skew is how far clocks may differ. At most 2 minutes. Defaults to 30 seconds. -1 allows none.
	Skew time.Duration
	// MaxLifetime is the longest exp − iat that is taken, at most 24 hours. Defaults to 15 minutes.
	MaxLifetime time.Duration
	// MaxSize is the longest token, in bytes, at most 64 KiB. Defaults to 8 KiB.
	MaxSize int
	// OtherAudiences may stand in aud beside the profile's own.
	OtherAudiences []string
}

// A Verifier verifies tokens of one profile.
type Verifier[C any] struct{}

// NewVerifier returns a verifier.
func NewVerifier[C any](p Profile, keys KeySource, o *VerifierOptions) (*Verifier[C], error) {
	return nil, errors.New("jwt: to come")
}

// Verify returns the token in raw, or an [*Error].
func (v *Verifier[C]) Verify(ctx context.Context, raw string) (*Token[C], error) {
	return nil, errors.New("jwt: to come")
}

// Authenticate verifies the bearer token in the Authorization header.
func (v *Verifier[C]) Authenticate(r *http.Request) (*Token[C], error) {
	return nil, errors.New("jwt: to come")
}

// A Token is a verified token.
type Token[C any] struct {
	access AccessClaims
	claims C
}

// UserID returns sub.
func (t *Token[C]) UserID() string { return t.access.Subject }

// SessionID returns sid, or "".
func (t *Token[C]) SessionID() string { return t.access.SessionID }

// AuthTime returns auth_time, or the zero time.
func (t *Token[C]) AuthTime() time.Time { return t.access.AuthTime }

// ExpiresAt returns exp.
func (t *Token[C]) ExpiresAt() time.Time { return t.access.Expiry }

// Grants returns the scopes of scope and the roles of roles.
func (t *Token[C]) Grants() (scopes, roles []string) { return t.access.Scope, t.access.Roles }

// ClientID returns client_id, or "".
func (t *Token[C]) ClientID() string { return t.access.ClientID }

// Access returns the claims of the profile.
func (t *Token[C]) Access() AccessClaims { return t.access }

// Claims returns the claims as the host's type.
func (t *Token[C]) Claims() C { return t.claims }
