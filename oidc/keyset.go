package oidc

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
)

const (
	keysFresh = time.Hour
	keysStale = 24 * time.Hour
	// keysForce is the pause between two fetches for an unknown key that
	// found nothing new.
	keysForce = 30 * time.Second
	maxKeys   = 100
)

var errSignature = errors.New("no key of the provider verifies the signature")

// keySet is a provider's published keys. It implements go-oidc's KeySet.
type keySet struct {
	keys source[[]publicKey]
}

func newKeySet(url string, client *http.Client) *keySet {
	return &keySet{keys: source[[]publicKey]{
		fresh: keysFresh, stale: keysStale, force: keysForce,
		fetch: func(ctx context.Context, _ []publicKey) ([]publicKey, error) {
			body, _, err := getBody(ctx, client, "keys", url, "")
			if err != nil {
				return nil, err
			}
			keys, err := parseKeys(body)
			if err != nil {
				return nil, badAnswer("keys: %w", err)
			}
			return keys, nil
		},
	}}
}

// VerifySignature returns the payload of a compact JWS that one of the keys
// verifies. A signature that none verifies may be from a key published since:
// then the set is fetched once more.
func (k *keySet) VerifySignature(ctx context.Context, jws string) ([]byte, error) {
	h, err := parseHeader(jws)
	if err != nil {
		return nil, err
	}
	keys, gen, err := k.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	if payload, err := verifyWith(ctx, keys, h, jws); err == nil {
		return payload, nil
	}
	keys, err = k.keys.refetch(ctx, gen)
	if err != nil {
		return nil, err
	}
	payload, err := verifyWith(ctx, keys, h, jws)
	if err == nil {
		k.keys.fruitful()
	}
	return payload, err
}

func verifyWith(ctx context.Context, keys []publicKey, h header, jws string) ([]byte, error) {
	for _, key := range keys {
		if !key.fits(h) {
			continue
		}
		one := gooidc.StaticKeySet{PublicKeys: []crypto.PublicKey{key.public}}
		if payload, err := one.VerifySignature(ctx, jws); err == nil {
			return payload, nil
		}
	}
	return nil, errSignature
}

// parseKeys reads a JWK Set, leaving out every key that can't be used: one odd
// key must not spoil the others (RFC 7517 section 5).
func parseKeys(body []byte) ([]publicKey, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	if set.Keys == nil {
		return nil, errors.New("no member keys")
	}
	var keys []publicKey
	for _, raw := range *set.Keys {
		if key, err := parseKey(raw); err == nil {
			keys = append(keys, key)
		}
		if len(keys) == maxKeys {
			break
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no usable key")
	}
	return keys, nil
}
