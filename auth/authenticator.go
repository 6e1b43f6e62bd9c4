package auth

import (
	"net/http"
	"slices"
	"time"
)

// An Authenticator says who sends a request. Its errors answer the method
// AuthError, see [ErrorCode]; an error without it means "could not tell". It is
// called concurrently.
type Authenticator interface {
	Authenticate(*http.Request) (Identity, error)
}

// AuthenticatorFunc is a function as an [Authenticator].
type AuthenticatorFunc func(*http.Request) (Identity, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(r *http.Request) (Identity, error) { return f(r) }

// Via makes an [Authenticator] of any function that returns a [Subject], such
// as the Authenticate method of a session manager or a token verifier. A
// subject without a user is refused. It panics when f is nil.
func Via[T Subject](f func(*http.Request) (T, error)) Authenticator {
	if f == nil {
		panic("auth: Via: nil function; pass the Authenticate method of a session manager or a token verifier")
	}
	return AuthenticatorFunc(func(r *http.Request) (Identity, error) {
		s, err := f(r)
		if err != nil {
			return Identity{}, err
		}
		return NewIdentity(s), nil
	})
}

// OneOf asks all of the authenticators. A request may present several
// credentials, but they must agree:
//
//   - one that is presented and refused refuses the request, whatever the others say;
//   - one that could not be checked makes the request unavailable;
//   - those that are good must name the same user and the same session. The
//     identity is then the least that all of them say: the scopes and roles they
//     share, the earliest end, the oldest sign-in.
//
// When none is presented the error's code is "none". It panics without
// authenticators and when one is nil.
func OneOf(authenticators ...Authenticator) Authenticator {
	all := slices.Clone(authenticators)
	if len(all) == 0 || slices.Contains(all, nil) {
		panic("auth: OneOf: wants authenticators, none of them nil")
	}
	return AuthenticatorFunc(func(r *http.Request) (Identity, error) {
		var who Identity
		var refused, unavailable, none error
		for _, a := range all {
			next, err := authenticate(a, r)
			switch {
			case err == nil && who.IsZero():
				who = next
			case err == nil && (who.user != next.user || who.session != next.session):
				refused = first(refused, errTwoCallers)
			case err == nil:
				who = merge(who, next)
			default:
				switch ErrorCode(err) {
				case CodeNone:
					none = first(none, err)
				case CodeUnavailable:
					unavailable = first(unavailable, err)
				default:
					refused = first(refused, err)
				}
			}
		}
		if err := first(refused, unavailable); err != nil {
			return Identity{}, err
		}
		if who.IsZero() {
			return Identity{}, none
		}
		return who, nil
	})
}

// authenticate asks a, and refuses a success that names nobody: a guard passes
// whoever has no error.
func authenticate(a Authenticator, r *http.Request) (Identity, error) {
	who, err := a.Authenticate(r)
	if err != nil {
		return Identity{}, err
	}
	if who.IsZero() {
		return Identity{}, errNobody
	}
	return who, nil
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func merge(a, b Identity) Identity {
	a.scopes = shared(a.scopes, b.scopes)
	a.roles = shared(a.roles, b.roles)
	a.expires = earlierEnd(a.expires, b.expires)
	if b.authTime.Before(a.authTime) { // zero, unknown, is before everything
		a.authTime = b.authTime
	}
	return a
}

func shared(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// earlierEnd is the earlier of two ends, of which zero is never.
func earlierEnd(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
