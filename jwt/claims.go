package jwt

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// registered are the claims that the profile reads and Issue writes.
var registered = newNameSet("iss", "sub", "aud", "exp", "nbf", "iat", "jti",
	"sid", "client_id", "auth_time", "scope", "roles")

// maxTime is the last second of the year 9999, which every store and every
// format of times can hold.
const maxTime = 253402300799

// verifiedClaims are claims of the right types, not yet compared with anything.
type verifiedClaims struct {
	AccessClaims
	notBefore time.Time
}

// readClaims takes the claims out of members: each that is there must have its
// type, null is not a type. It reports what is wrong by name, without values.
func readClaims(members []member) (verifiedClaims, *Error) {
	var c verifiedClaims
	for _, m := range members {
		ok := true
		switch m.name {
		case "iss":
			c.Issuer, ok = stringClaim(m.raw)
		case "sub":
			c.Subject, ok = stringClaim(m.raw)
		case "jti":
			c.JTI, ok = stringClaim(m.raw)
		case "sid":
			c.SessionID, ok = stringClaim(m.raw)
		case "client_id":
			c.ClientID, ok = stringClaim(m.raw)
		case "aud":
			if m.raw[0] == '[' {
				c.Audience, ok = listClaim(m.raw)
			} else {
				c.Audience = make([]string, 1)
				c.Audience[0], ok = stringClaim(m.raw)
			}
		case "roles":
			c.Roles, ok = listClaim(m.raw)
		case "scope":
			c.Scope, ok = scopeClaim(m.raw)
		case "exp":
			c.Expiry, ok = timeClaim(m.raw)
		case "nbf":
			c.notBefore, ok = timeClaim(m.raw)
		case "iat":
			c.IssuedAt, ok = timeClaim(m.raw)
		case "auth_time":
			c.AuthTime, ok = timeClaim(m.raw)
		}
		if !ok {
			return c, refuse(ErrClaims, m.name+" has a wrong type or value")
		}
	}
	switch {
	case c.Issuer == "":
		return c, refuse(ErrClaims, "no iss")
	case c.Subject == "":
		return c, refuse(ErrClaims, "no sub")
	case c.JTI == "":
		return c, refuse(ErrClaims, "no jti")
	case len(c.Audience) == 0:
		return c, refuse(ErrClaims, "no aud")
	case c.Expiry.IsZero():
		return c, refuse(ErrClaims, "no exp")
	case c.IssuedAt.IsZero():
		return c, refuse(ErrClaims, "no iat")
	}
	return c, nil
}

func stringClaim(raw []byte) (string, bool) {
	if raw[0] != '"' {
		return "", false
	}
	s := unquote(raw)
	return s, goodText(s)
}

// goodText reports whether s can stand as an identifier: not empty, UTF-8, and
// no control character that would break a log line, a header or a column.
func goodText(s string) bool {
	return s != "" && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) < 0
}

// listClaim reads an array of strings that scanObject has checked.
func listClaim(raw []byte) ([]string, bool) {
	if raw[0] != '[' {
		return nil, false
	}
	s := scanner{data: raw, pos: 1}
	out := []string{}
	for s.space(); !s.eat(']'); s.space() {
		text, err := s.text()
		if err != nil {
			return nil, false
		}
		item := unquote(text)
		if !goodText(item) {
			return nil, false
		}
		out = append(out, item)
		s.space()
		s.eat(',')
	}
	return out, true
}

// scopeClaim reads scope-token *( SP scope-token ), RFC 6749 section 3.3.
func scopeClaim(raw []byte) ([]string, bool) {
	if raw[0] != '"' {
		return nil, false
	}
	joined := unquote(raw)
	if joined == "" {
		return nil, true
	}
	scopes := strings.Split(joined, " ")
	for _, s := range scopes {
		if !goodScope(s) {
			return nil, false
		}
	}
	return scopes, true
}

func goodScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return s != ""
}

// timeClaim reads a NumericDate (RFC 7519 section 2). The RFC allows fractions;
// no issuer needs them and they have been a source of tokens that never expire,
// so only whole seconds from 1970 to 9999 are taken.
func timeClaim(raw []byte) (time.Time, bool) {
	for _, c := range raw {
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
	}
	sec, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || sec < 1 || sec > maxTime {
		return time.Time{}, false
	}
	return time.Unix(sec, 0).UTC(), true
}
