// Package jwt issues and verifies access tokens: short-lived JSON Web Tokens of
// RFC 9068 (typ at+jwt), with a key ring that rotates by the clock and a JWKS
// for everybody else who verifies.
//
// A service that signs begins with [NewRing], then [NewIssuer] and
// [NewVerifier]:
//
//	ring, err := jwt.NewRing(store, sealingKeys, nil)
//	profile := jwt.AccessToken("https://app.example", "https://api.example")
//	issuer, err := jwt.NewIssuer(profile, ring, 5*time.Minute)
//	verifier, err := jwt.NewVerifier[jwt.AccessClaims](profile, ring, nil)
//	mux.Handle("GET /.well-known/jwks.json", ring.Handler())
//
//	raw, expires, err := issuer.Issue(ctx, jwt.AccessClaims{Subject: "u1", SessionID: "s1", ClientID: "app"})
//	token, err := verifier.Authenticate(request) // or Verify(ctx, raw)
//
// A service that only verifies, with keys it has at hand, uses [ParseJWKS] or
// [NewKey], [StaticKeys] and [NewVerifier]. Static keys go out of date when the
// issuer rotates, as a Ring does every 30 days: the example of [KeySource]
// fetches the issuer's JWKS again and again.
//
// # Security considerations
//
// A verifier refuses everything that it does not understand. In this order: a
// token over 8 KiB or not in the strict compact form; a header that is not one
// unambiguous JSON object, or with crit, b64, zip or a key of the sender's
// choice; a typ that is not the profile's; a key id that the source does not
// have; an alg that is not that key's; a signature that does not verify over the
// bytes received; claims that are not one unambiguous JSON object; and claims
// that are missing, of a wrong type, or for another issuer, audience or time.
// The claims returned were decoded from the bytes verified. All refusals read
// the same to a client; [Error.Reason] is for the log.
//
// A token is good until it expires, whatever became of its session. Keep the
// lifetime short (5 minutes by default, 15 at most), and where sign-out must
// count at once ask the session store too, by [Token.SessionID].
//
// Private keys rest sealed. The sealing keys are the root of trust: who has them
// and the store can sign. Clocks of all nodes must agree to within 30 seconds.
//
// Signed is not secret: anybody can read a token. Put no email address or name
// in it. Take tokens from the Authorization header alone, as Authenticate does;
// addresses end up in logs.
//
// # Not included
//
// Encrypted tokens (JWE), JSON serialisation, opaque tokens, sender-constrained
// tokens (DPoP, mutual TLS), ID tokens (package oidc) and refresh tokens
// (package session). RS256 verifies but does not sign.
package jwt
