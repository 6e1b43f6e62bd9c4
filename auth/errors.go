package auth

import (
	"errors"
	"time"
)

// What [ErrorCode] returns. Those in snake case are codes of RFC 6750 section
// 3.1 and RFC 9470 section 3.
const (
	CodeNone              = "none"                             // 401: no credentials
	CodeInvalidToken      = "invalid_token"                    // 401: a credential was presented and is refused
	CodeInvalidRequest    = "invalid_request"                  // 400: the credentials are malformed
	CodeStepUp            = "insufficient_user_authentication" // 401: sign in again
	CodeInsufficientScope = "insufficient_scope"               // 403: a scope is missing
	CodeDenied            = "denied"                           // 403: not allowed, and no other token would help
	CodeUnavailable       = "unavailable"                      // 503: could not tell
)

// ErrDenied is for rules of the host: this caller may not do this. 403.
var ErrDenied error = &Error{code: CodeDenied, text: "auth: not allowed"}

var (
	errNoIdentity = &Error{code: CodeNone, text: "auth: nobody is signed in"}
	errNobody     = &Error{code: CodeInvalidToken, text: "auth: the credential names no user"}
	errTwoCallers = &Error{code: CodeInvalidToken, text: "auth: the request's credentials name different users or sessions"}
)

// Error is why a caller was not let through.
type Error struct {
	code   string
	text   string
	scopes []string      // of CodeInsufficientScope: what is needed
	maxAge time.Duration // of CodeStepUp
}

// Error is one sentence, without secrets.
func (e *Error) Error() string { return e.text }

// AuthError is one of the codes.
func (e *Error) AuthError() string { return e.code }

// Is lets errors.Is(err, ErrDenied) match by code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.code == e.code
}

// ErrorCode says what the error of an [Authenticator] or a [Rule] means. It is
// what the first error along errors.Unwrap that has the method AuthError()
// string says, and CodeUnavailable when none has or when it says nothing.
//
// It does not look through errors.Join: joined with "no credentials", a store
// that is down would read as "no credentials".
func ErrorCode(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(interface{ AuthError() string }); ok {
			if code := e.AuthError(); code != "" {
				return code
			}
			break
		}
	}
	return CodeUnavailable
}
