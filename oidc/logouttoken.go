package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

const (
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// maxLogoutAge is how old a logout token may be, whatever its exp says: its
	// jti is remembered until then.
	maxLogoutAge = time.Hour
)

// ProviderLogout is what a provider has ended, by a logout token that was
// verified (OpenID Connect Back-Channel Logout 1.0). It is about the sessions
// whose ID token had this Issuer and whichever of the other two is not empty:
// the provider's session SID, or all sessions of Subject.
type ProviderLogout struct {
	Provider string // the [Provider].Name
	Issuer   string
	Subject  string
	SID      string
}

// logoutToken is a verified one.
type logoutToken struct {
	ProviderLogout
	once string    // names its jti among all that Once keeps
	ends time.Time // refused from then on, by its times
}

// verifyLogout checks a logout token (Back-Channel Logout 1.0 section 2.6).
func (l *Login) verifyLogout(ctx context.Context, raw string) (*logoutToken, error) {
	meta, _, err := l.metadata.get(ctx)
	if err != nil {
		return nil, err
	}
	p := l.provider
	// Section 2.4 recommends logout+jwt and requires nothing.
	c, _, err := p.signed(ctx, meta, "logout token", raw, "JWT", "logout+jwt", "application/logout+jwt")
	if err != nil {
		return nil, err
	}
	t, err := p.readLogout(c, time.Now())
	if err != nil {
		return nil, refused("logout token: %w", err)
	}
	return t, nil
}

func (p *Provider) readLogout(c claims, now time.Time) (*logoutToken, error) {
	if err := errors.Join(p.checkAudience(c), checkTimes(c, now), checkLogoutEvent(c)); err != nil {
		return nil, err
	}
	iat, err := c.time("iat")
	if err != nil {
		return nil, err
	}
	oldest := now.Add(-maxLogoutAge - clockSkew)
	if iat.Before(oldest) {
		return nil, errors.New("iat is too long ago")
	}
	if _, present := c["nonce"]; present { // section 2.4: so that no ID token passes for one
		return nil, errors.New("nonce: this is no logout token")
	}
	jti, ok := c.text("jti")
	if !ok || jti == "" {
		return nil, errors.New("jti must be a string that is not empty")
	}
	t := &logoutToken{ProviderLogout: ProviderLogout{Provider: p.Name, Issuer: p.Issuer}}
	for name, value := range map[string]*string{"sub": &t.Subject, "sid": &t.SID} {
		if _, present := c[name]; !present {
			continue
		}
		if err := checkName(c, name); err != nil {
			return nil, err
		}
		*value, _ = c.text(name)
	}
	if t.Subject == "" && t.SID == "" {
		return nil, errors.New("neither sub nor sid")
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{p.Issuer, p.ClientID, jti}, "\n")))
	t.once = "oidc logout " + base64.RawURLEncoding.EncodeToString(sum[:])
	exp, err := c.time("exp")
	if err != nil {
		return nil, err
	}
	t.ends = earliest(exp.Add(clockSkew), iat.Add(maxLogoutAge+clockSkew))
	return t, nil
}

// checkLogoutEvent wants an events object with the logout's member, itself an
// object, which needn't be empty.
func checkLogoutEvent(c claims) error {
	events, err := parseObject(c["events"])
	if err != nil {
		return errors.New("events is not an object")
	}
	if _, err := parseObject(events[logoutEvent]); err != nil {
		return errors.New("events has no object for the logout event")
	}
	return nil
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
