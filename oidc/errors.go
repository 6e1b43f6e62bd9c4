package oidc

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// failure is why a sign-in or sign-out ended: what the user is told, and the reason for
// the log. Reasons never hold codes, tokens, secrets or cookies.
type failure struct {
	status     int
	message    string
	reason     error
	retryAfter time.Duration // sent with 503
}

func (f *failure) Error() string { return f.reason.Error() }
func (f *failure) Unwrap() error { return f.reason }

const (
	messageStartOver   = "This sign-in has expired, was already used, or began in another browser. Please start again."
	messageBadCallback = "The answer that came back from the sign-in provider is not valid. Please start again."
	messageBadProof    = "The sign-in provider's answer could not be verified, so you were not signed in."
	messageBadAnswer   = "The sign-in provider gave an answer that can't be used. Please try again later."
	messageTimeout     = "The sign-in provider took too long to answer. Please try again."
	messageDown        = "The sign-in provider can't be reached at the moment. Please try again shortly."
	messageForeign     = "This sign-out was asked for by another site, so you are still signed in."
	messageSignedIn    = "You could not be signed out just now and may still be signed in. Please try again."
	messageOurs        = "You could not be signed in just now. Please try again shortly."
)

func badRequest(format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, message: messageBadCallback, reason: fmt.Errorf("oidc: "+format, args...)}
}

func startOver(format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, message: messageStartOver, reason: fmt.Errorf("oidc: "+format, args...)}
}

// refused is for a proof that does not hold: the provider's words, but wrong.
func refused(format string, args ...any) *failure {
	return &failure{status: http.StatusForbidden, message: messageBadProof, reason: fmt.Errorf("oidc: "+format, args...)}
}

func badAnswer(format string, args ...any) *failure {
	return &failure{status: http.StatusBadGateway, message: messageBadAnswer, reason: fmt.Errorf("oidc: "+format, args...)}
}

func timedOut(format string, args ...any) *failure {
	return &failure{status: http.StatusGatewayTimeout, message: messageTimeout, reason: fmt.Errorf("oidc: "+format, args...)}
}

func unavailable(format string, args ...any) *failure {
	return &failure{status: http.StatusServiceUnavailable, message: messageDown, reason: fmt.Errorf("oidc: "+format, args...), retryAfter: 5 * time.Second}
}

// asFailure finds the failure in err, or calls it ours: could not tell.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{status: http.StatusServiceUnavailable, message: messageOurs, reason: err, retryAfter: 5 * time.Second}
}
