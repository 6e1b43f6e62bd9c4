package jwt

import (
	"context"
	"errors"
)

// A Key verifies signatures of one algorithm. It prints without its material.
type Key struct {
	id, alg string
	verify  func(signed, signature []byte) bool
	secret  bool
}

// ID returns the key's id, the kid of tokens.
func (k Key) ID() string { return k.id }

// Algorithm returns the one algorithm it verifies.
func (k Key) Algorithm() string { return k.alg }

// NewKey binds key to an algorithm and an id.
func NewKey(id, algorithm string, key any) (Key, error) { return Key{}, errors.New("jwt: to come") }

// A KeySource finds the keys of one issuer.
type KeySource interface {
	// Key returns the key with that id; an empty id asks for the only key. No such key is ErrUnknownKey; any other error means that nobody could tell.
	Key(ctx context.Context, id string) (Key, error)
}

// StaticKeys returns a source of these keys.
func StaticKeys(keys ...Key) (KeySource, error) { return nil, errors.New("jwt: to come") }

// ParseJWKS reads the usable keys of a JSON Web Key Set.
func ParseJWKS(set []byte) ([]Key, error) { return nil, errors.New("jwt: to come") }
