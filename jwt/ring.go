package jwt

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// RingOptions say how keys are made and rotated. The zero value is right for
// most programs.
type RingOptions struct {
	// Algorithm of new keys: "ES256" or "EdDSA" (Ed25519). Defaults to "ES256".
	Algorithm string

	// Rotate is how long a key signs. Defaults to 30 days.
	Rotate time.Duration
	// Publish is how long before it signs a key is in the JWKS; at least twice MaxAge + Reread. Defaults to 24 hours.
	Publish time.Duration
	// Retire is how long after it signed last a key stays in the JWKS. At least 20 minutes. Defaults to 1 hour.
	Retire time.Duration

	// MaxAge is how long others may cache the JWKS. Defaults to 15 minutes.
	MaxAge time.Duration
	// Reread is how often the store is read. Defaults to 30 seconds.
	Reread time.Duration
	// MaxStale is how long the keys last read are used while the store is down. Defaults to 1 hour.
	MaxStale time.Duration

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// A Ring is the signing keys of an issuer.
type Ring struct{}

// NewRing returns the ring of the keys in store.
func NewRing(store KeyStore, sealing SealingKeys, o *RingOptions) (*Ring, error) {
	return nil, errors.New("jwt: to come")
}

// Key implements [KeySource].
func (r *Ring) Key(ctx context.Context, id string) (Key, error) {
	return Key{}, errors.New("jwt: to come")
}

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517).
func (r *Ring) JWKS(ctx context.Context) ([]byte, error) { return nil, errors.New("jwt: to come") }

// Handler serves the JWKS.
func (r *Ring) Handler() http.Handler { return http.NotFoundHandler() }
