package jwt_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/jwt/jwttest"
)

// table makes the keys and cases once: RSA keys take their time.
var table = sync.OnceValues(func() (out struct {
	jwttest.Trust
	Cases []jwttest.Case
}, err error) {
	out.Trust, out.Cases, err = jwttest.Table(time.Now(), "http://lure.invalid/")
	return out, err
})

func trusting(t testing.TB, trust jwttest.Trust) *jwt.Verifier[jwt.AccessClaims] {
	t.Helper()
	keys, err := jwt.ParseJWKS(trust.JWKS)
	require.NoError(t, err)
	source, err := jwt.StaticKeys(keys...)
	require.NoError(t, err)
	v, err := jwt.NewVerifier[jwt.AccessClaims](jwt.AccessToken(trust.Issuer, trust.Audience), source, nil)
	require.NoError(t, err)
	return v
}

func TestAttacks(t *testing.T) {
	jwttest.Run(t, func(t *testing.T, trust jwttest.Trust) jwttest.VerifyFunc {
		v := trusting(t, trust)
		return func(ctx context.Context, raw string) error {
			_, err := v.Verify(ctx, raw)
			return err
		}
	})
}

// Each attack must be refused for what it is: a token that a trusted key has
// signed never for its signature, and everything with the same public text.
func TestAttacksAreRefusedForTheirReason(t *testing.T) {
	want := map[string][]error{
		"J1": {jwt.ErrMalformed},
		"J2": {jwt.ErrMalformed, jwt.ErrClaims},
		"J3": {jwt.ErrMalformed, jwt.ErrAlgorithm, jwt.ErrUnknownKey, jwt.ErrSignature},
		"J4": {jwt.ErrMalformed, jwt.ErrUnknownKey, jwt.ErrSignature},
		"J5": {jwt.ErrClaims, jwt.ErrExpired, jwt.ErrNotYetValid, jwt.ErrLifetime},
		"J6": {jwt.ErrClaims, jwt.ErrIssuer, jwt.ErrAudience},
		"J7": {jwt.ErrType, jwt.ErrMalformed},
		"J8": {jwt.ErrSignature, jwt.ErrUnknownKey},
		"J9": {jwt.ErrMalformed},
	}
	all, err := table()
	require.NoError(t, err)
	v := trusting(t, all.Trust)
	for _, c := range all.Cases {
		if c.Accept {
			continue
		}
		_, err := v.Verify(t.Context(), c.Token)
		var e *jwt.Error
		require.ErrorAs(t, err, &e, c.Name)
		require.Equal(t, "jwt: the token is refused", e.Error(), c.Name)
		require.Equal(t, "invalid_token", e.AuthError(), c.Name)
		require.Equal(t, c.Name == "expired" || errors.Is(err, jwt.ErrExpired), e.Expired(), c.Name)
		require.NotContains(t, e.Reason(), "\n", c.Name)
		require.Less(t, len(e.Reason()), 300, c.Name)
		ok := false
		for _, kind := range want[c.ID] {
			ok = ok || errors.Is(err, kind)
		}
		require.True(t, ok, "%s %s: refused for %s", c.ID, c.Name, e.Reason())
		if c.Genuine {
			require.NotErrorIs(t, err, jwt.ErrSignature, "%s %s: the attack is not signed well", c.ID, c.Name)
		}
	}
}
