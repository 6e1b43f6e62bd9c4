package oidc

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	maxCallbackBody = 64 << 10
	maxCode         = 8 << 10
)

// serveCallback ends a flow: whatever happens, its cookie is gone afterwards.
func (l *Login) serveCallback(w http.ResponseWriter, r *http.Request) {
	privateHeaders(w)
	params, err := callbackParams(w, r)
	if err != nil {
		l.fail(w, r, "/", err)
		return
	}
	f, found, err := l.flows.end(w, r, params.Get("state"))
	if !found && r.Method == http.MethodPost && !params.Has(bouncedParam) {
		writeBouncePage(w, l.RedirectURL(), params)
		return
	}
	if err != nil {
		l.fail(w, r, "/", err)
		return
	}
	p, err := l.finish(r.Context(), f, params)
	if err != nil {
		l.fail(w, r, f.ReturnTo, err)
		return
	}
	answer := &answered{ResponseWriter: w}
	undo := func() {}
	if l.signOut != nil {
		if undo, err = l.hints.put(w, p.IDToken); err != nil {
			l.fail(w, r, f.ReturnTo, err)
			return
		}
	}
	err = l.then(answer, r, *p)
	switch {
	case err != nil && answer.wrote:
		l.log.ErrorContext(r.Context(), "oidc: sign-in failed after its response was written", "reason", err.Error())
	case err != nil:
		undo()
		l.fail(w, r, f.ReturnTo, thenFailure(err))
	case !answer.wrote:
		// Not http.Redirect, which takes dots and slashes in a fragment for the
		// path's; never 307, which would post the code on (RFC 9700 section 4.12).
		w.Header().Set("Location", escapeRunes(f.ReturnTo))
		w.WriteHeader(http.StatusSeeOther)
	}
}

// callbackParams reads the parameters from where the response mode puts them,
// and from there alone.
func callbackParams(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		if raw != "" {
			return nil, badRequest("callback: a POST with a query")
		}
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
			return nil, badRequest("callback: not a form")
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxCallbackBody)
		if err := r.ParseForm(); err != nil {
			return nil, badRequest("callback: unreadable form")
		}
		return singleParams(r.PostForm)
	}
	if len(raw) > maxCallbackBody {
		return nil, badRequest("callback: query too long")
	}
	params, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("callback: unreadable query")
	}
	return singleParams(params)
}

// singleParams refuses repeated parameters (RFC 6749 section 3.1): two readers
// could each believe another one.
func singleParams(params url.Values) (url.Values, error) {
	for name, values := range params {
		if len(values) != 1 {
			return nil, badRequest("callback: parameter %.40q appears twice", name)
		}
	}
	return params, nil
}

// finish turns the provider's answer into a profile. The state is proved
// already: f was opened with it.
func (l *Login) finish(ctx context.Context, f *flow, params url.Values) (*Profile, error) {
	received := time.Now()
	meta, _, err := l.metadata.get(ctx)
	if err != nil {
		return nil, err
	}
	// RFC 9207 section 2.4: also before an error response is believed.
	if params.Has("iss") && params.Get("iss") != l.provider.Issuer {
		return nil, refused("callback: iss is another issuer: mix-up")
	}
	if meta.issRequired && !params.Has("iss") {
		return nil, refused("callback: no iss, though the provider's metadata promises it")
	}
	if params.Has("error") {
		return nil, providerError(params)
	}
	code := params.Get("code")
	if code == "" || len(code) > maxCode {
		return nil, badRequest("callback: no usable code")
	}
	token, err := l.exchange(ctx, meta, f, code)
	if err != nil {
		return nil, err
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok || raw == "" {
		return nil, badAnswer("token: the answer holds no ID token")
	}
	proof := &proof{provider: l.provider, meta: meta, nonce: f.Nonce, accessToken: token.AccessToken, started: f.Started}
	c, err := proof.verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	more, err := l.userInfo(ctx, meta, c, token.AccessToken)
	if err != nil {
		return nil, err
	}
	p := l.provider.profile(c, more)
	p.IDToken, p.Token, p.Received = IDToken(raw), token, received
	return p, nil
}

// providerError is what the provider says instead of a code (RFC 6749 section
// 4.1.2.1, OpenID Connect Core 1.0 section 3.1.2.6).
func providerError(params url.Values) *failure {
	code := plainText(params.Get("error"), 60)
	description := plainText(params.Get("error_description"), 200)
	reason := fmt.Errorf("oidc: the provider answered with error %q (%q)", code, description)
	switch code {
	case "access_denied":
		return &failure{status: http.StatusForbidden, message: "The sign-in was cancelled or not permitted.", reason: reason}
	case "server_error":
		return &failure{status: http.StatusBadGateway, message: messageBadAnswer, reason: reason}
	case "temporarily_unavailable":
		return &failure{status: http.StatusServiceUnavailable, message: messageDown, reason: reason, retryAfter: 5 * time.Second}
	}
	message := "The sign-in provider refused: " + code
	if description != "" {
		message += " (" + description + ")"
	}
	return &failure{status: http.StatusBadRequest, message: message, reason: reason}
}

// exchange sends the code, once.
func (l *Login) exchange(ctx context.Context, meta *metadata, f *flow, code string) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	token, err := l.oauth2(meta).Exchange(gooidc.ClientContext(ctx, l.client), code, oauth2.VerifierOption(f.Verifier))
	var answer *oauth2.RetrieveError
	switch {
	case errors.As(err, &answer):
		// Its text may hold the whole answer, so only the code goes on.
		switch answer.ErrorCode {
		case "invalid_grant":
			return nil, startOver("token: the provider refused the code: invalid_grant")
		case "":
			return nil, statusFailure("token", answer.Response.StatusCode)
		}
		return nil, badAnswer("token: the provider answered %d %s", answer.Response.StatusCode, plainText(answer.ErrorCode, 60))
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, timedOut("token: no answer in time")
	case err != nil:
		var transport *url.Error
		if errors.As(err, &transport) {
			return nil, requestFailure(ctx, "token", err)
		}
		return nil, badAnswer("token: %w", err)
	case !strings.EqualFold(token.Type(), "Bearer"):
		return nil, badAnswer("token: type %s is not supported", plainText(token.Type(), 40))
	}
	return token, nil
}

// thenFailure reads what a LoginFunc's error says to the user.
func thenFailure(err error) *failure {
	var told interface {
		UserMessage() string
		HTTPStatus() int
	}
	if !errors.As(err, &told) {
		return &failure{status: http.StatusServiceUnavailable, message: messageOurs, reason: err, retryAfter: 5 * time.Second}
	}
	f := &failure{status: told.HTTPStatus(), message: told.UserMessage(), reason: err}
	if f.status < 400 || f.status > 599 {
		f.status = http.StatusServiceUnavailable
	}
	if f.status == http.StatusServiceUnavailable {
		f.retryAfter = 5 * time.Second
	}
	return f
}

// answered notes whether a LoginFunc wrote the response itself.
type answered struct {
	http.ResponseWriter
	wrote bool
}

func (a *answered) WriteHeader(status int) {
	a.wrote = a.wrote || status >= 200
	a.ResponseWriter.WriteHeader(status)
}

func (a *answered) Write(p []byte) (int, error) {
	a.wrote = true
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
