package auth

import (
	"context"
	"slices"
	"time"
)

// Subject is a signed-in caller, as whatever authenticated them describes it. A
// session, a verified access token and an [Identity] have these methods.
type Subject interface {
	UserID() string                   // never empty
	SessionID() string                // the session behind the credential; empty when there is none, such as for an API key
	AuthTime() time.Time              // when the user last proved who they are; zero when unknown
	ExpiresAt() time.Time             // when the credential ends at the latest; zero for never
	Grants() (scopes, roles []string) // what the caller may do
}

// Identity is what a [Subject] said, copied. The zero Identity is nobody.
// Identities are immutable and safe for concurrent use.
type Identity struct {
	user, session     string
	authTime, expires time.Time
	scopes, roles     []string
}

// NewIdentity copies what s says.
func NewIdentity(s Subject) Identity {
	scopes, roles := s.Grants()
	return Identity{
		user: s.UserID(), session: s.SessionID(),
		authTime: s.AuthTime(), expires: s.ExpiresAt(),
		scopes: slices.Clone(scopes), roles: slices.Clone(roles),
	}
}

// UserID is the user's id, empty for nobody.
func (i Identity) UserID() string { return i.user }

// SessionID is the public id of the session behind the credential, or empty.
func (i Identity) SessionID() string { return i.session }

// AuthTime is when the user last proved who they are; zero when unknown.
func (i Identity) AuthTime() time.Time { return i.authTime }

// ExpiresAt is when the credential ends at the latest; zero for never.
func (i Identity) ExpiresAt() time.Time { return i.expires }

// Grants returns copies of the scopes and the roles.
func (i Identity) Grants() (scopes, roles []string) {
	return slices.Clone(i.scopes), slices.Clone(i.roles)
}

// HasScope reports whether the caller was granted the scope.
func (i Identity) HasScope(scope string) bool { return slices.Contains(i.scopes, scope) }

// HasRole reports whether the caller has the role.
func (i Identity) HasRole(role string) bool { return slices.Contains(i.roles, role) }

// IsZero reports whether the identity is nobody.
func (i Identity) IsZero() bool { return i.user == "" }

type identityKey struct{}

// With returns a context that carries who. [Load] and [Require] do this; it is
// for hosts that authenticate in another way.
func With(ctx context.Context, who Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, who)
}

// From returns who is calling, and false when nobody is signed in.
func From(ctx context.Context) (Identity, bool) {
	who, _ := ctx.Value(identityKey{}).(Identity)
	return who, !who.IsZero()
}
