package oidc

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"golang.org/x/oauth2"
)

// Profile is what a provider has proved about a user who just signed in. The
// pair (Issuer, Subject) is the user's key; nothing else identifies them.
type Profile struct {
	// Provider is the [Provider].Name they came by.
	Provider string
	// Issuer and Subject are the ID token's iss and sub. Google's issuer is
	// always written with its scheme.
	Issuer  string
	Subject string

	// Email is what the provider calls their address. It may change and be
	// given to somebody else: don't look users up by it alone.
	Email string
	// EmailVerified is true only when the provider said the JSON value true.
	EmailVerified bool
	// EmailAuthoritative is true when EmailVerified is and the provider is also
	// the authority for that mailbox: Google for gmail.com and Workspace
	// domains, others for [Provider].EmailDomains. Only then can the email join
	// an account that somebody else may have made.
	EmailAuthoritative bool

	Name       string
	GivenName  string
	FamilyName string
	// Picture is an https URL or empty. Show it, never fetch it from a server.
	Picture string
	Locale  string

	// SID is the provider's session (claim sid), empty when it has none.
	SID string
	// Received is when the answer to this sign-in came from the provider, by this
	// machine's clock: a logout that the provider tells of from then on, before
	// the session has begun, is about this sign-in too.
	Received time.Time
	// AuthTime is when the user proved themselves to the provider, zero when it
	// doesn't say.
	AuthTime time.Time

	// IDToken is the verified ID token.
	IDToken IDToken `json:"-"`
	// Token calls the provider's APIs for this user. It is a secret.
	Token *oauth2.Token `json:"-"`
	// Claims are the ID token's verified claims, as they were signed.
	Claims json.RawMessage
}

// LoginFunc signs in the user whom the provider vouches for: it finds or makes
// the account, sets the session cookie on w and returns nil; the login then
// redirects to the return path. When it has written a response itself, that
// one stands.
//
// An error that has UserMessage() string and HTTPStatus() int, found by
// errors.As, becomes an error page with that text and status. Every other
// error is logged and answered 503: it could not be told who this is.
type LoginFunc func(w http.ResponseWriter, r *http.Request, p Profile) error

// Then makes a [LoginFunc] of two functions: find returns our user for a
// profile, making one when there is none, and login starts their session, as
// session.Manager.Login does.
//
// Neither learns of [Profile].AuthTime, so the session counts as proved just now,
// though a provider that still knows the browser asks nothing of whoever sits
// there. Where something wants a recent proof (auth.Fresh), set [Provider].MaxAge,
// and write a LoginFunc that passes AuthTime on as session.Start.AuthTime.
func Then(find func(context.Context, Profile) (userID string, err error), login func(http.ResponseWriter, *http.Request, string) error) LoginFunc {
	if find == nil || login == nil {
		return nil // NewLogin names the mistake
	}
	return func(w http.ResponseWriter, r *http.Request, p Profile) error {
		userID, err := find(r.Context(), p)
		if err != nil {
			return err
		}
		if userID == "" {
			return errNoUser
		}
		return login(w, r, userID)
	}
}
