package jwt

import (
	"context"
	"errors"
	"time"
)

// StoredKey is a signing key as a [KeyStore] keeps it. The private half is
// sealed: a stolen store can sign nothing.
type StoredKey struct {
	ID        string    // kid
	Algorithm string    // "ES256" or "EdDSA"
	Public    []byte    // the public key as a JWK, JSON
	Sealed    []byte    // the private key, PKCS #8, sealed with the ring's sealing keys
	Published time.Time // in the JWKS from here on
	Signs     time.Time // signs from here on
	Retires   time.Time // no longer signs from here on
	Gone      time.Time // out of the JWKS from here on; may be removed
}

// ErrKeyConflict is returned by [KeyStore.AddKey] when another node was first.
var ErrKeyConflict = errors.New("jwt: another node has added a key")

// A KeyStore keeps the keys of a [Ring]. Its methods may be called
// concurrently, also by several nodes on one store.
//
//   - K1. Keys returns all keys, oldest Published first.
//   - K2. AddKey stores k only while newest is the ID of the newest key (by Published), or empty while there is none; otherwise it returns ErrKeyConflict and changes nothing. Comparing and storing are one step.
//   - K3. RemoveKey removes a key; one that is not there is no error.
type KeyStore interface {
	Keys(ctx context.Context) ([]StoredKey, error)
	AddKey(ctx context.Context, k StoredKey, newest string) error
	RemoveKey(ctx context.Context, id string) error
}
