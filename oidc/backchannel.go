package oidc

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// endTimeout bounds the ending of sessions, which goes on when the provider
// hangs up.
const endTimeout = 10 * time.Second

// serveBackchannel takes a logout token from the provider's server (Back-Channel
// Logout 1.0 sections 2.5 to 2.8): 200 once the sessions have ended, 400 when
// the token is refused, 503 when it could not be told or done. Then it may be
// sent again: a token is used up by succeeding alone.
func (l *Login) serveBackchannel(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	err := l.backchannel(w, r)
	if err == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	f := asFailure(err)
	status, level, body := http.StatusBadRequest, slog.LevelWarn, `{"error":"invalid_request"}`
	if f.status >= 500 {
		status, level, body = http.StatusServiceUnavailable, slog.LevelError, `{"error":"temporarily_unavailable"}`
		setRetryAfter(w, max(f.retryAfter, time.Second))
	}
	l.log.Log(r.Context(), level, "oidc: back-channel logout failed", "status", status, "reason", f.reason.Error())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body+"\n")
}

func (l *Login) backchannel(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxCallbackBody)
	if err := r.ParseForm(); err != nil {
		return badRequest("back-channel logout: unreadable form")
	}
	form, err := singleParams(r.PostForm) // the body's, empty unless that is a form
	if err != nil {
		return err
	}
	if !form.Has("logout_token") {
		return badRequest("back-channel logout: no logout_token in a form")
	}
	t, err := l.verifyLogout(r.Context(), form.Get("logout_token"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endTimeout)
	defer cancel()
	// The jti is looked up before and taken after: a token whose sessions could
	// not be ended can come again, one that was used can't. Two deliveries at the
	// same time both end the same sessions, and one of them is told that it was late.
	_, used, err := l.once.Taken(ctx, t.once)
	if err != nil {
		return err
	}
	if used {
		return badRequest("logout token: its jti was used before")
	}
	if err := l.onLogout(ctx, t.ProviderLogout); err != nil {
		return err
	}
	first, err := l.once.Take(ctx, t.once, time.Until(t.ends)+clockSkew)
	if err != nil {
		return err
	}
	if !first {
		return badRequest("logout token: its jti was used at the same time")
	}
	l.log.InfoContext(ctx, "oidc: the provider has ended sessions", "by_sid", t.SID != "", "by_sub", t.Subject != "")
	return nil
}
