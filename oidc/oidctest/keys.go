package oidctest

import (
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
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
)

// signingKey signs with one algorithm.
type signingKey struct {
	kid     string
	alg     string
	private crypto.Signer
}

func newSigningKey(alg string) (*signingKey, error) {
	k := &signingKey{kid: rand.Text()[:8], alg: alg}
	var err error
	switch alg {
	case "RS256":
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, k.private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("oidctest: Alg %q: want ES256, RS256 or EdDSA", alg)
	}
	return k, err
}

// sign returns the JWS signature over data.
func (k *signingKey) sign(data []byte) ([]byte, error) {
	sum := sha256.Sum256(data)
	switch key := k.private.(type) {
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			return nil, err
		}
		raw := make([]byte, 64)
		r.FillBytes(raw[:32])
		s.FillBytes(raw[32:])
		return raw, nil
	}
	return k.private.Sign(nil, data, crypto.Hash(0))
}

// jwk is the public half.
func (k *signingKey) jwk() map[string]any {
	m := map[string]any{"kid": k.kid, "alg": k.alg, "use": "sig"}
	switch key := k.private.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(key.N.Bytes()), b64(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PublicKey:
		point, _ := key.Bytes()
		m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", b64(point[1:33]), b64(point[33:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(key)
	}
	return m
}

// Rotate makes a new signing key and stops publishing the old ones.
func (p *Provider) Rotate() {
	key, err := newSigningKey(p.o.Alg)
	if err != nil {
		panic(err) // New made one of this kind before
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []*signingKey{key}
}

// AddKey publishes one more key, which doesn't sign.
func (p *Provider) AddKey() {
	key, err := newSigningKey(p.o.Alg)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append([]*signingKey{key}, p.keys...)
}

func (p *Provider) signer() *signingKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[len(p.keys)-1]
}

func (p *Provider) serveKeys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	keys := p.keys
	p.mu.Unlock()
	var set []map[string]any
	for _, k := range keys {
		jwk := k.jwk()
		if p.has(EncryptionKey) {
			jwk["use"] = "enc"
		}
		if p.has(OtherAlgKey) {
			jwk["alg"] = map[string]string{"RS256": "RS512", "ES256": "ES512", "EdDSA": "Ed448"}[k.alg]
		}
		set = append(set, jwk)
	}
	var all any = set
	if p.has(UnusableKeys) {
		junk := []any{
			map[string]any{"kty": "EC", "crv": "secp256k1", "kid": "k1", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))},
			map[string]any{"kty": "OKP", "crv": "X448", "kid": "x448", "x": b64(make([]byte, 56))},
			map[string]any{"kty": "oct", "kid": "oct", "k": "AAAA"},
			map[string]any{"kty": "RSA", "kid": "small", "n": b64([]byte{0xff, 0xff}), "e": "AQAB"},
			map[string]any{"kty": "EC", "crv": "P-256", "kid": "off-curve", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))},
			map[string]any{"kty": 7, "kid": []string{"x"}}, "junk", nil, 4,
		}
		for _, k := range set {
			junk = append(junk, k)
		}
		all = junk
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": all})
}

// sign makes a token of a draft. A fault replaces the signature.
func (p *Provider) sign(f Fault, key *signingKey, d *draft) (string, error) {
	claims, err := json.Marshal(d.claims)
	if err != nil {
		return "", err
	}
	claims = append(claims[:len(claims)-1], d.extra+"}"...)
	signature := func(data []byte) ([]byte, error) { return key.sign(data) }
	switch f {
	case AlgNone:
		d.header["alg"] = "none"
		signature = func([]byte) ([]byte, error) { return nil, nil }
	case HMACSecret, HMACPublicKey:
		secret := []byte(p.o.ClientSecret)
		if f == HMACPublicKey {
			der, err := x509.MarshalPKIXPublicKey(key.private.Public())
			if err != nil {
				return "", err
			}
			secret = der
		}
		d.header["alg"] = "HS256"
		signature = func(data []byte) ([]byte, error) {
			mac := hmac.New(sha256.New, secret)
			mac.Write(data)
			return mac.Sum(nil), nil
		}
	case BadSignature:
		signature = func(data []byte) ([]byte, error) {
			s, err := key.sign(data)
			if err == nil {
				s[len(s)/2] ^= 1
			}
			return s, err
		}
	case UnknownKey:
		other, err := newSigningKey(key.alg)
		if err != nil {
			return "", err
		}
		d.header["kid"] = other.kid
		signature = other.sign
	}
	h, err := json.Marshal(d.header)
	if err != nil {
		return "", err
	}
	input := b64(h) + "." + b64(claims)
	s, err := signature([]byte(input))
	return input + "." + b64(s), err
}

// tokenHash is at_hash (OpenID Connect Core 1.0 section 3.1.3.6).
func tokenHash(alg, accessToken string) string {
	if alg == "EdDSA" {
		sum := sha512.Sum512([]byte(accessToken))
		return b64(sum[:32])
	}
	sum := sha256.Sum256([]byte(accessToken))
	return b64(sum[:16])
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
