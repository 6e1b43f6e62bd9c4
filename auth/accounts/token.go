package accounts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/session"
)

// AccessToken is an access token on its way to the client. It prints as
// REDACTED; Reveal returns it.
type AccessToken struct {
	text    string
	expires time.Time
	scopes  []string
}

// Reveal returns the token's text, for the response to the client alone.
func (t AccessToken) Reveal() string { return t.text }

// ExpiresAt is when the token expires.
func (t AccessToken) ExpiresAt() time.Time { return t.expires }

// Format keeps the token out of every fmt verb.
func (AccessToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "REDACTED") }

// LogValue keeps the token out of slog.
func (AccessToken) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// MarshalText keeps the token out of JSON and other encodings.
func (AccessToken) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }

// Tokens are a token session as its client holds it.
type Tokens struct {
	Access  AccessToken
	Refresh session.RefreshToken
	Session Session
}

// AccessToken issues an access token for a live session. The error is
// session.ErrNotFound when it has ended, or that of a store.
func (s *Service) AccessToken(ctx context.Context, sessionID string) (AccessToken, error) {
	sess, err := s.sessions.Session(ctx, sessionID)
	if err != nil {
		return AccessToken{}, err
	}
	return s.issue(ctx, sess)
}

func (s *Service) issue(ctx context.Context, sess Session) (AccessToken, error) {
	scopes, roles := sess.Grants()
	text, expires, err := s.issuer.Issue(ctx, jwt.AccessClaims{
		Subject: sess.UserID(), SessionID: sess.SessionID(), ClientID: s.clientID,
		AuthTime: sess.AuthTime(), Expiry: sess.ExpiresAt(), Scope: scopes, Roles: roles,
	})
	if err != nil {
		return AccessToken{}, err
	}
	return AccessToken{text: text, expires: expires, scopes: scopes}, nil
}

// Refresh exchanges a refresh token: see [session.Manager.Refresh]. Errors:
// [ErrRefreshInvalid], also when the account is disabled or gone; any other
// means that it could not tell and that the client may try again.
func (s *Service) Refresh(ctx context.Context, token string) (Tokens, error) {
	// Once the token is exchanged, an answer that fails can cost the client its
	// session. So whatever else is needed is asked for first.
	if _, _, err := s.users.UserByID(ctx, ""); err != nil {
		return Tokens{}, err
	}
	refresh, sess, err := s.sessions.Refresh(ctx, token)
	if errors.Is(err, session.ErrRefreshInvalid) {
		return Tokens{}, ErrRefreshInvalid
	}
	if err != nil {
		return Tokens{}, err
	}
	u, found, err := s.users.UserByID(ctx, sess.UserID())
	if err != nil {
		return Tokens{}, err
	}
	if u.Ending != nil && !u.Ending.held(time.Now()) {
		// This session is among those that are to end.
		if err := s.settleFor(ctx, u.ID); err != nil {
			return Tokens{}, err
		}
		return Tokens{}, ErrRefreshInvalid
	}
	if !found || u.Disabled {
		if err := s.endAll(ctx, sess.UserID(), session.ReasonDisabled); err != nil {
			return Tokens{}, err
		}
		return Tokens{}, ErrRefreshInvalid
	}
	access, err := s.issue(ctx, sess)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, Refresh: refresh, Session: sess}, nil
}

// RevokeToken ends the session of a refresh token (RFC 7009). A token that is
// not known is no error; an error means that the session may live on.
func (s *Service) RevokeToken(ctx context.Context, token string) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	return s.sessions.EndByRefresh(ctx, token)
}

// Authenticate says who sends a request, by the session cookie, an access token
// in the Authorization header, or both when they agree. The session must be
// alive: a token whose session has ended is refused at once. It is an
// [auth.AuthenticatorFunc]; its errors answer [auth.ErrorCode].
func (s *Service) Authenticate(r *http.Request) (auth.Identity, error) {
	return s.caller.Authenticate(r)
}

func (s *Service) bearer(r *http.Request) (auth.Identity, error) {
	token, err := s.verifier.Authenticate(r)
	if err != nil {
		return auth.Identity{}, err
	}
	sess, err := s.sessions.Session(r.Context(), token.SessionID())
	switch {
	case errors.Is(err, session.ErrNotFound):
		return auth.Identity{}, &authError{code: auth.CodeInvalidToken, text: "accounts: the access token's session has ended"}
	case err != nil:
		return auth.Identity{}, &authError{code: auth.CodeUnavailable, text: "accounts: could not tell whether the access token's session lives", err: err}
	case sess.UserID() != token.UserID():
		return auth.Identity{}, &authError{code: auth.CodeInvalidToken, text: "accounts: the access token's session is another user's"}
	}
	return auth.NewIdentity(token), nil
}
