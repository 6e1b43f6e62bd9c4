package oidc

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
)

const (
	maxIDToken = 64 << 10
	// clockSkew is how far a provider's clock may be from ours, on each side.
	clockSkew = time.Minute
	maxSub    = 255 // OpenID Connect Core 1.0 section 2; the same is enough for a sid
)

// header is a JWS header of which we know every word that changes its meaning.
type header struct {
	alg string
	kid *string
	typ string
}

// parseHeader reads the header of a compact JWS, before any signature: only
// that form, and nothing that asks for other rules.
func parseHeader(jws string) (header, error) {
	if len(jws) > maxIDToken {
		return header{}, fmt.Errorf("longer than %d bytes", maxIDToken)
	}
	if strings.Count(jws, ".") != 2 {
		return header{}, errors.New("not three parts")
	}
	first, _, _ := strings.Cut(jws, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(first)
	if err != nil {
		return header{}, errors.New("the header is not base64url")
	}
	members, err := parseObject(raw)
	if err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	for _, name := range []string{"crit", "b64", "zip"} {
		if _, ok := members[name]; ok {
			return header{}, fmt.Errorf("header: %s is not supported", name)
		}
	}
	h := header{}
	var ok bool
	if h.alg, ok = members.text("alg"); !ok {
		return header{}, errors.New("header: no alg")
	}
	if _, present := members["kid"]; present {
		kid, ok := members.text("kid")
		if !ok {
			return header{}, errors.New("header: kid is not a string")
		}
		h.kid = &kid
	}
	if _, present := members["typ"]; present {
		if h.typ, ok = members.text("typ"); !ok {
			return header{}, errors.New("header: typ is not a string")
		}
	}
	return h, nil
}

// proof is what an ID token must match: the flow it ends.
type proof struct {
	provider    *Provider
	meta        *metadata
	nonce       string
	accessToken string
	started     time.Time
}

// signed returns the claims of a JWT that the provider has signed for this
// client: go-oidc checks the signature, issuer and audience. what names it in
// errors; types are the values of typ it may have, beside none.
func (p *Provider) signed(ctx context.Context, meta *metadata, what, raw string, types ...string) (claims, *gooidc.IDToken, error) {
	h, err := parseHeader(raw)
	if err != nil {
		return nil, nil, refused("%s: %w", what, err)
	}
	// RFC 8725 section 3.11: one kind of JWT is not another.
	if h.typ != "" && !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, h.typ) }) {
		return nil, nil, refused("%s: typ is %.40q", what, h.typ)
	}
	keys := &keysWithError{KeySet: meta.keys}
	verifier := gooidc.NewVerifier(p.Issuer, keys, &gooidc.Config{
		ClientID:             p.ClientID,
		SupportedSigningAlgs: meta.algs,
		SkipExpiryCheck:      true, // checked by checkTimes, with some skew
	})
	token, err := verifier.Verify(ctx, raw)
	var f *failure
	if errors.As(keys.err, &f) {
		return nil, nil, f // the keys could not be had: nothing is known of the token
	}
	if err != nil { // its text may repeat all of a header that nobody has signed
		return nil, nil, refused("%s: %s", what, plainText(err.Error(), 300))
	}
	var payload json.RawMessage
	if err := token.Claims(&payload); err != nil {
		return nil, nil, refused("%s: %w", what, err)
	}
	c, err := parseObject(payload)
	if err != nil {
		return nil, nil, refused("%s: %w", what, err)
	}
	return c, token, nil
}

// verify checks an ID token: what signed leaves out are the rules of OpenID
// Connect Core 1.0 section 3.1.3.7.
func (p *proof) verify(ctx context.Context, raw string) (claims, error) {
	c, token, err := p.provider.signed(ctx, p.meta, "ID token", raw, "JWT")
	if err != nil {
		return nil, err
	}
	if err := p.check(c, time.Now()); err != nil {
		return nil, refused("ID token: %w", err)
	}
	if err := p.checkHostedDomain(c); err != nil {
		f := refused("ID token: %w", err)
		f.message = "This sign-in is not open to accounts of your organization."
		return nil, f
	}
	if _, present := c["at_hash"]; present {
		if err := token.VerifyAccessToken(p.accessToken); err != nil {
			return nil, refused("ID token: at_hash: %w", err)
		}
	}
	return c, nil
}

func (p *proof) check(c claims, now time.Time) error {
	if _, ok := c["events"]; ok { // Back-Channel Logout 1.0 section 2.4
		return errors.New("events: this is a logout or event token")
	}
	return cmp.Or(
		p.provider.checkIssuer(c),
		checkSubject(c),
		p.provider.checkAudience(c),
		checkParties(c),
		checkTimes(c, now),
		p.checkNonce(c),
		p.checkAsked(c),
	)
}

func (p *Provider) checkIssuer(c claims) error {
	iss, _ := c.text("iss")
	if iss == p.Issuer || p.Issuer == googleIssuer && "https://"+iss == googleIssuer {
		return nil
	}
	return errors.New("iss is not the provider's")
}

func checkSubject(c claims) error { return checkName(c, "sub") }

func checkName(c claims, claim string) error {
	s, ok := c.text(claim)
	if !ok || len(s) > maxSub || strings.TrimSpace(s) == "" || strings.ContainsFunc(s, isUnsafeControl) {
		return fmt.Errorf("%s must be a string of 1 to %d characters", claim, maxSub)
	}
	return nil
}

// checkAudience wants this client, nobody who is not trusted, and no other
// authorized party.
func (p *Provider) checkAudience(c claims) error {
	aud, err := c.audience()
	if err != nil {
		return err
	}
	if !slices.Contains(aud, p.ClientID) {
		return errors.New("aud is not this client")
	}
	for _, a := range aud {
		if a != p.ClientID && !slices.Contains(p.TrustedAudiences, a) {
			return fmt.Errorf("aud names %.60q too, which is not in TrustedAudiences", a)
		}
	}
	azp, ok := c.text("azp")
	_, present := c["azp"]
	if present && (!ok || azp != p.ClientID) {
		return errors.New("azp is another client")
	}
	return nil
}

// checkParties wants azp beside several audiences.
func checkParties(c claims) error {
	if aud, err := c.audience(); err != nil || len(aud) > 1 && c["azp"] == nil {
		return errors.New("several audiences, but no azp")
	}
	return nil
}

func checkTimes(c claims, now time.Time) error {
	exp, err := c.time("exp")
	if err != nil {
		return err
	}
	iat, err := c.time("iat")
	if err != nil {
		return err
	}
	if !now.Before(exp.Add(clockSkew)) {
		return errors.New("expired")
	}
	if iat.After(now.Add(clockSkew)) {
		return errors.New("iat is in the future")
	}
	if at, err := c.time("auth_time"); err == nil && at.After(now.Add(clockSkew)) {
		return errors.New("auth_time is in the future")
	}
	if _, present := c["nbf"]; present {
		nbf, err := c.time("nbf")
		if err != nil {
			return err
		}
		if nbf.After(now.Add(clockSkew)) {
			return errors.New("nbf is in the future")
		}
	}
	return nil
}

func (p *proof) checkNonce(c claims) error {
	nonce, _ := c.text("nonce")
	if p.nonce == "" || subtle.ConstantTimeCompare([]byte(nonce), []byte(p.nonce)) != 1 {
		return errors.New("nonce is not this sign-in's")
	}
	return nil
}

// checkAsked makes what was asked for required: a provider is free to ignore
// max_age and acr_values.
func (p *proof) checkAsked(c claims) error {
	if p.provider.MaxAge > 0 {
		at, err := c.time("auth_time")
		if err != nil {
			return err
		}
		if at.Add(p.provider.MaxAge + clockSkew).Before(p.started) {
			return errors.New("auth_time is older than MaxAge")
		}
	}
	if len(p.provider.ACRValues) > 0 {
		if acr, ok := c.text("acr"); !ok || !slices.Contains(p.provider.ACRValues, acr) {
			return errors.New("acr is none of ACRValues")
		}
	}
	return nil
}

func (p *proof) checkHostedDomain(c claims) error {
	if p.provider.HostedDomain == "" {
		return nil
	}
	hd, _ := c.text("hd")
	hd, ok := lowerASCII(hd)
	if !ok || hd == "" || p.provider.HostedDomain != "*" && hd != strings.ToLower(p.provider.HostedDomain) {
		return errors.New("hd is not the HostedDomain")
	}
	return nil
}

// keysWithError keeps the error of a KeySet, which go-oidc turns into text.
type keysWithError struct {
	gooidc.KeySet
	err error
}

func (k *keysWithError) VerifySignature(ctx context.Context, jws string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, jws)
	k.err = err
	return payload, err
}
