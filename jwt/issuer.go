package jwt

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An Issuer signs tokens of one profile with a [Ring]. It is immutable and safe
// for concurrent use.
type Issuer struct {
	profile Profile
	ring    *Ring
	ttl     time.Duration
}

// NewIssuer returns an issuer of tokens that live for ttl: 0 is
// [DefaultLifetime], the most is [MaxLifetime]. A token can't be taken back
// before it expires except by asking for its session.
func NewIssuer(p Profile, ring *Ring, ttl time.Duration) (*Issuer, error) {
	errs := p.check()
	if ring == nil {
		errs = append(errs, errors.New("a ring is needed: use NewRing"))
	}
	if ttl == 0 {
		ttl = DefaultLifetime
	}
	if ttl < time.Second || ttl > MaxLifetime {
		errs = append(errs, fmt.Errorf("ttl is %v: use 1s to %v, or 0 for %v", ttl, MaxLifetime, DefaultLifetime))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("jwt: NewIssuer: %w", errors.Join(errs...))
	}
	return &Issuer{profile: p, ring: ring, ttl: ttl.Truncate(time.Second)}, nil
}

type wireHeader struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid"`
}

type wireClaims struct {
	Iss      string   `json:"iss"`
	Sub      string   `json:"sub"`
	Aud      string   `json:"aud"`
	Exp      int64    `json:"exp"`
	Iat      int64    `json:"iat"`
	JTI      string   `json:"jti"`
	SID      string   `json:"sid,omitempty"`
	ClientID string   `json:"client_id"`
	AuthTime int64    `json:"auth_time,omitempty"`
	Scope    string   `json:"scope,omitempty"`
	Roles    []string `json:"roles,omitempty"`
}

// Issue signs a token with these claims and returns it and when it expires.
// Subject and ClientID are required. Claims that could be taken for something
// else are errors: control characters, a scope with a space in it, an extra
// claim with a registered name, an issuer or audience that is not the
// profile's. When no key can be had the error matches ErrUnavailable.
func (i *Issuer) Issue(ctx context.Context, c AccessClaims) (token string, expires time.Time, err error) {
	now := time.Now().UTC().Truncate(time.Second)
	expires = now.Add(i.ttl)
	if !c.Expiry.IsZero() && c.Expiry.Before(expires) {
		expires = c.Expiry.UTC().Truncate(time.Second)
	}
	payload, err := i.payload(c, now, expires)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("jwt: Issue: %w", err)
	}
	_, key, err := i.ring.signing(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	header, err := json.Marshal(wireHeader{Alg: key.alg, Typ: i.profile.typ, Kid: key.id})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("jwt: Issue: %w", err)
	}
	out := make([]byte, 0, base64url.EncodedLen(len(header)+len(payload)+64)+8)
	out = base64url.AppendEncode(out, header)
	out = append(out, '.')
	out = base64url.AppendEncode(out, payload)
	signature, err := sign(key.private, out)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("jwt: Issue: %w", err)
	}
	out = append(out, '.')
	out = base64url.AppendEncode(out, signature)
	if len(out) > maxSize {
		return "", time.Time{}, fmt.Errorf("jwt: Issue: the token would have %d bytes, over the %d that a verifier takes: carry fewer claims", len(out), maxSize)
	}
	return string(out), expires, nil
}

func (i *Issuer) payload(c AccessClaims, now, expires time.Time) ([]byte, error) {
	var errs []error
	if c.Issuer != "" && c.Issuer != i.profile.issuer {
		errs = append(errs, errors.New("the Issuer is not the profile's: leave it empty"))
	}
	if c.Audience != nil && !slices.Equal(c.Audience, []string{i.profile.audience}) {
		errs = append(errs, errors.New("the Audience is not the profile's: leave it empty"))
	}
	if !expires.After(now) {
		errs = append(errs, errors.New("the Expiry has passed"))
	}
	for _, claim := range []struct {
		name, value string
		required    bool
	}{
		{"Subject", c.Subject, true}, {"ClientID", c.ClientID, true}, {"SessionID", c.SessionID, false}, {"JTI", c.JTI, false},
	} {
		if claim.required && claim.value == "" {
			errs = append(errs, errors.New(claim.name+" is required"))
		} else if claim.value != "" && !goodText(claim.value) {
			errs = append(errs, errors.New(claim.name+" is not UTF-8 or has a control character"))
		}
	}
	if !c.AuthTime.IsZero() && c.AuthTime.Unix() < 1 {
		errs = append(errs, errors.New("AuthTime is before 1970: leave it zero when it is not known"))
	}
	for _, s := range c.Scope {
		if !goodScope(s) {
			errs = append(errs, fmt.Errorf("scope %q is not a scope-token of RFC 6749 section 3.3", s))
		}
	}
	for _, r := range c.Roles {
		if !goodText(r) {
			errs = append(errs, fmt.Errorf("role %q is empty, not UTF-8 or has a control character", r))
		}
	}
	extra, err := extraClaims(c.Extra)
	if err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	w := wireClaims{
		Iss: i.profile.issuer, Sub: c.Subject, Aud: i.profile.audience,
		Exp: expires.Unix(), Iat: now.Unix(), JTI: c.JTI,
		SID: c.SessionID, ClientID: c.ClientID,
		Scope: strings.Join(c.Scope, " "), Roles: c.Roles,
	}
	if w.JTI == "" {
		w.JTI = rand.Text()
	}
	if !c.AuthTime.IsZero() {
		// A session store's clock may be a moment ahead of ours.
		w.AuthTime = min(c.AuthTime.Unix(), w.Iat)
	}
	payload, err := json.Marshal(w)
	if err != nil || len(extra) == 0 {
		return payload, err
	}
	return append(append(payload[:len(payload)-1], ','), extra...), nil
}

// extraClaims returns the members of a JSON object and its closing brace, or
// nothing. encoding/json escapes the names, and the scan proves that they are
// names: a name such as `x":0,"admin` stays one (GHSA-4cf7-xm37-g63h).
func extraClaims(extra any) ([]byte, error) {
	if extra == nil {
		return nil, nil
	}
	text, err := json.Marshal(extra)
	if err != nil {
		return nil, fmt.Errorf("claims in Extra: %w", err)
	}
	if string(text) == "null" {
		return nil, nil
	}
	members, err := scanObject(text, registered)
	if err != nil {
		return nil, fmt.Errorf("claims in Extra: %w", err)
	}
	for _, m := range members {
		if _, taken := registered[fold(m.name)]; taken {
			return nil, fmt.Errorf("claims in Extra: %q is a claim of the profile: use its field", m.name)
		}
	}
	if len(members) == 0 {
		return nil, nil
	}
	return text[1:], nil
}
