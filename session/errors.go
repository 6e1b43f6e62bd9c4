package session

import (
	"errors"
	"net/http"
)

// Errors of a [Manager]. Authenticate's answer the method AuthError, by which
// packages that don't import this one tell them apart.
var (
	// ErrNoSession means that the request presents no session, or an anonymous one.
	ErrNoSession error = &authError{code: "none", text: "session: the request presents no session"}
	// ErrInvalid means that the request presents something that is no live session.
	ErrInvalid error = &authError{code: "invalid_token", text: "session: what the request presents is no live session"}
	// ErrRefreshInvalid means that a refresh token is unknown, expired, of an
	// ended session, or was used before. RFC 6749 section 5.2: invalid_grant.
	ErrRefreshInvalid = errors.New("session: refresh token is not valid")
	// ErrHeadersSent means that the session can't be changed any more, because
	// the response's headers are on their way.
	ErrHeadersSent = errors.New("session: the response headers were sent already; change the session before writing the response")
	// ErrNoHandler means that the context did not pass Manager.Handler.
	ErrNoHandler = errors.New("session: no session in this context; wrap the handler with Manager.Handler and pass the request's context")
	// ErrTooLarge means that the data is over Options.MaxData.
	ErrTooLarge = errors.New("session: data is larger than Options.MaxData")
	// ErrCrossOrigin means that a state-changing request comes from an origin
	// that is not trusted.
	ErrCrossOrigin = errors.New("session: cross-origin request refused")
	// ErrEnded means that the session ended or its secret was replaced while
	// the request that wants to change it was being handled.
	ErrEnded = errors.New("session: the session ended or was renewed during the request")
)

// authError is an error with the method AuthError.
type authError struct {
	code string
	text string
	err  error
}

func (e *authError) Error() string {
	if e.err != nil {
		return e.text + ": " + e.err.Error()
	}
	return e.text
}

func (e *authError) Unwrap() error { return e.err }

// AuthError is "none", "invalid_token" or "unavailable".
func (e *authError) AuthError() string { return e.code }

// unavailable wraps an error of the store: it could not tell.
func unavailable(err error) error {
	return &authError{code: "unavailable", text: "session: the store could not tell", err: err}
}

// StatusOf is the HTTP status for an error of this package: 403 for a
// cross-origin request, 409 for a session that ended meanwhile, 401 for what
// is no live session, 413 for data too large, 500 for a mistake in the host's
// code, and 503 for everything else: the store could not tell.
func StatusOf(err error) int {
	switch {
	case errors.Is(err, ErrCrossOrigin):
		return http.StatusForbidden
	case errors.Is(err, ErrEnded), errors.Is(err, ErrConflict), errors.Is(err, ErrEpoch):
		return http.StatusConflict
	case errors.Is(err, ErrNoSession), errors.Is(err, ErrInvalid), errors.Is(err, ErrRefreshInvalid):
		return http.StatusUnauthorized
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrHeadersSent), errors.Is(err, ErrNoHandler), errors.Is(err, errHost):
		return http.StatusInternalServerError
	}
	return http.StatusServiceUnavailable
}

// errHost marks what the host's own code did wrong.
var errHost = errors.New("session: refused by the host's own code")
