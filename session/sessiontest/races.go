package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/gatewire/gatewire/session"
)

// raceRules are what a manager promises whatever is under way at once. They
// hold only where each method of the store is one atomic step.
var raceRules = []rule{
	{"S3", "A sign-out that races a slow request is final: the request saves nothing and the session stays ended.", checkSignOutRace},
	{"S4", "A renewal that races a slow request is final: the request saves nothing and the old token stays dead.", checkRenewRace},
	{"S5", "Of concurrent changes to one session none is lost.", checkLostUpdate},
	{"S8", "A touch that races a sign-out does not bring the session back.", checkTouchRace},
	{"S22", "A sign-in whose credentials were checked before the user's sessions were ended never lives on.", checkSignInRace},
	{"J14", "A hundred concurrent refreshes of one token yield one session and one successor; a superseded token ends the session; a refresh that races a revocation does not bring it back.", checkRefreshRace},
}

type data struct{ N int }

// manager returns a manager on the run's store, seen through a peephole.
func (r *run) manager() (*session.Manager[data], *peephole) {
	r.Helper()
	p := &peephole{Store: r.store}
	m, err := session.New[data](p, &session.Options{
		ReapEvery: -1, TouchEvery: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	r.ok(err)
	return m, p
}

// peephole lets a check act between two calls of the manager. Each function
// runs once, before the call it is named after.
type peephole struct {
	session.Store
	mu                                sync.Mutex
	beforeTouch, beforeReplace, after func()
}

func (p *peephole) run(f *func()) {
	p.mu.Lock()
	g := *f
	*f = nil
	p.mu.Unlock()
	if g != nil {
		g()
	}
}

func (p *peephole) Touch(ctx context.Context, key session.Key, seen, idleExpires time.Time) error {
	p.run(&p.beforeTouch)
	return p.Store.Touch(ctx, key, seen, idleExpires)
}

func (p *peephole) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	p.run(&p.beforeReplace)
	err := p.Store.Replace(ctx, old, rec, ifRev)
	p.run(&p.after)
	return err
}

// serve runs one request with a cookie ("" for none) through the manager's
// Handler, and returns the response and the cookie the client has then.
func (r *run) serve(m *session.Manager[data], cookie string, h http.HandlerFunc) (status int, next string) {
	req := httptest.NewRequestWithContext(r.ctx, http.MethodGet, "https://app.example/", nil)
	if cookie != "" {
		req.AddCookie(&http.Cookie{Name: "__Host-session", Value: cookie})
	}
	w := httptest.NewRecorder()
	m.Handler(h).ServeHTTP(w, req)
	for _, c := range w.Result().Cookies() {
		if c.Name == "__Host-session" {
			cookie = c.Value
		}
	}
	return w.Code, cookie
}

// signIn returns the cookie and the session of a fresh sign-in.
func (r *run) signIn(m *session.Manager[data], cookie string, start session.Start) (string, *session.Session[data], error) {
	var s *session.Session[data]
	var err error
	_, cookie = r.serve(m, cookie, func(w http.ResponseWriter, req *http.Request) {
		s, err = m.Begin(w, req, start)
	})
	return cookie, s, err
}

func (r *run) mustSignIn(m *session.Manager[data]) (string, *session.Session[data]) {
	r.Helper()
	cookie, s, err := r.signIn(m, "", session.Start{UserID: "u1"})
	r.ok(err)
	return cookie, s
}

func increment(d *data) error { d.N++; return nil }

// slowly runs a request that changes the session, and meanwhile in the middle
// of it.
func (r *run) slowly(m *session.Manager[data], cookie string, meanwhile func()) (status int, next string) {
	r.Helper()
	return r.serve(m, cookie, func(w http.ResponseWriter, req *http.Request) {
		_, err := m.Authenticate(req)
		r.ok(err)
		r.ok(m.Update(req.Context(), increment))
		meanwhile()
		_, _ = io.WriteString(w, "done")
	})
}

func (r *run) dead(m *session.Manager[data], cookie, why string) {
	r.Helper()
	r.serve(m, cookie, func(_ http.ResponseWriter, req *http.Request) {
		_, err := m.Authenticate(req)
		r.must(errors.Is(err, session.ErrInvalid), "%s: Authenticate returns %v, want ErrInvalid", why, err)
	})
}

func (r *run) alive(m *session.Manager[data], id string, want bool) {
	r.Helper()
	got, err := m.Alive(r.ctx, id)
	r.ok(err)
	r.must(got == want, "Alive is %t, want %t", got, want)
}

func checkSignOutRace(r *run) {
	m, _ := r.manager()
	defer m.Close()
	cursor := r.cursor()
	cookie, s := r.mustSignIn(m)
	status, _ := r.slowly(m, cookie, func() {
		r.serve(m, cookie, func(w http.ResponseWriter, req *http.Request) { r.ok(m.Logout(w, req)) })
	})
	r.must(status == http.StatusConflict, "the slow request is answered with %d, want 409", status)
	r.dead(m, cookie, "after a sign-out")
	r.alive(m, s.ID(), false)
	list, err := m.List(r.ctx, "u1")
	r.ok(err)
	r.must(len(list) == 0, "List has %d sessions after a sign-out", len(list))
	r.must(len(r.endedSince(cursor, 10)) == 1, "the sign-out is not once in the log")
}

func checkRenewRace(r *run) {
	m, _ := r.manager()
	defer m.Close()
	cookie, s := r.mustSignIn(m)
	var renewed string
	status, _ := r.slowly(m, cookie, func() {
		_, renewed = r.serve(m, cookie, func(w http.ResponseWriter, req *http.Request) { r.ok(m.Renew(w, req)) })
	})
	r.must(status == http.StatusConflict, "the slow request is answered with %d, want 409", status)
	r.must(renewed != cookie, "Renew leaves the cookie")
	r.dead(m, cookie, "the token before a renewal")
	r.serve(m, renewed, func(_ http.ResponseWriter, req *http.Request) {
		got, err := m.Authenticate(req)
		r.ok(err)
		r.must(got.ID() == s.ID(), "a renewal changes the id")
		r.must(got.Data().N == 0, "the slow request changed the renewed session")
	})
}

func checkLostUpdate(r *run) {
	m, _ := r.manager()
	defer m.Close()
	cookie, s := r.mustSignIn(m)
	const n = 12
	var wg, ready sync.WaitGroup
	ready.Add(n)
	statuses := make(chan int, n)
	for range n {
		wg.Go(func() {
			status, _ := r.serve(m, cookie, func(w http.ResponseWriter, req *http.Request) {
				if err := m.Update(req.Context(), increment); err != nil {
					w.WriteHeader(http.StatusTeapot)
				}
				ready.Done()
				ready.Wait() // all have read the same revision
			})
			statuses <- status
		})
	}
	wg.Wait()
	for range n {
		status := <-statuses
		r.must(status == http.StatusOK, "a concurrent change is answered with %d, want 200", status)
	}
	got, err := m.Session(r.ctx, s.ID())
	r.ok(err)
	r.must(got.Data().N == n, "%d of %d concurrent changes are there", got.Data().N, n)
}

func checkTouchRace(r *run) {
	m, p := r.manager()
	defer m.Close()
	cookie, s := r.mustSignIn(m)
	time.Sleep(3 * time.Millisecond) // past TouchEvery
	touched := false
	p.beforeTouch = func() {
		touched = true
		_, err := r.store.End(r.ctx, s.ID(), session.ReasonRevoked, now())
		r.ok(err)
	}
	r.serve(m, cookie, func(_ http.ResponseWriter, req *http.Request) { _, _ = m.Authenticate(req) })
	r.must(touched, "the request did not touch the session")
	r.alive(m, s.ID(), false)
	r.dead(m, cookie, "after a touch that raced its end")
}

func checkSignInRace(r *run) {
	m, p := r.manager()
	defer m.Close()
	revoke := func(user string) {
		_, err := m.RevokeUser(r.ctx, user, session.ReasonPasswordChanged)
		r.ok(err)
	}
	none := func(user, why string) {
		r.Helper()
		list, err := m.List(r.ctx, user)
		r.ok(err)
		r.must(len(list) == 0, "%s: %d sessions live on", why, len(list))
	}

	// Between the check of the credentials and the sign-in.
	epoch := mustEpoch(r, "u1")
	revoke("u1")
	_, _, err := r.signIn(m, "", session.Start{UserID: "u1", Epoch: &epoch})
	r.must(errors.Is(err, session.ErrEpoch), "Begin returns %v, want ErrEpoch", err)
	_, _, err = m.BeginToken(r.ctx, session.Start{UserID: "u1", Epoch: &epoch})
	r.must(errors.Is(err, session.ErrEpoch), "BeginToken returns %v, want ErrEpoch", err)
	none("u1", "a sign-in with an old epoch")

	// In the middle of an anonymous session becoming the user's, before and
	// after it is written.
	for _, moment := range []string{"before", "after"} {
		status, cookie := r.serve(m, "", func(w http.ResponseWriter, req *http.Request) {
			r.ok(m.Update(req.Context(), increment))
		})
		r.must(status == http.StatusOK && cookie != "", "an anonymous session is answered with %d", status)
		epoch = mustEpoch(r, "u1")
		if moment == "before" {
			p.beforeReplace = func() { revoke("u1") }
		} else {
			p.after = func() { revoke("u1") }
		}
		_, _, err = r.signIn(m, cookie, session.Start{UserID: "u1", Epoch: &epoch})
		r.must(errors.Is(err, session.ErrEpoch), "Begin on an anonymous session returns %v, want ErrEpoch", err)
		none("u1", "a sign-in on an anonymous session")
	}

	// All at once: whatever began with the old epoch is gone in the end.
	const n = 8
	epoch = mustEpoch(r, "u2")
	var wg sync.WaitGroup
	failures := make(chan error, n)
	for i := range n {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, _, err = m.BeginToken(r.ctx, session.Start{UserID: "u2", Epoch: &epoch})
			} else {
				_, _, err = r.signIn(m, "", session.Start{UserID: "u2", Epoch: &epoch})
			}
			if err != nil && !errors.Is(err, session.ErrEpoch) {
				failures <- err
			}
		})
	}
	wg.Go(func() {
		if _, err := m.RevokeUser(r.ctx, "u2", session.ReasonDisabled); err != nil {
			failures <- err
		}
	})
	wg.Wait()
	close(failures)
	for err := range failures {
		r.ok(err)
	}
	none("u2", "sign-ins at once with RevokeUser")
}

func checkRefreshRace(r *run) {
	m, p := r.manager()
	defer m.Close()
	// One refresh wholly within another.
	token, _, err := m.BeginToken(r.ctx, session.Start{UserID: "u0"})
	r.ok(err)
	var inner string
	p.beforeReplace = func() {
		next, _, err := m.Refresh(r.ctx, token.Reveal())
		r.ok(err)
		inner = next.Reveal()
	}
	outer, _, err := m.Refresh(r.ctx, token.Reveal())
	r.ok(err)
	r.must(outer.Reveal() == inner, "a refresh within another yields a second successor")

	first, s, err := m.BeginToken(r.ctx, session.Start{UserID: "u1"})
	r.ok(err)
	const n = 100
	results := make(chan string, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			next, got, err := m.Refresh(r.ctx, first.Reveal())
			switch {
			case err != nil:
				results <- "error: " + err.Error()
			case got.ID() != s.ID():
				results <- "another session"
			default:
				results <- next.Reveal()
			}
		})
	}
	wg.Wait()
	close(results)
	successors := make(map[string]int)
	for next := range results {
		successors[next]++
	}
	r.must(len(successors) == 1, "concurrent refreshes yield %d different results, want one: %v", len(successors), counts(successors))
	list, err := m.List(r.ctx, "u1")
	r.ok(err)
	r.must(len(list) == 1, "concurrent refreshes leave %d sessions, want 1", len(list))
	var second string
	for second = range successors {
	}
	_, _, err = m.Refresh(r.ctx, second)
	r.ok(err)
	_, _, err = m.Refresh(r.ctx, first.Reveal())
	r.must(errors.Is(err, session.ErrRefreshInvalid), "a superseded token is answered with %v, want ErrRefreshInvalid", err)
	r.alive(m, s.ID(), false)

	token, s, err = m.BeginToken(r.ctx, session.Start{UserID: "u1"})
	r.ok(err)
	p.beforeReplace = func() {
		ended, err := m.Revoke(r.ctx, "u1", s.ID(), session.ReasonRevoked)
		r.ok(err)
		r.must(ended, "Revoke reports false")
	}
	_, _, err = m.Refresh(r.ctx, token.Reveal())
	r.must(errors.Is(err, session.ErrRefreshInvalid), "a refresh that raced Revoke returns %v, want ErrRefreshInvalid", err)
	r.alive(m, s.ID(), false)
}

// counts describes results without printing tokens.
func counts(results map[string]int) string {
	text := ""
	for result, n := range results {
		if len(result) > 5 && result[:6] == "error:" {
			text += fmt.Sprintf("%d x %s; ", n, result)
		} else {
			text += fmt.Sprintf("%d x a token; ", n)
		}
	}
	return text
}
