package bench_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/proxy"
	"github.com/gatewire/gatewire/session"
)

func through(t *testing.T, addr string) *proxy.Proxy {
	t.Helper()
	p, err := proxy.New(addr, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// A request of a signed-in visitor asks the store once, and once more when the
// use of the session is to be noted.
func TestS7_OneRoundTripARequest(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		addr, url := postgresDatabase(t)
		p := through(t, addr)
		store, _ := postgresStore(t, url(p.Addr()))
		countTurns(t, p, store)
	})
	t.Run("MariaDB", func(t *testing.T) {
		server := mariaServer(t)
		p := through(t, server.Addr())
		store, _ := mariaStore(t, server.Via(p.Addr()))
		countTurns(t, p, store)
	})
	t.Run("Redis", func(t *testing.T) {
		p := through(t, redisServer(t).Addr())
		countTurns(t, p, redisStore(t, p.Addr()))
	})
}

func countTurns(t *testing.T, p *proxy.Proxy, store session.Store) {
	seldom := newManager(t, store, &session.Options{ReapEvery: -1, TouchEvery: 20 * time.Minute})
	always := newManager(t, store, &session.Options{ReapEvery: -1, TouchEvery: time.Millisecond})

	var cookie *http.Cookie
	visit := func(m *session.Manager[data], method string, f func(w http.ResponseWriter, r *http.Request) error) {
		t.Helper()
		r := httptest.NewRequest(method, "/", nil)
		if cookie != nil {
			r.AddCookie(cookie)
		}
		w := httptest.NewRecorder()
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				w.WriteHeader(http.StatusTeapot)
				t.Error(err)
			}
		})).ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
		for _, c := range w.Result().Cookies() {
			if cookie = c; c.MaxAge < 0 {
				cookie = nil
			}
		}
	}
	// turns counts those of f, which has run before, on connections that have
	// been used. The driver of PostgreSQL sends a ping on one that was not for a
	// second: where this machine took so long, it is done again.
	last := time.Now()
	turns := func(f func()) int {
		t.Helper()
		for {
			before, pause := p.Turns(), time.Since(last)
			f()
			last = time.Now()
			if pause < 500*time.Millisecond {
				return p.Turns() - before
			}
		}
	}
	login := func(w http.ResponseWriter, r *http.Request) error { return seldom.Login(w, r, "user-1") }
	get := func(m *session.Manager[data]) func() {
		return func() {
			t.Helper()
			visit(m, "GET", func(_ http.ResponseWriter, r *http.Request) error {
				s, err := m.Authenticate(r)
				if err != nil {
					return err
				}
				again, err := m.Get(r.Context())
				if err == nil && (s.UserID() != "user-1" || again.ID() != s.ID()) {
					err = fmt.Errorf("session %q of user %q", again.ID(), s.UserID())
				}
				return err
			})
		}
	}
	later := func() { time.Sleep(3 * time.Millisecond) }

	visit(seldom, "POST", login)
	for range 2 { // the first statements of a connection are prepared
		get(seldom)()
		later()
		get(always)()
	}
	for range 20 {
		require.Equal(t, 1, turns(get(seldom)), "nothing to note")
		later()
		require.Equal(t, 2, turns(get(always)), "use of the session to be noted")
	}

	// What the others take is for README.md, and no promise.
	cookie = nil
	var token session.RefreshToken
	n := 0
	others := []struct {
		name string
		f    func()
	}{
		{"sign in", func() { visit(seldom, "POST", login) }},
		{"update", func() {
			visit(seldom, "POST", func(_ http.ResponseWriter, r *http.Request) error {
				n++
				return seldom.Update(r.Context(), func(d *data) error { d.N = n; return nil })
			})
		}},
		{"sign out", func() { visit(seldom, "POST", seldom.Logout) }},
		{"begin token", func() {
			var err error
			token, _, err = seldom.BeginToken(t.Context(), session.Start{UserID: "user-1"})
			require.NoError(t, err)
		}},
		{"refresh", func() {
			var err error
			token, _, err = seldom.Refresh(t.Context(), token.Reveal())
			require.NoError(t, err)
		}},
		{"revoke user", func() {
			_, err := seldom.RevokeUser(t.Context(), "user-1", session.ReasonRevoked)
			require.NoError(t, err)
		}},
	}
	for _, o := range others {
		o.f()
	}
	for range 3 {
		for _, o := range others {
			before, pause := p.Turns(), time.Since(last)
			o.f()
			last = time.Now()
			t.Logf("%-12s%2d round trips, %v after the one before", o.name, p.Turns()-before, pause.Round(time.Millisecond))
		}
	}
}
