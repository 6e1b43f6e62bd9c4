package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
)

// publicKey is a signature key of a JWK Set.
type publicKey struct {
	kid    string
	alg    string // empty: any that the key's type allows
	public crypto.PublicKey
}

var errUnusableKey = errors.New("not a usable signature key")

// parseKey reads one JWK (RFC 7517, RFC 7518 section 6, RFC 8037).
func parseKey(raw []byte) (publicKey, error) {
	var jwk struct {
		Kty string   `json:"kty"`
		Kid string   `json:"kid"`
		Alg string   `json:"alg"`
		Use string   `json:"use"`
		Ops []string `json:"key_ops"`
		Crv string   `json:"crv"`
		N   string   `json:"n"`
		E   string   `json:"e"`
		X   string   `json:"x"`
		Y   string   `json:"y"`
	}
	if json.Unmarshal(raw, &jwk) != nil {
		return publicKey{}, errUnusableKey
	}
	if jwk.Use != "" && jwk.Use != "sig" || jwk.Ops != nil && !slices.Contains(jwk.Ops, "verify") {
		return publicKey{}, errUnusableKey
	}
	key := publicKey{kid: jwk.Kid, alg: jwk.Alg}
	switch jwk.Kty {
	case "RSA":
		key.public = rsaKey(jwk.N, jwk.E)
	case "EC":
		key.public = ecKey(jwk.Crv, jwk.X, jwk.Y)
	case "OKP":
		key.public = edKey(jwk.Crv, jwk.X)
	}
	if key.public == nil {
		return publicKey{}, errUnusableKey
	}
	return key, nil
}

func rsaKey(n, e string) crypto.PublicKey {
	modulus, err1 := base64.RawURLEncoding.DecodeString(n)
	exponent, err2 := base64.RawURLEncoding.DecodeString(e)
	if err1 != nil || err2 != nil || len(exponent) > 4 || len(modulus) > 1024 {
		return nil
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}
	// RFC 7518 section 3.3 wants 2048 bits; over 8192 is only slow.
	if key.N.BitLen() < 2048 || key.N.BitLen() > 8192 || key.E < 3 || key.E > 1<<31-1 || key.E%2 == 0 {
		return nil
	}
	return key
}

func ecKey(crv, x, y string) crypto.PublicKey {
	var curve elliptic.Curve
	switch crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil
	}
	size := (curve.Params().BitSize + 7) / 8
	px, err1 := base64.RawURLEncoding.DecodeString(x)
	py, err2 := base64.RawURLEncoding.DecodeString(y)
	if err1 != nil || err2 != nil || len(px) != size || len(py) != size {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, px, py))
	if err != nil {
		return nil
	}
	return key
}

func edKey(crv, x string) crypto.PublicKey {
	point, err := base64.RawURLEncoding.DecodeString(x)
	if crv != "Ed25519" || err != nil || len(point) != ed25519.PublicKeySize {
		return nil
	}
	return ed25519.PublicKey(point)
}

// fits reports whether the key may verify what has this header: the algorithm
// is chosen by the key, not by whoever wrote the header.
func (k publicKey) fits(h header) bool {
	if h.kid != nil && *h.kid != k.kid || k.alg != "" && k.alg != h.alg {
		return false
	}
	switch key := k.public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(h.alg, "RS") || strings.HasPrefix(h.alg, "PS")
	case *ecdsa.PublicKey:
		return h.alg == map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[key.Curve.Params().Name]
	case ed25519.PublicKey:
		return h.alg == "EdDSA"
	}
	return false
}
