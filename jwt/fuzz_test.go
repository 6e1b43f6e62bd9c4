package jwt_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/jwt"
)

// Any text: no panic, and nothing is accepted that no trusted key has signed.
func FuzzJ1_Verify(f *testing.F) {
	all, err := table()
	require.NoError(f, err)
	accepted := map[string]bool{}
	for _, c := range all.Cases {
		accepted[c.Token] = c.Accept
		if len(c.Token) < 2000 {
			f.Add(c.Token)
		}
	}
	v := trusting(f, all.Trust)
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := v.Verify(t.Context(), raw)
		if err == nil && !accepted[raw] {
			t.Fatalf("accepted %q", raw)
		}
		if (err == nil) != (tok != nil) {
			t.Fatal("neither a token nor an error, or both")
		}
	})
}

// Any claims, genuinely signed: what is accepted is one JSON object without a
// doubt, and what is returned is what any other parser finds in it.
func FuzzJ2_Claims(f *testing.F) {
	now := time.Now()
	all, err := table()
	require.NoError(f, err)
	for _, c := range all.Cases {
		if parts := strings.Split(c.Token, "."); c.ID == "J2" && len(parts) == 3 && len(parts[1]) < 2000 {
			f.Add(string(decode(f, strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(parts[1]))))
		}
	}
	f.Add(timed(0, -1, `,"nbf":1e3`))
	f.Add(strings.Replace(body(now, ""), `"`+audience+`"`, `["`+audience+`",null]`, 1))
	f.Add(body(now, `,"x":[{"y":{}},"\ud83d\ude00",1e5,-0.1,true,null]`))
	v := newVerifier[map[string]any](f, nil)
	f.Fuzz(func(t *testing.T, payload string) {
		tok, err := v.Verify(t.Context(), mac(hmacHeader, payload))
		if err != nil {
			return
		}
		if !utf8.ValidString(payload) || !json.Valid([]byte(payload)) {
			t.Fatalf("accepted %q", payload)
		}
		var other map[string]any
		require.NoError(t, json.Unmarshal([]byte(payload), &other))
		require.Equal(t, other["sub"], tok.UserID())
		require.Equal(t, other["iss"], tok.Access().Issuer)
		require.Equal(t, other["exp"], float64(tok.ExpiresAt().Unix()))
		require.Equal(t, other, tok.Claims())
		for name := range other {
			require.False(t, name != "sub" && strings.EqualFold(name, "sub"), "%q", name)
		}
	})
}

// Any header, genuinely signed: only the algorithm of the key is accepted.
func FuzzJ3_Header(f *testing.F) {
	for _, header := range []string{hmacHeader, `{"alg":"none"}`, `{"alg":"HS256","typ":"application/at+jwt","kid":"h","crit":[]}`, `{"alg":"HS256","ALG":"none","typ":"at+jwt"}`} {
		f.Add(header)
	}
	v := newVerifier[jwt.AccessClaims](f, nil)
	f.Fuzz(func(t *testing.T, header string) {
		if _, err := v.Verify(t.Context(), mac(header, body(time.Now(), ""))); err != nil {
			return
		}
		var h map[string]any
		require.NoError(t, json.Unmarshal([]byte(header), &h))
		require.Equal(t, "HS256", h["alg"])
		require.Contains(t, []any{nil, "h"}, h["kid"])
		typ, _ := h["typ"].(string)
		require.Contains(t, []string{"at+jwt", "application/at+jwt"}, strings.ToLower(typ))
		for _, name := range []string{"crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c"} {
			require.NotContains(t, h, name)
		}
	})
}

// Any set: no panic, and every key that comes out has an id.
func FuzzJ8_ParseJWKS(f *testing.F) {
	all, err := table()
	require.NoError(f, err)
	f.Add(all.JWKS)
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, set []byte) {
		keys, err := jwt.ParseJWKS(set)
		if err != nil {
			return
		}
		for _, k := range keys {
			require.NotEmpty(t, k.ID())
			require.Contains(t, []string{"ES256", "EdDSA", "RS256"}, k.Algorithm())
		}
	})
}
