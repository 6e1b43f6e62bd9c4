package oidc

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// userInfo asks the UserInfo endpoint for claims that were asked for and that
// the ID token lacks. It returns nil when there is nothing to ask.
func (l *Login) userInfo(ctx context.Context, meta *metadata, c claims, accessToken string) (claims, error) {
	if meta.userInfoURL == "" || !l.provider.lacks(c) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	body, _, err := getBody(ctx, l.client, "userinfo", meta.userInfoURL, accessToken)
	if err != nil {
		return nil, err
	}
	more, err := parseObject(body)
	if err != nil {
		return nil, badAnswer("userinfo: %w", err)
	}
	// OpenID Connect Core 1.0 section 5.3.2: else another user's claims could be
	// slipped in.
	sub, _ := c.text("sub")
	if other, ok := more.text("sub"); !ok || other != sub {
		return nil, refused("userinfo: sub is not the ID token's")
	}
	return more, nil
}

func (p *Provider) lacks(c claims) bool {
	_, email := c["email"]
	_, verified := c["email_verified"]
	_, name := c["name"]
	return slices.Contains(p.Scopes, "email") && !(email && verified) ||
		slices.Contains(p.Scopes, "profile") && !name
}

// profile joins the ID token's claims with those of UserInfo; the former win.
func (p *Provider) profile(c, more claims) *Profile {
	text := func(name string, limit int) string {
		for _, from := range []claims{c, more} {
			if s, ok := from.text(name); ok {
				return plainText(s, limit)
			}
		}
		return ""
	}
	sub, _ := c.text("sub")
	profile := &Profile{
		Provider: p.Name, Issuer: p.Issuer, Subject: sub,
		Name: text("name", 200), GivenName: text("given_name", 200), FamilyName: text("family_name", 200),
		Picture: httpsURL(text("picture", 2048)), Locale: text("locale", 40), SID: sessionID(c),
	}
	profile.Email, profile.EmailVerified = email(c, more)
	profile.EmailAuthoritative = profile.EmailVerified && p.isAuthority(profile.Email, c)
	if _, ok := c["auth_time"]; ok {
		profile.AuthTime, _ = c.time("auth_time")
	}
	profile.Claims, _ = json.Marshal(map[string]json.RawMessage(c))
	return profile
}

// sessionID returns the claim sid byte for byte: a logout token will name it so.
func sessionID(c claims) string {
	if checkName(c, "sid") != nil {
		return ""
	}
	sid, _ := c.text("sid")
	return sid
}

// email returns the address, and whether the same source, or both speaking of
// the same address, said that it is verified: a "true" for one address must
// not be read beside another one.
func email(c, more claims) (address string, verified bool) {
	address, ok := c.text("email")
	verified = c.isTrue("email_verified")
	if other, ok2 := more.text("email"); ok2 {
		if !ok {
			address, verified = other, more.isTrue("email_verified")
		} else if _, said := c["email_verified"]; !said && other == address {
			verified = more.isTrue("email_verified")
		}
	}
	if !isEmail(address) {
		return "", false
	}
	return address, verified
}

// isAuthority reports whether p decides who owns the mailbox.
func (p *Provider) isAuthority(address string, c claims) bool {
	_, domain, _ := strings.Cut(address, "@")
	domain, ok := lowerASCII(domain)
	if !ok {
		return false
	}
	if p.google {
		// Google is one for its own mailboxes and for the domains it hosts (hd).
		hd, ok := c.text("hd")
		if domain == "gmail.com" || ok && hd != "" {
			return true
		}
	}
	return slices.Contains(p.EmailDomains, domain)
}

// lowerASCII reports false for anything else than ASCII: there is more than one
// letter whose lower case is 'i' or 'k', and each makes another domain.
func lowerASCII(s string) (string, bool) {
	return strings.ToLower(s), !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// isEmail is no judge of addresses; it refuses what reads as two of them.
func isEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && local != "" && domain != "" && len(s) <= 254 && !strings.Contains(domain, "@") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= 0x20 || isUnsafeControl(r) })
}

func httpsURL(s string) string {
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return s
}

// plainText drops control characters and cuts at a number of bytes, on a rune.
func plainText(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if isUnsafeControl(r) || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
	if len(s) > limit {
		for s = s[:limit]; !utf8.ValidString(s); {
			s = s[:len(s)-1]
		}
	}
	return s
}
