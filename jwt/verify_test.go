package jwt_test

import (
	"context"
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
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/jwt"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

// hmacKeys is the cheapest source of genuine tokens with any text.
func hmacKeys(t testing.TB) jwt.KeySource {
	t.Helper()
	k, err := jwt.NewKey("h", "HS256", secret)
	require.NoError(t, err)
	source, err := jwt.StaticKeys(k)
	require.NoError(t, err)
	return source
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func mac(header, payload string) string {
	in := b64([]byte(header)) + "." + b64([]byte(payload))
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(in))
	return in + "." + b64(h.Sum(nil))
}

const hmacHeader = `{"alg":"HS256","typ":"at+jwt","kid":"h"}`

func body(now time.Time, more string) string {
	return timed(now.Unix()+300, now.Unix(), more)
}

func timed(exp, iat int64, more string) string {
	return fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"u1","jti":"j","exp":%d,"iat":%d%s}`, issuer, audience, exp, iat, more)
}

func newVerifier[C any](t testing.TB, o *jwt.VerifierOptions) *jwt.Verifier[C] {
	t.Helper()
	v, err := jwt.NewVerifier[C](profile, hmacKeys(t), o)
	require.NoError(t, err)
	return v
}

func TestJ5_EdgesOfTheSkew(t *testing.T) {
	for skew, want := range map[time.Duration]int64{0: 30, -1: 0, time.Second: 1, 2 * time.Minute: 120} {
		synctest.Test(t, func(t *testing.T) {
			v := newVerifier[jwt.AccessClaims](t, &jwt.VerifierOptions{Skew: skew})
			now := time.Now().Unix()
			verify := func(exp, iat int64, more string) error {
				_, err := v.Verify(t.Context(), mac(hmacHeader, timed(exp, iat, more)))
				return err
			}
			require.NoError(t, verify(now-want+1, now-want-60, ""))
			err := verify(now-want, now-want-60, "")
			require.ErrorIs(t, err, jwt.ErrExpired, "on or after is too late")
			var e interface{ Expired() bool }
			require.ErrorAs(t, err, &e)
			require.True(t, e.Expired())
			requireAuthError(t, "invalid_token", err)

			require.NoError(t, verify(now+want+60, now+want, ""))
			require.ErrorIs(t, verify(now+want+60, now+want+1, ""), jwt.ErrNotYetValid)
			require.NoError(t, verify(now+300, now, fmt.Sprintf(`,"nbf":%d`, now+want)))
			require.ErrorIs(t, verify(now+300, now, fmt.Sprintf(`,"nbf":%d`, now+want+1)), jwt.ErrNotYetValid)
			require.NoError(t, verify(now+300, now, fmt.Sprintf(`,"auth_time":%d`, now+want)))
			require.ErrorIs(t, verify(now+300, now, fmt.Sprintf(`,"auth_time":%d`, now+want+1)), jwt.ErrNotYetValid)

			require.NoError(t, verify(now+900, now, ""))
			require.ErrorIs(t, verify(now+901, now, ""), jwt.ErrLifetime)
			require.ErrorIs(t, verify(now, now, ""), jwt.ErrLifetime)

			// Expired is said only of a token that is good otherwise.
			old := timed(now-want-600, now-want-700, "")
			err = verify(now-want-600, now-want-700, `,"scope":1`)
			require.NotErrorIs(t, err, jwt.ErrExpired)
			_, err = v.Verify(t.Context(), mac(hmacHeader, old)+"AA")
			require.NotErrorIs(t, err, jwt.ErrExpired)
			_, err = v.Verify(t.Context(), mac(hmacHeader, strings.Replace(old, audience, "other", 1)))
			require.ErrorIs(t, err, jwt.ErrAudience)
		})
	}
}

func TestJ6_OtherAudiences(t *testing.T) {
	v := newVerifier[jwt.AccessClaims](t, &jwt.VerifierOptions{OtherAudiences: []string{"b", "c"}})
	for aud, ok := range map[string]bool{
		`"` + audience + `"`: true, `["` + audience + `","b"]`: true, `["c","` + audience + `","b"]`: true,
		`"b"`: false, `["b","c"]`: false, `["` + audience + `","d"]`: false,
	} {
		_, err := v.Verify(t.Context(), mac(hmacHeader, strings.Replace(body(time.Now(), ""), `"`+audience+`"`, aud, 1)))
		if ok {
			require.NoError(t, err, aud)
		} else {
			require.ErrorIs(t, err, jwt.ErrAudience, aud)
		}
	}
}

func TestJ6_NewVerifierNamesEveryMistake(t *testing.T) {
	_, err := jwt.NewVerifier[int](jwt.AccessToken("", ""), nil, &jwt.VerifierOptions{Skew: 3 * time.Minute, MaxSize: 1 << 20, MaxLifetime: 48 * time.Hour, OtherAudiences: []string{""}})
	for _, want := range []string{"issuer", "audience", "keys are needed", "Skew is 3m0s", "MaxSize", "MaxLifetime", "OtherAudiences", "not into int"} {
		require.ErrorContains(t, err, want)
	}
	_, err = jwt.NewVerifier[jwt.AccessClaims](jwt.AccessToken(issuer, ""), hmacKeys(t), nil)
	require.ErrorContains(t, err, "audience", "an empty audience can't be allowed")
	_, err = jwt.NewVerifier[jwt.AccessClaims](profile, (*jwt.Ring)(nil), nil)
	require.ErrorContains(t, err, "keys are needed")
	_, err = jwt.NewVerifier[struct{ Sub string }](profile, hmacKeys(t), nil)
	require.ErrorContains(t, err, `claim "Sub" of`)
}

func TestJ1_MaxSize(t *testing.T) {
	at := func(size int) string { // a genuine token of exactly size bytes
		for n := 5800; ; n++ {
			if raw := mac(hmacHeader, body(time.Now(), `,"x":"`+strings.Repeat("x", n)+`"`)); len(raw) >= size {
				return raw
			}
		}
	}
	v := newVerifier[jwt.AccessClaims](t, nil)
	raw := at(8190)
	require.LessOrEqual(t, len(raw), 8192)
	_, err := v.Verify(t.Context(), raw)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), at(8193))
	require.ErrorIs(t, err, jwt.ErrMalformed)
	_, err = newVerifier[jwt.AccessClaims](t, &jwt.VerifierOptions{MaxSize: 9000}).Verify(t.Context(), at(8193))
	require.NoError(t, err)
}

type nothing struct{ asked int }

func (n *nothing) Key(context.Context, string) (jwt.Key, error) {
	n.asked++
	return jwt.Key{}, errors.New("asked")
}

func TestJ9_RefusedBeforeAnyKey(t *testing.T) {
	keys := &nothing{}
	v, err := jwt.NewVerifier[jwt.AccessClaims](profile, keys, nil)
	require.NoError(t, err)
	dots := strings.Repeat(".", 8<<20)
	for _, raw := range []string{dots, strings.Repeat("A", 5<<20), "a.b.c.d.e", "..", mac(`{"alg":"HS256","typ":"JWT","kid":"h"}`, "{}"),
		mac(`{"alg":"HS256","typ":"at+jwt","kid":"h","crit":["x"]}`, "{}"), mac(strings.Repeat("[", 600), "{}")} {
		_, err := v.Verify(t.Context(), raw)
		requireAuthError(t, "invalid_token", err)
	}
	require.Zero(t, keys.asked)
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { _, _ = v.Verify(t.Context(), dots) }), 8.0)

	_, err = v.Verify(t.Context(), mac(hmacHeader, "{}"))
	requireAuthError(t, "unavailable", err)
	require.Equal(t, 1, keys.asked)
}

func TestJ2_HostClaims(t *testing.T) {
	type address struct {
		City string `json:"city"`
	}
	type claims struct {
		jwt.AccessClaims
		Tenant string             `json:"tenant"`
		Admin  bool               `json:"admin"`
		Home   *address           `json:"home"`
		Others map[string]address `json:"others"`
	}
	v := newVerifier[claims](t, nil)
	tok, err := v.Verify(t.Context(), mac(hmacHeader, body(time.Now(), `,"tenant":"t1","home":{"city":"X"},"others":{"a":{"city":"Y"}},"unknown":{"z":[1,2,null]}`)))
	require.NoError(t, err)
	require.Equal(t, "t1", tok.Claims().Tenant)
	require.Equal(t, "X", tok.Claims().Home.City)
	require.Equal(t, "Y", tok.Claims().Others["a"].City)
	require.Equal(t, "u1", tok.Claims().Subject, "AccessClaims are filled in")
	require.False(t, tok.Claims().Admin)

	for name, more := range map[string]string{
		"another case":          `,"Admin":true`,
		"another case, escaped": `,"\u0041dmin":true`,
		"case beside":           `,"tenant":"t1","TENANT":"t2"`,
		"case inside":           `,"home":{"City":"X"}`,
		"case in a map":         `,"others":{"a":{"CITY":"X"}}`,
		"long s":                `,"otherſ":{}`,
	} {
		_, err := v.Verify(t.Context(), mac(hmacHeader, body(time.Now(), more)))
		require.ErrorIs(t, err, jwt.ErrMalformed, name)
	}
	_, err = v.Verify(t.Context(), mac(hmacHeader, body(time.Now(), `,"tenant":{"secret":"hunter2"}`)))
	require.ErrorIs(t, err, jwt.ErrClaims)
	require.NotContains(t, err.(*jwt.Error).Reason(), "hunter2")

	raw, err := newVerifier[json.RawMessage](t, nil).Verify(t.Context(), mac(hmacHeader, body(time.Now(), `,"x":1`)))
	require.NoError(t, err)
	require.Contains(t, string(raw.Claims()), `"x":1`)

	// Where they would stay empty, AccessClaims are a mistake.
	_, err = jwt.NewVerifier[*claims](profile, hmacKeys(t), nil)
	require.ErrorContains(t, err, "not into *")
	_, err = jwt.NewVerifier[struct{ C claims }](profile, hmacKeys(t), nil)
	require.ErrorContains(t, err, "embed it")
	_, err = jwt.NewVerifier[struct{ A jwt.AccessClaims }](profile, hmacKeys(t), nil)
	require.ErrorContains(t, err, "embed it")
}

func TestJ7_MediaTypesHaveNoCase(t *testing.T) {
	v := newVerifier[jwt.AccessClaims](t, nil)
	for typ, ok := range map[string]bool{
		"at+jwt": true, "AT+JWT": true, "application/at+jwt": true, "Application/AT+JWT": true,
		"JWT": false, "application/jwt": false, "application/": false, "at+jwt;a=b": false, "logout+jwt": false, "refresh+jwt": false,
	} {
		_, err := v.Verify(t.Context(), mac(`{"alg":"HS256","kid":"h","typ":"`+typ+`"}`, body(time.Now(), "")))
		if ok {
			require.NoError(t, err, typ)
		} else {
			require.ErrorIs(t, err, jwt.ErrType, typ)
		}
	}
	_, err := v.Verify(t.Context(), mac(`{"alg":"HS256","kid":"h"}`, body(time.Now(), "")))
	require.ErrorIs(t, err, jwt.ErrType, "a token without a typ")
}

func TestAuthenticate(t *testing.T) {
	v := newVerifier[jwt.AccessClaims](t, nil)
	good := mac(hmacHeader, body(time.Now(), ""))
	request := func(values ...string) *http.Request {
		r, err := http.NewRequest("GET", "https://api.example/?access_token="+good, strings.NewReader("access_token="+good))
		require.NoError(t, err)
		r.Header["Authorization"] = values
		r.AddCookie(&http.Cookie{Name: "access_token", Value: good})
		return r
	}
	for _, values := range [][]string{{"Bearer " + good}, {"bearer " + good}, {"BEARER   " + good}} {
		tok, err := v.Authenticate(request(values...))
		require.NoError(t, err)
		require.Equal(t, "u1", tok.UserID())
	}
	for want, all := range map[string][][]string{
		"none":            {nil, {""}, {"Basic dTpw"}, {good}, {"Bearerx " + good}},
		"invalid_request": {{"Bearer"}, {"Bearer "}, {"Bearer\t" + good}, {"Bearer " + good, "Bearer " + good}, {"Basic dTpw", "Bearer " + good}, {"Bearer " + good + " x"}, {"Bearer " + good + ", Basic x"}},
		"invalid_token":   {{"Bearer x"}, {"Bearer " + good + "x"}, {"Bearer " + good[:len(good)-3]}},
	} {
		for _, values := range all {
			tok, err := v.Authenticate(request(values...))
			require.Error(t, err, values)
			require.Nil(t, tok)
			requireAuthError(t, want, err)
			require.NotContains(t, err.Error(), good[:20])
		}
	}
}

// point is (n, n), which isn't on the curve.
func point(n int64) *ecdsa.PublicKey {
	//lint:ignore SA1019 no other way lets a key be made of a point that isn't on the curve
	return &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(n), Y: big.NewInt(n)}
}

func TestJ3_KeysAreBoundToTheirAlgorithm(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	edPub, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&rs.PublicKey)
	require.NoError(t, err)
	pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	n := func(bits uint) *big.Int { return new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1) }

	for _, ok := range []struct {
		alg string
		key any
	}{{"ES256", &p256.PublicKey}, {"EdDSA", edPub}, {"Ed25519", edPub}, {"RS256", &rs.PublicKey}, {"HS256", secret}, {"HS384", make([]byte, 48)}, {"HS512", make([]byte, 64)}} {
		_, err := jwt.NewKey("id", ok.alg, ok.key)
		require.NoError(t, err, ok.alg)
	}
	for _, bad := range []struct {
		name, alg string
		key       any
	}{
		{"none", "none", nil}, {"empty", "", secret}, {"lower case", "es256", &p256.PublicKey}, {"unsupported", "PS256", &rs.PublicKey},
		{"P-384 for ES256", "ES256", &p384.PublicKey}, {"RSA for ES256", "ES256", &rs.PublicKey}, {"private", "ES256", p256}, {"private Ed25519", "EdDSA", edKey},
		{"nil", "ES256", (*ecdsa.PublicKey)(nil)}, {"not on the curve", "ES256", point(1)},
		{"zero point", "ES256", point(0)},
		{"short Ed25519", "EdDSA", edPub[:31]}, {"bytes for EdDSA", "EdDSA", []byte(edPub)},
		{"RSA 1024", "RS256", &rsa.PublicKey{N: n(1024), E: 65537}}, {"RSA 2047", "RS256", &rsa.PublicKey{N: n(2047), E: 65537}}, {"RSA 16384", "RS256", &rsa.PublicKey{N: n(16384), E: 65537}},
		{"e=1", "RS256", &rsa.PublicKey{N: rs.N, E: 1}}, {"e=3", "RS256", &rsa.PublicKey{N: rs.N, E: 3}}, {"even e", "RS256", &rsa.PublicKey{N: rs.N, E: 65538}}, {"no N", "RS256", &rsa.PublicKey{E: 65537}},
		{"31 bytes", "HS256", secret[:31]}, {"47 bytes", "HS384", make([]byte, 47)}, {"63 bytes", "HS512", make([]byte, 63)}, {"no bytes", "HS256", []byte(nil)},
		{"PEM as a secret", "HS256", pemText}, {"DER as a secret", "HS256", der}, {"JWK as a secret", "HS256", []byte(`{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAA"}`)},
	} {
		_, err := jwt.NewKey("id", bad.alg, bad.key)
		require.Error(t, err, bad.name)
	}
	for _, id := range []string{"", "a\nb", strings.Repeat("x", 257), "\xff"} {
		_, err := jwt.NewKey(id, "EdDSA", edPub)
		require.Error(t, err)
	}
}

func TestJ8_StaticKeys(t *testing.T) {
	edPub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ed, err := jwt.NewKey("ed", "EdDSA", edPub)
	require.NoError(t, err)
	h, err := jwt.NewKey("h", "HS256", secret)
	require.NoError(t, err)
	h2, err := jwt.NewKey("h2", "HS512", make([]byte, 64))
	require.NoError(t, err)
	_, err = jwt.StaticKeys(ed, h)
	require.ErrorContains(t, err, "can't be mixed")
	_, err = jwt.StaticKeys(h, h)
	require.ErrorContains(t, err, "twice")
	_, err = jwt.StaticKeys()
	require.ErrorContains(t, err, "at least one")
	_, err = jwt.StaticKeys(jwt.Key{})
	require.ErrorContains(t, err, "NewKey")

	two, err := jwt.StaticKeys(h, h2)
	require.NoError(t, err)
	one, err := jwt.StaticKeys(h)
	require.NoError(t, err)
	bare := mac(`{"alg":"HS256","typ":"at+jwt"}`, body(time.Now(), ""))
	for source, ok := range map[*jwt.KeySource]bool{&one: true, &two: false} {
		v, err := jwt.NewVerifier[jwt.AccessClaims](profile, *source, nil)
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), bare)
		require.Equal(t, ok, err == nil, "a token without a kid is for the only key")
	}
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v %s %x", h, h, h, h, h), fmt.Sprintf("%+v", one)} {
		require.Contains(t, printed, `HS256 key "h"`)
		require.NotContains(t, printed, "0123456789")
	}
}

func TestJ4_WhatIsLoggedOfAKeyID(t *testing.T) {
	v := newVerifier[jwt.AccessClaims](t, nil)
	kid := "x\n\u2028\x1b[31m" + strings.Repeat("y", 500)
	quoted, err := json.Marshal(kid)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), mac(`{"alg":"HS256","typ":"at+jwt","kid":`+string(quoted)+`}`, body(time.Now(), "")))
	require.ErrorIs(t, err, jwt.ErrUnknownKey)
	reason := err.(*jwt.Error).Reason()
	require.Contains(t, reason, `kid "x\n\u2028\x1b[31myyy`)
	require.Less(t, len(reason), 150)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("refused", "error", err)
	require.Contains(t, log.String(), "no key has this id", "slog gets the reason")
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
}

func TestJ8_ParseJWKS(t *testing.T) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	x := b64(pub)
	key := func(more string) string { return `{"kty":"OKP","crv":"Ed25519","x":"` + x + `"` + more + `}` }
	keys, err := jwt.ParseJWKS([]byte(`{"keys":[` + key("") + `,` + key(`,"kid":"a","key_ops":["verify"],"alg":"Ed25519"`) + `]}`))
	require.NoError(t, err)
	require.Len(t, keys, 2)
	require.Len(t, keys[0].ID(), 43, "the thumbprint stands in for a kid")
	require.Equal(t, "EdDSA", keys[1].Algorithm())

	for want, set := range map[string]string{
		"twice":            `{"keys":[` + key(`,"kid":"a"`) + `,` + key(`,"kid":"a"`) + `]}`,
		"no keys":          `{}`,
		"not an array":     `{"keys":{}}`,
		"name appears":     `{"keys":[],"keys":[]}`,
		"more than 100":    `{"keys":[` + strings.Repeat(`{},`, 100) + `{}]}`,
		"longer than":      `{"keys":[], "x":"` + strings.Repeat("x", 512<<10) + `"}`,
		"no usable key":    `{"keys":[{"kty":"oct","kid":"a","k":"` + b64(secret) + `"},` + key(`,"use":"enc"`) + `,` + key(`,"key_ops":["sign"]`) + `,` + key(`,"alg":"ES256"`) + `,` + key(`,"kid":1`) + `,1,null]}`,
		"not a JSON objec": `[]`,
	} {
		_, err := jwt.ParseJWKS([]byte(set))
		require.ErrorContains(t, err, want)
	}
	// A private key in a set is a leak, not a key to trust.
	_, err = jwt.ParseJWKS([]byte(`{"keys":[` + key(`,"d":"`+b64(private.Seed())+`"`) + `]}`))
	require.ErrorContains(t, err, "no usable key")
}
