package jwt

import (
	"errors"
	"time"
)

// Limits of the access token profile.
const (
	DefaultLifetime = 5 * time.Minute
	MaxLifetime     = 15 * time.Minute
)

// A Profile is a kind of token: its type and what its claims must say. Profiles
// exclude one another by the header's typ, so a token of one is never taken for
// a token of another (RFC 8725 section 3.12).
type Profile struct {
	typ      string
	issuer   string
	audience string
}

// AccessToken is the profile of RFC 9068: typ at+jwt; iss, aud, sub, exp, iat
// and jti are required. The issuer is compared byte by byte, the audience is
// the identifier of the service that takes the tokens. Both are required;
// [NewIssuer] and [NewVerifier] report one that is missing.
func AccessToken(issuer, audience string) Profile {
	return Profile{typ: "at+jwt", issuer: issuer, audience: audience}
}

func (p Profile) check() []error {
	if p.typ == "" {
		return []error{errors.New("a profile is needed: use AccessToken(issuer, audience)")}
	}
	var errs []error
	if !goodText(p.issuer) {
		errs = append(errs, errors.New("the profile needs an issuer, the URL of who signs"))
	}
	if !goodText(p.audience) {
		errs = append(errs, errors.New("the profile needs an audience, the URL of the service that takes the tokens"))
	}
	return errs
}

// AccessClaims are the claims of an access token. Times are whole seconds.
//
// A struct of your own may embed AccessClaims to carry them next to further
// claims, see [NewVerifier].
type AccessClaims struct {
	Issuer    string   `json:"-"` // iss, set by Issue
	Audience  []string `json:"-"` // aud, set by Issue
	Subject   string   `json:"-"` // sub, the user; required
	ClientID  string   `json:"-"` // client_id, who asked for the token; required by RFC 9068 section 2.2
	SessionID string   `json:"-"` // sid, the session that the token presents; may be empty
	JTI       string   `json:"-"` // jti, set by Issue when empty: 128 random bits

	IssuedAt time.Time `json:"-"` // iat, set by Issue
	Expiry   time.Time `json:"-"` // exp, set by Issue; set before, it can only shorten the lifetime
	AuthTime time.Time `json:"-"` // auth_time, when the user last proved who they are; may be zero

	Scope []string `json:"-"` // scope, RFC 6749 section 3.3
	Roles []string `json:"-"` // roles

	// Extra is a struct or map whose JSON form is an object: further claims, for
	// Issue only. A name of the claims above, in any case, is an error. Verify
	// leaves it nil and decodes further claims into the verifier's type.
	Extra any `json:"-"`
}
