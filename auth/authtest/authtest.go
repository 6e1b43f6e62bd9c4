// Package authtest stands in for authentication in a host's own tests.
//
// Give the code under test [As] as its authenticator to be somebody, or
// [Anonymous], [Refused] and [Down] for the three ways of not being anybody; use
// [Request] for a handler that is tested without its middleware.
//
//	h := newServer(authtest.As(authtest.Caller{User: "u1", Roles: []string{"admin"}}))
//
// Never use it outside of tests: it believes everybody.
package authtest

import (
	"net/http"
	"time"

	"github.com/gatewire/gatewire/auth"
)

// Caller is somebody to be. Its zero value is the user "user-1" in the session
// "session-1" without scopes and roles, who signed in now, for an hour.
type Caller struct {
	User     string // defaults to "user-1"
	Session  string // defaults to "session-1"
	Scopes   []string
	Roles    []string
	SignedIn time.Time // defaults to now
	Expires  time.Time // defaults to in an hour
}

// Identity is the caller as handlers see them.
func (c Caller) Identity() auth.Identity {
	if c.User == "" {
		c.User = "user-1"
	}
	if c.Session == "" {
		c.Session = "session-1"
	}
	if c.SignedIn.IsZero() {
		c.SignedIn = time.Now()
	}
	if c.Expires.IsZero() {
		c.Expires = time.Now().Add(time.Hour)
	}
	return auth.NewIdentity(subject{c})
}

// As is an authenticator to whom every request is c's.
func As(c Caller) auth.Authenticator {
	return auth.AuthenticatorFunc(func(*http.Request) (auth.Identity, error) { return c.Identity(), nil })
}

// Request is r as a handler behind [auth.Require] gets it from c.
func Request(r *http.Request, c Caller) *http.Request {
	return r.WithContext(auth.With(r.Context(), c.Identity()))
}

// Anonymous is an authenticator that finds no credentials.
func Anonymous() auth.Authenticator { return Refused(auth.CodeNone) }

// Down is an authenticator that cannot tell.
func Down() auth.Authenticator { return Refused(auth.CodeUnavailable) }

// Refused is an authenticator that refuses with one of auth's codes.
func Refused(code string) auth.Authenticator {
	return auth.AuthenticatorFunc(func(*http.Request) (auth.Identity, error) { return auth.Identity{}, refusal(code) })
}

type refusal string

func (c refusal) Error() string     { return "authtest: " + string(c) }
func (c refusal) AuthError() string { return string(c) }

type subject struct{ c Caller }

func (s subject) UserID() string               { return s.c.User }
func (s subject) SessionID() string            { return s.c.Session }
func (s subject) AuthTime() time.Time          { return s.c.SignedIn }
func (s subject) ExpiresAt() time.Time         { return s.c.Expires }
func (s subject) Grants() (scopes, r []string) { return s.c.Scopes, s.c.Roles }
