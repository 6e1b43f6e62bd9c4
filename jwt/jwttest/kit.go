package jwttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

const (
	issuer   = "https://issuer.example"
	audience = "https://api.example"
)

// kit holds the trusted keys and an attacker's, and makes tokens of raw text.
type kit struct {
	now time.Time

	es, p384, theirs *ecdsa.PrivateKey // theirs is the attacker's
	ed               ed25519.PrivateKey
	rs, weak         *rsa.PrivateKey // 2048 and 1024 bits
}

func newKit(now time.Time) (*kit, error) {
	k := &kit{now: now}
	var err error
	if k.es, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if k.theirs, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if k.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		return nil, err
	}
	if _, k.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	if k.rs, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	k.weak, err = rsa.GenerateKey(rand.Reader, 1024)
	return k, err
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func ecJWK(kid, crv string, pub *ecdsa.PublicKey, more string) string {
	point, err := pub.Bytes()
	if err != nil {
		panic(err) // a key that was just generated
	}
	n := (len(point) - 1) / 2
	return fmt.Sprintf(`{"kty":"EC","crv":%q,"kid":%q,"x":%q,"y":%q%s}`, crv, kid, b64(point[1:1+n]), b64(point[1+n:]), more)
}

func rsaJWK(kid string, n *big.Int, e int64, more string) string {
	return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":%q%s}`, kid, b64(n.Bytes()), b64(big.NewInt(e).Bytes()), more)
}

// jwks is the trusted set. The keys from p384 on must be passed over or refuse
// what is signed with them.
func (k *kit) jwks() []byte {
	return []byte(`{"keys":[` + strings.Join([]string{
		ecJWK("es", "P-256", &k.es.PublicKey, `,"alg":"ES256","use":"sig"`),
		fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"ed","alg":"EdDSA","x":%q}`, b64(k.ed.Public().(ed25519.PublicKey))),
		rsaJWK("rs", k.rs.N, 65537, `,"alg":"RS256","use":"sig"`),
		ecJWK("p384", "P-384", &k.p384.PublicKey, ""),
		ecJWK("enc", "P-256", &k.theirs.PublicKey, `,"use":"enc"`),
		rsaJWK("weak", k.weak.N, 65537, ""),
		rsaJWK("e1", k.rs.N, 1, ""),
		`{"kty":"XYZ","kid":"unknown"}`,
	}, ",") + `]}`)
}

// header returns a good header with members changed: name, text, …. An empty
// text removes the member; a name that is new is added.
func header(alg, kid string, changes ...string) string {
	return object([]string{"alg", quote(alg), "typ", `"at+jwt"`, "kid", quote(kid)}, changes)
}

// claims returns good claims with members changed, as header does.
func (k *kit) claims(changes ...string) string {
	return object([]string{
		"iss", quote(issuer), "sub", `"user-1"`, "aud", quote(audience),
		"exp", k.at(5 * time.Minute), "iat", k.at(0), "jti", `"token-1"`,
		"client_id", `"app"`, "sid", `"session-1"`, "auth_time", k.at(-time.Minute),
	}, changes)
}

func (k *kit) at(d time.Duration) string { return fmt.Sprint(k.now.Add(d).Unix()) }

func quote(s string) string {
	out, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(out)
}

func object(members, changes []string) string {
	for i := 0; i < len(changes); i += 2 {
		found := false
		for j := 0; j < len(members); j += 2 {
			if members[j] == changes[i] {
				members[j+1], found = changes[i+1], true
			}
		}
		if !found {
			members = append(members, changes[i:i+2]...)
		}
	}
	var parts []string
	for j := 0; j < len(members); j += 2 {
		if members[j+1] != "" {
			parts = append(parts, quote(members[j])+":"+members[j+1])
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func input(header, payload string) string { return b64([]byte(header)) + "." + b64([]byte(payload)) }

// token signs with the trusted P-256 key whatever text it is given.
func (k *kit) token(header, payload string) string { return k.signES(k.es, input(header, payload)) }

// good is a token that must be accepted.
func (k *kit) good() string { return k.token(header("ES256", "es"), k.claims()) }

// with is a token that is good but for these claims.
func (k *kit) with(changes ...string) string {
	return k.token(header("ES256", "es"), k.claims(changes...))
}

func (k *kit) signES(key *ecdsa.PrivateKey, signed string) string {
	r, s := k.rawES(key, signed)
	n := (key.Params().BitSize + 7) / 8
	return signed + "." + b64(append(r.FillBytes(make([]byte, n)), s.FillBytes(make([]byte, n))...))
}

func (k *kit) rawES(key *ecdsa.PrivateKey, signed string) (r, s *big.Int) {
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		panic(err) // a key that was just generated
	}
	return r, s
}

func (k *kit) derES(signed string) []byte {
	sum := sha256.Sum256([]byte(signed))
	der, err := ecdsa.SignASN1(rand.Reader, k.es, sum[:])
	if err != nil {
		panic(err) // a key that was just generated
	}
	return der
}

func (k *kit) signEd(signed string) string {
	return signed + "." + b64(ed25519.Sign(k.ed, []byte(signed)))
}

func (k *kit) signRS(key *rsa.PrivateKey, signed string) string {
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err) // a key that was just generated
	}
	return signed + "." + b64(sig)
}

func (k *kit) signPS(signed string) string {
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPSS(rand.Reader, k.rs, crypto.SHA256, sum[:], nil)
	if err != nil {
		panic(err) // a key that was just generated
	}
	return signed + "." + b64(sig)
}

// unpadded is what an RSA key with e=1 "verifies": the padded digest itself.
func (k *kit) unpadded(signed string) string {
	sum := sha256.Sum256([]byte(signed))
	prefix := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20} // RFC 8017 section 9.2
	out := make([]byte, k.rs.Size())
	for i := range out {
		out[i] = 0xff
	}
	out[0], out[1] = 0, 1
	tail := append(prefix, sum[:]...)
	out[len(out)-len(tail)-1] = 0
	copy(out[len(out)-len(tail):], tail)
	return signed + "." + b64(out)
}

func mac(secret []byte, signed string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signed))
	return signed + "." + b64(h.Sum(nil))
}

func der(pub any) []byte {
	out, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err) // a key that was just generated
	}
	return out
}

func pemText(pub any) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der(pub)})
}
