package realtime

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// Subject is what an authenticator says about a caller. A session, a verified
// access token and most hosts' own user types have these five methods.
type Subject interface {
	UserID() string       // whom the credential names; never empty
	SessionID() string    // the session it presents; never empty
	AuthTime() time.Time  // when the user last proved who they are
	ExpiresAt() time.Time // when the credential ends: a token's exp, a cookie session's absolute end, when Sessions are asked whether it lives on; zero for never
	Grants() (scopes, roles []string)
}

// Identity is what a [Subject] said, kept. It is a Subject itself. The zero
// Identity names nobody.
type Identity struct {
	user, session     string
	authTime, expires time.Time
	scopes, roles     []string
}

// NewIdentity copies what s says.
func NewIdentity(s Subject) Identity {
	scopes, roles := s.Grants()
	return Identity{
		user:     s.UserID(),
		session:  s.SessionID(),
		authTime: s.AuthTime(),
		expires:  s.ExpiresAt(),
		scopes:   slices.Clone(scopes),
		roles:    slices.Clone(roles),
	}
}

// UserID is the user's id.
func (i Identity) UserID() string { return i.user }

// SessionID is the public id of the session the credential presents.
func (i Identity) SessionID() string { return i.session }

// AuthTime is when the user last proved who they are.
func (i Identity) AuthTime() time.Time { return i.authTime }

// ExpiresAt is when the credential ends. Zero means never.
func (i Identity) ExpiresAt() time.Time { return i.expires }

// Grants returns copies of the scopes and roles.
func (i Identity) Grants() (scopes, roles []string) {
	return slices.Clone(i.scopes), slices.Clone(i.roles)
}

// IsZero reports whether the identity names nobody.
func (i Identity) IsZero() bool { return i.user == "" && i.session == "" }

// Authenticator says who sends a request. It is asked with the upgrade
// request, or with a copy of it that carries a token of the connect or refresh
// command as its Authorization header; the copy keeps its cookies, so that two
// credentials can be compared.
//
// An error's meaning is told by AuthError() string, on the error or on one
// found by errors.Unwrap: "none" (no credential of this kind), "unavailable"
// (could not tell), anything else: refused. An error without it means "could
// not tell". One whose Expired() bool is true is an expired token.
type Authenticator interface {
	Authenticate(*http.Request) (Identity, error)
}

// AuthenticatorFunc is a function as an [Authenticator].
type AuthenticatorFunc func(*http.Request) (Identity, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(r *http.Request) (Identity, error) { return f(r) }

// Via makes an [Authenticator] of any function that returns a [Subject]: the
// Authenticate method of a session manager, a token verifier, your own.
func Via[T Subject](f func(*http.Request) (T, error)) Authenticator {
	if f == nil {
		return nil
	}
	return AuthenticatorFunc(func(r *http.Request) (Identity, error) {
		s, err := f(r)
		if err != nil {
			return Identity{}, err
		}
		return NewIdentity(s), nil
	})
}

// Sessions is where the hub learns whether sessions live. A session manager
// has these methods. All may be called concurrently.
//
// When the value also has OnEnd(func(sessionID, userID, reason string))
// (cancel func()), the hub takes it as a fast path; EndedSince stays the sure
// one. With EndedReasons, which is EndedSince with the reason of each id, the
// client is told the reason on that path too. KeepAlive(ctx, sessionID) error is
// told, every ten seconds at most, of a session whose client sends commands.
type Sessions interface {
	// Alive reports whether the session has not ended.
	Alive(ctx context.Context, sessionID string) (bool, error)

	// EndedSince returns the ids of sessions that ended after cursor, and the
	// cursor to ask with next. An empty cursor returns none and the cursor of
	// now. An error whose CursorLost() bool is true says that the log no longer
	// reaches back that far.
	EndedSince(ctx context.Context, cursor string) (ids []string, next string, err error)
}

// refusal is what an authenticator's error means to a socket.
type refusal int

const (
	refusalNone        refusal = iota // no credential
	refusalInvalid                    // presented and refused
	refusalExpired                    // an access token past its time
	refusalUnavailable                // could not tell
)

// refusalOf looks along Unwrap alone: through errors.Join a store that is down
// would read as "no credential".
func refusalOf(err error) refusal {
	expired := false
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(interface{ Expired() bool }); ok && e.Expired() {
			expired = true
		}
		e, ok := err.(interface{ AuthError() string })
		if !ok {
			continue
		}
		switch kind := e.AuthError(); {
		case kind == "none":
			return refusalNone
		case kind == "unavailable" || kind == "":
			return refusalUnavailable
		case expired:
			return refusalExpired
		default:
			return expiredBelow(err)
		}
	}
	return refusalUnavailable
}

// expiredBelow looks for Expired further down the chain of a refusal.
func expiredBelow(err error) refusal {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(interface{ Expired() bool }); ok && e.Expired() {
			return refusalExpired
		}
	}
	return refusalInvalid
}
