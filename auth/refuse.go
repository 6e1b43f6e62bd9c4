package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

var problems = map[string]Problem{
	CodeNone:              {Type: "unauthenticated", Status: http.StatusUnauthorized, Title: "Sign in first"},
	CodeInvalidToken:      {Type: "invalid-token", Status: http.StatusUnauthorized, Title: "These credentials are not valid, or no longer"},
	CodeInvalidRequest:    {Type: "invalid-credentials", Status: http.StatusBadRequest, Title: "The credentials of the request are malformed"},
	CodeStepUp:            {Type: "step-up-required", Status: http.StatusUnauthorized, Title: "Sign in again to do this"},
	CodeInsufficientScope: {Type: "insufficient-scope", Status: http.StatusForbidden, Title: "A scope is missing"},
	CodeDenied:            {Type: "forbidden", Status: http.StatusForbidden, Title: "You are not allowed to do this"},
	CodeUnavailable:       {Type: "unavailable", Status: http.StatusServiceUnavailable, Title: "Try again in a moment"},
}

// Refuse answers a request that an [Authenticator] or a [Rule] refused with
// err, by its code: the status, the challenge of RFC 6750 section 3 (bare when
// there were no credentials) or RFC 9470 section 3, and a [Problem]. The error's
// text stays here; a code that is none of the package's counts as
// CodeInvalidToken. What could not be told is logged with [slog.Default].
//
// Inside of [SignInPage] a browser that would get 401 is redirected instead.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := ErrorCode(err)
	p, known := problems[code]
	if !known {
		code, p = CodeInvalidToken, problems[CodeInvalidToken]
	}
	var own Error
	if e, ok := unwrapTo(err); ok {
		own = *e
	}
	if p.Status == http.StatusUnauthorized && redirectToSignIn(w, r, own) {
		return
	}
	if code == CodeUnavailable {
		slog.ErrorContext(r.Context(), "auth: could not tell who is calling", "error", err)
		w.Header().Set("Retry-After", "5")
	}
	if c := challenge(code, own); c != "" {
		w.Header().Set("WWW-Authenticate", c)
	}
	p.Write(w)
}

func challenge(code string, e Error) string {
	switch code {
	case CodeNone:
		return "Bearer"
	case CodeInvalidToken, CodeInvalidRequest:
		return fmt.Sprintf("Bearer error=%q", code)
	case CodeInsufficientScope:
		if len(e.scopes) == 0 {
			return fmt.Sprintf("Bearer error=%q", code)
		}
		return fmt.Sprintf("Bearer error=%q, scope=%q", code, strings.Join(e.scopes, " "))
	case CodeStepUp:
		c := fmt.Sprintf("Bearer error=%q, error_description=%q", code, "A more recent authentication is required")
		if e.maxAge > 0 {
			c += fmt.Sprintf(", max_age=\"%d\"", int64(e.maxAge/time.Second))
		}
		return c
	}
	return ""
}

// unwrapTo finds our own error where ErrorCode found its code.
func unwrapTo(err error) (*Error, bool) {
	for ; err != nil; err = errors.Unwrap(err) {
		if _, ok := err.(interface{ AuthError() string }); ok {
			e, ok := err.(*Error)
			return e, ok
		}
	}
	return nil, false
}
