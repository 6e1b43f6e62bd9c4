package jwt_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/jwt"
)

func decode(t testing.TB, segment string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	require.NoError(t, err)
	return b
}

func requireAuthError(t testing.TB, want string, err error) {
	t.Helper()
	e, ok := err.(interface{ AuthError() string }) // without looking further, as rule-bound callers do
	require.True(t, ok, "%T", err)
	require.Equal(t, want, e.AuthError())
}

func TestIssue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, jwt.NewMemoryKeyStore(), sealing(t), jwt.RingOptions{})
		now := time.Now()
		time.Sleep(300 * time.Millisecond)
		raw, expires, err := n.issuer.Issue(t.Context(), jwt.AccessClaims{
			Subject: "u<1>", ClientID: "app", SessionID: "s1", AuthTime: now.Add(-time.Hour),
			Scope: []string{"a", "b:c"}, Roles: []string{"admin"},
		})
		require.NoError(t, err)
		require.True(t, expires.Equal(now.Add(5*time.Minute)), "whole seconds")

		parts := strings.Split(raw, ".")
		var head, body map[string]any
		require.NoError(t, json.Unmarshal(decode(t, parts[0]), &head))
		require.Equal(t, "at+jwt", head["typ"])
		require.Equal(t, "ES256", head["alg"])
		require.Len(t, head, 3)
		require.NoError(t, json.Unmarshal(decode(t, parts[1]), &body))
		require.Len(t, body["jti"], 26)
		delete(body, "jti")
		require.Equal(t, map[string]any{
			"iss": issuer, "sub": "u<1>", "aud": audience, "exp": float64(now.Unix() + 300), "iat": float64(now.Unix()),
			"sid": "s1", "client_id": "app", "auth_time": float64(now.Unix() - 3600), "scope": "a b:c", "roles": []any{"admin"},
		}, body)

		tok, err := n.verifier.Verify(t.Context(), raw)
		require.NoError(t, err)
		require.Equal(t, "u<1>", tok.UserID())
		require.Equal(t, "s1", tok.SessionID())
		require.Equal(t, "app", tok.ClientID())
		require.True(t, tok.AuthTime().Equal(now.Add(-time.Hour)))
		require.True(t, tok.ExpiresAt().Equal(expires))
		scopes, roles := tok.Grants()
		require.Equal(t, []string{"a", "b:c"}, scopes)
		require.Equal(t, []string{"admin"}, roles)
		require.Equal(t, tok.Access(), tok.Claims())
		scopes[0] = "changed"
		again, _ := tok.Grants()
		require.Equal(t, "a", again[0], "a token can't be changed")

		// The session ends before the token would.
		_, expires, err = n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app", Expiry: now.Add(time.Minute)})
		require.NoError(t, err)
		require.True(t, expires.Equal(now.Add(time.Minute)))
		_, expires, err = n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app", Expiry: now.Add(time.Hour), AuthTime: now.Add(time.Hour)})
		require.NoError(t, err)
		require.True(t, expires.Equal(now.Add(5*time.Minute)), "it only shortens")
	})
}

func TestIssueRefuses(t *testing.T) {
	n := newNode(t, jwt.NewMemoryKeyStore(), sealing(t), jwt.RingOptions{})
	for want, c := range map[string]jwt.AccessClaims{
		"Subject is required":         {ClientID: "app"},
		"ClientID is required":        {Subject: "u"},
		"Subject is not UTF-8":        {Subject: "u\xff", ClientID: "app"},
		"SessionID is not UTF-8":      {Subject: "u", ClientID: "app", SessionID: "a\nb"},
		"Issuer is not":               {Subject: "u", ClientID: "app", Issuer: "https://evil.example"},
		"Audience is not":             {Subject: "u", ClientID: "app", Audience: []string{audience, "x"}},
		"Expiry has passed":           {Subject: "u", ClientID: "app", Expiry: time.Now().Add(-time.Second)},
		"before 1970":                 {Subject: "u", ClientID: "app", AuthTime: time.Unix(-1, 0)},
		`scope "a admin" is not`:      {Subject: "u", ClientID: "app", Scope: []string{"a admin"}},
		`scope "" is not`:             {Subject: "u", ClientID: "app", Scope: []string{""}},
		`role "" is empty`:            {Subject: "u", ClientID: "app", Roles: []string{""}},
		"carry fewer claims":          {Subject: "u", ClientID: "app", Extra: map[string]string{"x": strings.Repeat("x", 9000)}},
		"Extra: not a JSON object":    {Subject: "u", ClientID: "app", Extra: []int{1}},
		"Extra: a name appears twice": {Subject: "u", ClientID: "app", Extra: json.RawMessage(`{"a":1,"a":2}`)},
	} {
		_, _, err := n.issuer.Issue(t.Context(), c)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "jwt: Issue: ")
	}
	_, _, err := n.issuer.Issue(t.Context(), jwt.AccessClaims{Scope: []string{" "}})
	require.ErrorContains(t, err, "Subject")
	require.ErrorContains(t, err, "ClientID")
	require.ErrorContains(t, err, "scope", "all mistakes at once")
}

func TestJ15_ClaimNamesAreEscaped(t *testing.T) {
	n := newNode(t, jwt.NewMemoryKeyStore(), sealing(t), jwt.RingOptions{})
	verifier, err := jwt.NewVerifier[map[string]any](profile, n.ring, nil)
	require.NoError(t, err)
	name := `x":0,"admin`
	raw, _, err := n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app", Extra: map[string]any{name: true, "tenant": "t1"}})
	require.NoError(t, err)
	tok, err := verifier.Verify(t.Context(), raw)
	require.NoError(t, err)
	require.Equal(t, true, tok.Claims()[name], "the quote stays in the name")
	require.NotContains(t, tok.Claims(), "admin")
	require.Equal(t, "t1", tok.Claims()["tenant"])
}

func TestJ15_ExtraClaimsCannotOverwrite(t *testing.T) {
	n := newNode(t, jwt.NewMemoryKeyStore(), sealing(t), jwt.RingOptions{})
	for _, name := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "client_id", "auth_time", "scope", "roles", "SUB", "Exp", "ſub", "\u0053ub"} {
		_, _, err := n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app", Extra: map[string]any{name: 1}})
		require.ErrorContains(t, err, "Extra: ", name)
	}
	for _, none := range []any{nil, map[string]any{}, struct{}{}, map[string]any(nil), (*struct{ A int })(nil)} {
		_, _, err := n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app", Extra: none})
		require.NoError(t, err)
	}
}

func TestNewIssuerNamesEveryMistake(t *testing.T) {
	_, err := jwt.NewIssuer(jwt.AccessToken("", ""), nil, time.Hour)
	for _, want := range []string{"issuer", "audience", "ring", "ttl is 1h0m0s"} {
		require.ErrorContains(t, err, want)
	}
	_, err = jwt.NewIssuer(jwt.Profile{}, nil, -1)
	require.ErrorContains(t, err, "AccessToken(")
}

func TestIssueHonoursContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{KeyStore: jwt.NewMemoryKeyStore()}
		store.hang.Store(true)
		n := newNode(t, store, sealing(t), jwt.RingOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := n.issuer.Issue(ctx, jwt.AccessClaims{Subject: "u", ClientID: "app"})
		require.ErrorIs(t, err, jwt.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(10 * time.Second) // the read gives up by itself
	})
}
