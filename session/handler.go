package session

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
)

// Handler is the middleware: it refuses cross-origin state-changing requests
// (see [CSRF]), and lets next use Get, Update and the others. The session is
// loaded when it is first asked for. It is saved, and its cookie set, before
// the first byte of a final response; if that fails, the client gets
// Options.ErrorHandler's answer in place of next's, headers and all. A panic
// of next before that passes, with nothing saved and what the request began
// ended again. (What a middleware between recovers is none: its answer is one
// like others, with which everything is saved.)
//
// Only a response whose request read or wrote the session gets "Vary: Cookie"
// and "Cache-Control: no-store" (a "private" of next's own stays, unless a
// cookie is set). A handler that reads the session while the store is down is
// answered with 503, whatever it writes, unless that is a 5xx of its own.
func (m *Manager[D]) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.visitOf(r.Context()) != nil { // wrapped twice
			next.ServeHTTP(w, r)
			return
		}
		if m.config.skipCSRF == nil || !m.config.skipCSRF(r) {
			if err := m.CheckOrigin(r); err != nil {
				m.fail(w, r, err)
				return
			}
		}
		v := m.newVisit(r)
		v.outer = r.Context()
		v.inner = context.WithValue(v.outer, m.key, v)
		r = r.WithContext(v.inner)
		var before http.Header
		if len(w.Header()) > 0 {
			before = w.Header().Clone()
		}
		writing := &writer{ResponseWriter: w, http1: r.ProtoMajor == 1}
		withhold := func(err error) {
			v.abandon(r.Context())
			// What next meant to send goes, cookies of its own too; what stood
			// there before it (of an outer middleware) stays.
			h := w.Header()
			replaceAll(h, before)
			v.writeFailure(h)
			m.fail(w, r, err)
			writing.answered = h.Clone()
		}
		writing.commit = func(status int, hijack bool) error {
			err := v.commit(r.Context(), status, w.Header(), hijack)
			if err != nil {
				withhold(err)
			}
			return err
		}
		defer func() { // a panic, of next or of a change that commit ran again
			v.close()
			v.abandon(r.Context())
			if writing.answered == nil {
				return
			}
			// What next has set since would go out as trailers. And when it
			// aborts its response, as a reverse proxy does that can't write,
			// that is not the one under way.
			replaceAll(w.Header(), writing.answered)
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		next.ServeHTTP(writing.wrap(), r)
		if writing.begin(http.StatusOK, false) == errPanicked { // net/http answers 200 for next
			withhold(errPanicked)
		}
	})
}

func replaceAll(h, with http.Header) {
	clear(h)
	maps.Copy(h, with)
}

// CheckOrigin is the cross-origin check of Handler, for routes outside of it.
// A refusal is [ErrCrossOrigin].
func (m *Manager[D]) CheckOrigin(r *http.Request) error { return m.config.csrf.Check(r) }

// Authenticate returns the signed-in session whose cookie the request carries,
// with or without Handler around. Its errors have the method AuthError:
// [ErrNoSession] "none", [ErrInvalid] "invalid_token" for a cookie that names
// no live session, and "unavailable" when the store could not tell.
//
// With Handler around, the session is read once a request. After the response
// has begun, or with other cookies, it is read anew. Without it, the caller sees
// to Cache-Control and Vary.
func (m *Manager[D]) Authenticate(r *http.Request) (*Session[D], error) {
	v := m.visitOf(r.Context())
	if v == nil || v.isClosed() || !v.isOf(r) {
		v = m.newVisit(r)
	}
	return v.authenticate(r.Context())
}

// Get returns the visitor's session, from a request's context inside Handler.
// A visitor without one gets an empty session: no ID, no user, zero data. For
// who is calling, use Authenticate. The error means that the store could not
// tell, or is [ErrNoHandler].
func (m *Manager[D]) Get(ctx context.Context) (*Session[D], error) {
	v := m.visitOf(ctx)
	if v == nil {
		return nil, ErrNoHandler
	}
	return v.get(ctx)
}

// Update changes the visitor's data, from a request's context inside Handler.
// f runs at once, and again on newer data when another request has changed the
// session by the time this response begins and the data is saved; so f only
// changes *D. An error of f changes nothing and is returned, or replaces the
// response (409) when it is of a later run. A visitor without a session gets an
// anonymous one. ErrHeadersSent after the response has begun,
// ErrTooLarge for data over Options.MaxData.
//
// A request whose session ends, or whose secret is replaced, while it runs can
// no longer write: its response is replaced by an error (409, [ErrEnded]).
func (m *Manager[D]) Update(ctx context.Context, f func(*D) error) error {
	v := m.visitOf(ctx)
	if v == nil {
		return ErrNoHandler
	}
	return v.update(ctx, f)
}

// contextKey differs between managers, so that two can wrap one handler.
type contextKey struct{ manager any }

func (m *Manager[D]) visitOf(ctx context.Context) *visit[D] {
	v, _ := ctx.Value(m.key).(*visit[D])
	return v
}

// apart returns ctx without the visit. It is for stores, hooks and loggers,
// which run while the visit is locked: one that looked for the session in its
// context would wait for ever.
func (m *Manager[D]) apart(ctx context.Context) context.Context {
	v := m.visitOf(ctx)
	switch {
	case v == nil:
		return ctx
	case ctx == v.inner: // most often: nobody has derived another one from it
		return v.outer
	}
	return context.WithValue(ctx, m.key, (*visit[D])(nil))
}

// fail answers with the error, also when the host's ErrorHandler writes nothing:
// net/http would make a 200 of that.
func (m *Manager[D]) fail(w http.ResponseWriter, r *http.Request, err error) {
	answer := &writer{ResponseWriter: w, http1: r.ProtoMajor == 1, commit: func(int, bool) error { return nil }}
	m.config.onError(answer.wrap(), r, err)
	if !answer.begun {
		w.WriteHeader(StatusOf(err))
	}
}

// writeError is the default ErrorHandler.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	status := StatusOf(err)
	text := http.StatusText(status)
	if errors.Is(err, ErrEnded) {
		text = "Your session ended or was renewed while this request was handled. Please try again."
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}

// protect keeps caches from giving one visitor's page to another.
func protect(h http.Header, withCookie bool) {
	vary := false
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.TrimSpace(name)
			vary = vary || name == "*" || strings.EqualFold(name, "Cookie")
		}
	}
	if !vary {
		h.Add("Vary", "Cookie")
	}
	if withCookie || !isPrivate(h) {
		h.Set("Cache-Control", "no-store")
	}
}

func isPrivate(h http.Header) bool {
	for _, line := range h["Cache-Control"] {
		for directive := range strings.SplitSeq(line, ",") {
			directive = strings.ToLower(strings.TrimSpace(directive))
			if directive == "private" || directive == "no-store" {
				return true
			}
		}
	}
	return false
}
