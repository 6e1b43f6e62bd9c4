// Package jwttest attacks verifiers of access tokens (RFC 9068).
//
// [Run] builds the verifier under test from a set of public keys and presents it
// with tokens that it must accept and, mostly, with tokens that it must not:
//
//	func TestVerifier(t *testing.T) {
//		jwttest.Run(t, func(t *testing.T, trust jwttest.Trust) jwttest.VerifyFunc {
//			keys, err := jwt.ParseJWKS(trust.JWKS)
//			…
//			return func(ctx context.Context, raw string) error {
//				_, err := verifier.Verify(ctx, raw)
//				return err
//			}
//		})
//	}
//
// It attacks any verifier, not only that of package jwt.
package jwttest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// Trust is what the verifier under test is to trust, and nothing else.
type Trust struct {
	Issuer   string
	Audience string

	// JWKS holds keys for ES256, EdDSA and RS256, and some that must be passed
	// over: for encryption, of an unknown type, too short, with an exponent of 1.
	JWKS []byte
}

// VerifyFunc returns nil for a token that is accepted. Nothing else about the
// error matters.
type VerifyFunc func(ctx context.Context, raw string) error

// A Case is one token and what must become of it.
type Case struct {
	ID     string // of the rule
	Name   string
	Token  string
	Accept bool

	// Genuine tells that a trusted key has signed the token, over whatever
	// nonsense: a verifier that looks at signatures alone accepts it.
	Genuine bool
}

// Limits for one token, generous for a verifier that looks at sizes first and
// far below what an attacker is after.
const (
	maxTime  = time.Second
	maxAlloc = 1 << 20
)

// Run runs every case against the verifier that build returns, each in a subtest
// named by its rule. It measures the memory that the process allocates, so no
// other test may run in parallel.
func Run(t *testing.T, build func(t *testing.T, trust Trust) VerifyFunc) {
	t.Helper()
	var fetched atomic.Int32
	lure := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Add(1) }))
	t.Cleanup(lure.Close)

	trust, cases, err := Table(time.Now(), lure.URL)
	if err != nil {
		t.Fatalf("jwttest: making keys: %v", err)
	}
	verify := build(t, trust)
	for _, c := range cases {
		t.Run(c.ID+" "+c.Name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			err := verify(t.Context(), c.Token)
			took := time.Since(began)
			runtime.ReadMemStats(&after)

			switch {
			case c.Accept && err != nil:
				t.Errorf("a good token was refused: %v", err)
			case !c.Accept && err == nil:
				t.Errorf("a bad token was accepted")
			}
			if took > maxTime {
				t.Errorf("took %v, over %v", took, maxTime)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > maxAlloc {
				t.Errorf("allocated %d bytes, over %d", n, maxAlloc)
			}
		})
	}
	if n := fetched.Load(); n > 0 {
		t.Errorf("J4: the verifier followed a URL in a token %d times", n)
	}
}

// Table returns fresh keys and the cases made with them, valid around now. lure
// is a URL that headers name and that nobody must fetch. Most tests use [Run].
func Table(now time.Time, lure string) (Trust, []Case, error) {
	k, err := newKit(now)
	if err != nil {
		return Trust{}, nil, err
	}
	var all []Case
	for _, part := range [][]Case{k.accepted(), k.forms(), k.texts(), k.algorithms(), k.headers(lure), k.times(), k.parties(), k.types(), k.signatures(), k.floods()} {
		all = append(all, part...)
	}
	return Trust{Issuer: issuer, Audience: audience, JWKS: k.jwks()}, all, nil
}
