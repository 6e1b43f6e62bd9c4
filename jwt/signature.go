package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"unicode/utf8"
)

// The signature primitives are the standard library's. jwx, which reads and
// writes keys as JWKs here, ends in the same functions, but its jws.Verify parses
// the header a second time and by looser rules, after the front door has done
// so. Verifying the very bytes that were received is simpler, and cheaper: a whole
// Verify of ours takes no longer than jws.Verify alone and half its allocations.

// Algorithms, RFC 7518 section 3.1, RFC 8037, RFC 9864.
const (
	algES256   = "ES256"
	algEdDSA   = "EdDSA"
	algEd25519 = "Ed25519"
	algRS256   = "RS256"
	algHS256   = "HS256"
	algHS384   = "HS384"
	algHS512   = "HS512"
)

const maxKeyID = 256

// NewKey binds a key to its id and to one algorithm:
//
//   - "ES256": *ecdsa.PublicKey on P-256
//   - "EdDSA" or "Ed25519": ed25519.PublicKey
//   - "RS256": *rsa.PublicKey of 2048 to 8192 bits
//   - "HS256", "HS384", "HS512": []byte of at least 32, 48, 64 random bytes
//
// Any other combination is an error, a private key too.
func NewKey(id, algorithm string, key any) (Key, error) {
	if !goodText(id) || len(id) > maxKeyID {
		return Key{}, fmt.Errorf("jwt: key: an id has 1 to %d bytes of UTF-8 without control characters", maxKeyID)
	}
	check, err := checker(algorithm, key)
	if err != nil {
		return Key{}, fmt.Errorf("jwt: key %q: %w", id, err)
	}
	if algorithm == algEd25519 {
		algorithm = algEdDSA
	}
	return Key{id: id, alg: algorithm, check: check}, nil
}

func checker(algorithm string, key any) (func(signed, signature []byte) bool, error) {
	switch algorithm {
	case algES256:
		if pub, ok := key.(*ecdsa.PublicKey); ok && pub != nil {
			return checkES256(pub)
		}
		return nil, errors.New("ES256 needs a *ecdsa.PublicKey on P-256")
	case algEdDSA, algEd25519:
		pub, ok := key.(ed25519.PublicKey)
		if !ok || len(pub) != ed25519.PublicKeySize {
			return nil, errors.New("EdDSA needs an ed25519.PublicKey")
		}
		pub = bytes.Clone(pub)
		return func(signed, signature []byte) bool { return ed25519.Verify(pub, signed, signature) }, nil
	case algRS256:
		if pub, ok := key.(*rsa.PublicKey); ok && pub != nil && pub.N != nil {
			return checkRS256(pub)
		}
		return nil, errors.New("RS256 needs a *rsa.PublicKey")
	case algHS256:
		return checkHMAC(sha256.New, sha256.Size, key)
	case algHS384:
		return checkHMAC(sha512.New384, sha512.Size384, key)
	case algHS512:
		return checkHMAC(sha512.New, sha512.Size, key)
	}
	return nil, errors.New("unsupported algorithm: use ES256, EdDSA, RS256, HS256, HS384 or HS512")
}

func checkES256(pub *ecdsa.PublicKey) (func(signed, signature []byte) bool, error) {
	if pub.Curve != elliptic.P256() {
		return nil, errors.New("ES256 needs a key on P-256, not on another curve")
	}
	point, err := pub.Bytes()
	if err != nil {
		return nil, errors.New("not a point of P-256")
	}
	if pub, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err != nil {
		return nil, errors.New("not a point of P-256")
	}
	n := elliptic.P256().Params().N
	return func(signed, signature []byte) bool {
		if len(signature) != 64 { // RFC 7518 section 3.4: two numbers of 32 bytes, never DER
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		// Zero must not verify ("psychic signatures", CVE-2022-21449). crypto/ecdsa
		// checks it too; a verifier should not rest on one check of that.
		if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(n) >= 0 || s.Cmp(n) >= 0 {
			return false
		}
		digest := sha256.Sum256(signed)
		return ecdsa.Verify(pub, digest[:], r, s)
	}, nil
}

func checkRS256(pub *rsa.PublicKey) (func(signed, signature []byte) bool, error) {
	if bits := pub.N.BitLen(); bits < 2048 || bits > 8192 {
		return nil, fmt.Errorf("RSA key of %d bits: 2048 to 8192 are taken", bits)
	}
	if pub.E < 1<<16 || pub.E%2 == 0 { // FIPS 186-5 section 5.1
		return nil, errors.New("RSA exponent too small or even: use 65537")
	}
	pub = &rsa.PublicKey{N: new(big.Int).Set(pub.N), E: pub.E}
	return func(signed, signature []byte) bool {
		digest := sha256.Sum256(signed)
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], signature) == nil
	}, nil
}

func checkHMAC(h func() hash.Hash, min int, key any) (func(signed, signature []byte) bool, error) {
	secret, ok := key.([]byte)
	if !ok {
		return nil, errors.New("HMAC needs a []byte")
	}
	if len(secret) < min { // RFC 7518 section 3.2
		return nil, fmt.Errorf("HMAC secret of %d bytes: at least %d random bytes are needed", len(secret), min)
	}
	if looksPublic(secret) {
		return nil, errors.New("that is the text of a public key, which is no secret")
	}
	secret = bytes.Clone(secret)
	return func(signed, signature []byte) bool {
		mac := hmac.New(h, secret)
		mac.Write(signed)
		return hmac.Equal(mac.Sum(nil), signature)
	}, nil
}

// looksPublic finds the classic mistake, a public key handed over as a secret.
func looksPublic(secret []byte) bool {
	if bytes.Contains(secret, []byte("-----BEGIN")) {
		return true
	}
	if utf8.Valid(secret) && bytes.HasPrefix(bytes.TrimSpace(secret), []byte("{")) && bytes.Contains(secret, []byte(`"kty"`)) {
		return true
	}
	_, err := x509.ParsePKIXPublicKey(secret)
	return err == nil
}

// newPrivateKey makes a key to sign with.
func newPrivateKey(algorithm string) (crypto.Signer, error) {
	if algorithm == algEdDSA {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// sign returns the signature as JWS wants it.
func sign(private crypto.Signer, message []byte) ([]byte, error) {
	switch key := private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, message), nil
	case *ecdsa.PrivateKey:
		digest := sha256.Sum256(message)
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			return nil, err
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	}
	return nil, fmt.Errorf("no signature with a %T", private)
}
