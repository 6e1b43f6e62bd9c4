package accounts

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

// fail answers a request with what err means to the client, and logs what only
// an operator should know.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	if sessionGone(err) {
		auth.Refuse(w, r, &authError{code: auth.CodeInvalidToken, text: "accounts: the session ended during the request", err: err})
		return
	}
	p, retryAfter := problemOf(err)
	if p.Status >= 500 && !errors.Is(err, password.ErrBusy) {
		s.logFailure(r, err)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	setRetryAfter(w, retryAfter)
	p.Write(w)
}

// logFailure is for what the client is not told. A client that went away is no
// failure: anybody can do that all day.
func (s *Service) logFailure(r *http.Request, err error) {
	level := slog.LevelError
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		level = slog.LevelDebug
	}
	s.log.Log(r.Context(), level, "accounts: a request failed", "method", r.Method, "route", r.Pattern, "error", err)
}

// sessionGone is for a session or an account that ended while a request of its
// own was being handled.
func sessionGone(err error) bool {
	for _, gone := range []error{session.ErrInvalid, session.ErrNoSession, session.ErrEnded, session.ErrNotFound, ErrNoUser} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

func setRetryAfter(w http.ResponseWriter, d time.Duration) {
	if d > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
}

func problemOf(err error) (p auth.Problem, retryAfter time.Duration) {
	problem := func(status int, slug, title string) auth.Problem {
		return auth.Problem{Type: slug, Title: title, Status: status}
	}
	var request *requestError
	var throttled *ThrottledError
	var policy *password.PolicyError
	switch {
	case errors.As(err, &request):
		return request.problem, 0
	case errors.As(err, &throttled):
		return problem(http.StatusTooManyRequests, "too-many-attempts", "Too many attempts; try again later"), max(throttled.RetryAfter, time.Second)
	case errors.As(err, &policy):
		p = problem(http.StatusUnprocessableEntity, "password-refused", "Choose another password")
		p.Detail, p.Reason = policy.UserMessage(), string(policy.Reason)
		return p, 0
	case errors.Is(err, ErrCredentials):
		return problem(http.StatusUnauthorized, "wrong-credentials", "The email address or the password is wrong"), 0
	case errors.Is(err, ErrWrongPassword):
		return problem(http.StatusForbidden, "wrong-password", "The current password is wrong"), 0
	case errors.Is(err, ErrDisabled):
		return problem(http.StatusForbidden, "account-disabled", "This account is disabled"), 0
	case errors.Is(err, ErrEmail):
		return problem(http.StatusUnprocessableEntity, "invalid-email", "This is not an email address"), 0
	case errors.Is(err, ErrName):
		return problem(http.StatusUnprocessableEntity, "invalid-name", "This name is too long or has characters that can't be shown"), 0
	case errors.Is(err, ErrEmailTaken):
		return problem(http.StatusConflict, "email-taken", "There is an account with this email address"), 0
	case errors.Is(err, ErrConflict), errors.Is(err, session.ErrEpoch):
		return problem(http.StatusConflict, "changed-meanwhile", "The account has changed meanwhile; try again"), 0
	case errors.Is(err, session.ErrCrossOrigin):
		return problem(http.StatusForbidden, "cross-origin", "Requests from this origin are refused"), 0
	case errors.Is(err, password.ErrBusy):
		return problem(http.StatusServiceUnavailable, "busy", "Try again in a moment"), 2 * time.Second
	}
	p = problem(http.StatusServiceUnavailable, "unavailable", "Try again in a moment")
	if errors.Is(err, errPerhaps) {
		p.Detail = "Your password may have been changed. If the old one no longer works, use the new one."
	}
	return p, 5 * time.Second
}
