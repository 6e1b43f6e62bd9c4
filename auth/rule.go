package auth

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Rule says whether a signed-in caller may send a request: nil, or an error
// with a code, see [ErrorCode]. An error without a code means that it could not
// tell, and refuses with 503. Rules are called concurrently.
type Rule interface {
	Check(r *http.Request, who Identity) error
}

// RuleFunc is a function as a [Rule]. Return [ErrDenied] to refuse with 403.
type RuleFunc func(r *http.Request, who Identity) error

// Check calls f.
func (f RuleFunc) Check(r *http.Request, who Identity) error { return f(r, who) }

// Scope admits callers who were granted all of the scopes; others get 403
// insufficient_scope. It panics without scopes and for one that is not a scope
// token of RFC 6749 section 3.3. For "one of", see [Any].
func Scope(scopes ...string) Rule {
	need := slices.Clone(scopes)
	if len(need) == 0 || slices.ContainsFunc(need, notScope) {
		panic("auth: Scope: wants one or more scope tokens (RFC 6749 section 3.3): printable ASCII without spaces, quotes and backslashes")
	}
	return RuleFunc(func(_ *http.Request, who Identity) error {
		for _, s := range need {
			if !who.HasScope(s) {
				return &Error{code: CodeInsufficientScope, text: "auth: a scope is missing", scopes: need}
			}
		}
		return nil
	})
}

func notScope(s string) bool {
	return s == "" || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == '"' || c == '\\' || c > '~' })
}

// Role admits callers who have all of the roles; others get 403. It panics
// without roles and for an empty one. For "one of", see [Any].
func Role(roles ...string) Rule {
	need := slices.Clone(roles)
	if len(need) == 0 || slices.Contains(need, "") {
		panic("auth: Role: wants one or more roles, none of them empty")
	}
	return RuleFunc(func(_ *http.Request, who Identity) error {
		for _, role := range need {
			if !who.HasRole(role) {
				return ErrDenied
			}
		}
		return nil
	})
}

// clockSlack is how far in the future a sign-in may lie before Fresh takes it
// for a mistake.
const clockSlack = time.Minute

// Fresh admits callers who proved who they are within the last d; others get
// the step-up challenge of RFC 9470: 401, insufficient_user_authentication,
// max_age. A caller whose time of sign-in is unknown is not fresh. It panics
// when d is less than a second.
//
// It goes by what the identity says. A sign-in at a provider may have asked the
// user nothing: see oidc.Provider.MaxAge and session.Start.AuthTime.
func Fresh(d time.Duration) Rule {
	if d < time.Second {
		panic("auth: Fresh: wants a second or more")
	}
	stale := &Error{code: CodeStepUp, text: "auth: a more recent sign-in is needed", maxAge: d}
	return RuleFunc(func(_ *http.Request, who Identity) error {
		if who.authTime.IsZero() {
			return stale
		}
		if age := time.Since(who.authTime); age > d || age < -clockSlack {
			return stale
		}
		return nil
	})
}

// All admits whom every rule admits; it answers with the first error. Without
// rules it admits every signed-in caller. It panics when a rule is nil.
func All(rules ...Rule) Rule {
	all := cloneRules("All", rules)
	return RuleFunc(func(r *http.Request, who Identity) error {
		for _, rule := range all {
			if err := rule.Check(r, who); err != nil {
				return err
			}
		}
		return nil
	})
}

// Any admits whom one of the rules admits. Else it answers with an error that
// means "could not tell" if there is one, and with the first one if not. It
// panics without rules and when a rule is nil.
func Any(rules ...Rule) Rule {
	any := cloneRules("Any", rules)
	if len(any) == 0 {
		panic("auth: Any: wants one or more rules")
	}
	return RuleFunc(func(r *http.Request, who Identity) error {
		var refused error
		for _, rule := range any {
			err := rule.Check(r, who)
			if err == nil {
				return nil
			}
			if refused == nil || ErrorCode(err) == CodeUnavailable && ErrorCode(refused) != CodeUnavailable {
				refused = err
			}
		}
		return refused
	})
}

func cloneRules(of string, rules []Rule) []Rule {
	if slices.Contains(rules, nil) {
		panic("auth: " + of + ": nil Rule")
	}
	return slices.Clone(rules)
}
