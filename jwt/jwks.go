package jwt

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

const (
	maxJWKS     = 512 << 10
	maxJWKSKeys = 100
)

var jwkNames = newNameSet("keys", "kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "d", "n", "e", "k")

// ParseJWKS returns the keys of a JSON Web Key Set (RFC 7517) that verify
// signatures: P-256, Ed25519 and RSA public keys. Others are passed over one by
// one, as section 5 asks: encryption keys, unknown types and curves, short RSA
// keys, and also secret and private keys, which have no business in a set. A key
// without a kid gets its RFC 7638 thumbprint for an id. A set that is malformed,
// over 512 KiB or 100 keys, names an id twice or holds no usable key is an error.
func ParseJWKS(set []byte) ([]Key, error) {
	if len(set) > maxJWKS {
		return nil, fmt.Errorf("jwt: JWKS longer than %d bytes", maxJWKS)
	}
	members, err := scanObject(set, jwkNames)
	if err != nil {
		return nil, fmt.Errorf("jwt: JWKS: %w", err)
	}
	i := slices.IndexFunc(members, func(m member) bool { return m.name == "keys" })
	if i < 0 {
		return nil, errors.New("jwt: JWKS: no keys member")
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(members[i].raw, &raw); err != nil {
		return nil, errors.New("jwt: JWKS: keys is not an array")
	}
	if len(raw) > maxJWKSKeys {
		return nil, fmt.Errorf("jwt: JWKS: more than %d keys", maxJWKSKeys)
	}
	var keys []Key
	for _, one := range raw {
		k, err := parseJWK(one)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(keys, func(other Key) bool { return other.id == k.id }) {
			return nil, fmt.Errorf("jwt: JWKS: kid %q appears twice", k.id)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("jwt: JWKS: no usable key")
	}
	return keys, nil
}

func parseJWK(data []byte) (Key, error) {
	var about struct {
		Kid    string   `json:"kid"`
		Kty    string   `json:"kty"`
		Use    string   `json:"use"`
		Alg    string   `json:"alg"`
		KeyOps []string `json:"key_ops"`
	}
	if err := json.Unmarshal(data, &about); err != nil {
		return Key{}, err
	}
	if about.Use != "" && about.Use != "sig" || about.KeyOps != nil && !slices.Contains(about.KeyOps, "verify") {
		return Key{}, errors.New("not for verifying")
	}
	alg, ok := map[string]string{"EC": algES256, "OKP": algEdDSA, "RSA": algRS256}[about.Kty]
	if !ok || about.Alg != "" && about.Alg != alg && !(alg == algEdDSA && about.Alg == algEd25519) {
		return Key{}, errors.New("not a key of a supported algorithm")
	}
	parsed, err := jwk.ParseKey(data)
	if err != nil {
		return Key{}, err
	}
	var public any
	if err := jwk.Export(parsed, &public); err != nil {
		return Key{}, err
	}
	if about.Kid == "" {
		if about.Kid, err = thumbprint(parsed); err != nil {
			return Key{}, err
		}
	}
	return NewKey(about.Kid, alg, public)
}

// publicJWK returns the public key as a JWK for publishing, and its thumbprint
// as the id (RFC 7638). It is built from the public half alone, so that no
// private member can slip in.
func publicJWK(public crypto.PublicKey, algorithm string) (id string, text []byte, err error) {
	key, err := jwk.Import(public)
	if err != nil {
		return "", nil, err
	}
	if id, err = thumbprint(key); err != nil {
		return "", nil, err
	}
	for name, value := range map[string]string{"kid": id, "alg": algorithm, "use": "sig"} {
		if err := key.Set(name, value); err != nil {
			return "", nil, err
		}
	}
	text, err = json.Marshal(key)
	return id, text, err
}

func thumbprint(key jwk.Key) (string, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
