package jwt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// A Key verifies signatures of one algorithm and no other, whatever a token's
// header says (RFC 8725 section 3.1). It is immutable, safe for concurrent use
// and prints without its material. See [NewKey] and [ParseJWKS].
type Key struct {
	id, alg string
	check   func(signed, signature []byte) bool
}

// ID returns the key's id, which is the kid of tokens it has signed.
func (k Key) ID() string { return k.id }

// Algorithm returns the one algorithm that the key verifies. For Ed25519 it is
// "EdDSA"; RFC 9864's "Ed25519" is the same algorithm and verifies too.
func (k Key) Algorithm() string { return k.alg }

func (k Key) accepts(alg string) bool {
	return alg == k.alg || k.alg == algEdDSA && alg == algEd25519
}

func (k Key) symmetric() bool { return k.alg == algHS256 || k.alg == algHS384 || k.alg == algHS512 }

// Format prints the id and the algorithm under every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s key %q", k.alg, k.id) }

// LogValue is the id and the algorithm.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", k.id), slog.String("alg", k.alg))
}

// A KeySource finds the keys of one issuer. A [Ring] is one, [StaticKeys]
// another. Key may be called concurrently.
type KeySource interface {
	// Key returns the key with that id; the empty id, of a token that names no
	// key, asks for the only key there is. When there is no such key the error is
	// ErrUnknownKey. Any other error means that nobody could tell: requests are
	// then answered with 503, not refused. id is the sender's word: at most 1 KiB
	// of any text.
	Key(ctx context.Context, id string) (Key, error)
}

type staticKeys []Key

// StaticKeys returns a source of these keys. Ids must differ. HMAC keys can't
// stand beside public keys: who may verify with one kind may also sign with the other.
func StaticKeys(keys ...Key) (KeySource, error) {
	var errs []error
	if len(keys) == 0 {
		errs = append(errs, errors.New("jwt: static keys: at least one key is needed"))
	}
	for i, k := range keys {
		if k.check == nil {
			errs = append(errs, fmt.Errorf("jwt: static keys: key %d is the zero Key: make it with NewKey", i+1))
			continue
		}
		if k.symmetric() != keys[0].symmetric() {
			errs = append(errs, fmt.Errorf("jwt: static keys: key %q: HMAC and public keys can't be mixed: use two verifiers", k.id))
		}
		for _, other := range keys[:i] {
			if other.id == k.id {
				errs = append(errs, fmt.Errorf("jwt: static keys: id %q appears twice", k.id))
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return append(staticKeys{}, keys...), nil
}

func (s staticKeys) Key(_ context.Context, id string) (Key, error) {
	if id == "" && len(s) == 1 {
		return s[0], nil
	}
	for _, k := range s {
		if k.id == id {
			return k, nil
		}
	}
	return Key{}, ErrUnknownKey
}
