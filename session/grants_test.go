package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// between is a store that lets something happen before Replace.
type between struct {
	session.Store
	before func()
	down   bool
}

func (b *between) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	if f := b.before; f != nil {
		b.before = nil
		f()
	}
	if b.down {
		return errors.New("down")
	}
	return b.Store.Replace(ctx, old, rec, ifRev)
}

func TestA9_SetGrants(t *testing.T) {
	type data struct{ N int }
	ctx := t.Context()
	start := session.Start{UserID: "ann", Scopes: []string{"read"}, Roles: []string{"owner"}}
	open := func(t *testing.T) (*between, *session.Manager[data]) {
		store := &between{Store: session.NewMemoryStore(nil)}
		m, err := session.New[data](store, nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = m.Close() })
		return store, m
	}
	grants := func(t *testing.T, m *session.Manager[data], id string) (scopes, roles []string) {
		s, err := m.Session(ctx, id)
		require.NoError(t, err)
		return s.Grants()
	}

	t.Run("A9 every session of the user, of either kind, and nobody else's", func(t *testing.T) {
		_, m := open(t)
		var cookie *http.Cookie
		var byCookie *session.Session[data]
		h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var err error
			byCookie, err = m.Begin(w, r, start)
			require.NoError(t, err)
			require.NoError(t, m.Update(r.Context(), func(d *data) error { d.N = 7; return nil }))
		}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
		cookie = w.Result().Cookies()[0]
		refresh, byToken, err := m.BeginToken(ctx, start)
		require.NoError(t, err)
		other := start
		other.UserID = "bob"
		_, bob, err := m.BeginToken(ctx, other)
		require.NoError(t, err)

		n, err := m.SetGrants(ctx, "ann", []string{"read", "write"}, nil)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		for _, id := range []string{byCookie.ID(), byToken.ID()} {
			scopes, roles := grants(t, m, id)
			require.Equal(t, []string{"read", "write"}, scopes)
			require.Empty(t, roles)
		}
		scopes, roles := grants(t, m, bob.ID())
		require.Equal(t, []string{"read"}, scopes)
		require.Equal(t, []string{"owner"}, roles)

		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(cookie)
		s, err := m.Authenticate(r)
		require.NoError(t, err)
		scopes, _ = s.Grants()
		require.Equal(t, []string{"read", "write"}, scopes)
		require.Equal(t, 7, s.Data().N, "and nothing else has changed")
		_, s, err = m.Refresh(ctx, refresh.Reveal())
		require.NoError(t, err)
		scopes, _ = s.Grants()
		require.Equal(t, []string{"read", "write"}, scopes)

		n, err = m.SetGrants(ctx, "nobody", nil, nil)
		require.NoError(t, err)
		require.Zero(t, n)
		_, err = m.SetGrants(ctx, "", nil, nil)
		require.Error(t, err)
	})
	t.Run("A9 a session that changes meanwhile keeps both changes", func(t *testing.T) {
		store, m := open(t)
		refresh, s, err := m.BeginToken(ctx, start)
		require.NoError(t, err)
		store.before = func() {
			_, _, err := m.Refresh(ctx, refresh.Reveal()) // another secret, under another key
			require.NoError(t, err)
		}
		n, err := m.SetGrants(ctx, "ann", nil, []string{"guest"})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		_, roles := grants(t, m, s.ID())
		require.Equal(t, []string{"guest"}, roles)
	})
	t.Run("A9 a session that ends meanwhile stays ended", func(t *testing.T) {
		store, m := open(t)
		_, s, err := m.BeginToken(ctx, start)
		require.NoError(t, err)
		store.before = func() {
			_, err := m.Revoke(ctx, "ann", s.ID(), session.ReasonRevoked)
			require.NoError(t, err)
		}
		n, err := m.SetGrants(ctx, "ann", nil, []string{"guest"})
		require.NoError(t, err)
		require.Zero(t, n)
		alive, err := m.Alive(ctx, s.ID())
		require.NoError(t, err)
		require.False(t, alive)
	})
	t.Run("A9 a store that is down is told", func(t *testing.T) {
		store, m := open(t)
		_, _, err := m.BeginToken(ctx, start)
		require.NoError(t, err)
		store.down = true
		_, err = m.SetGrants(ctx, "ann", nil, nil)
		require.Equal(t, http.StatusServiceUnavailable, session.StatusOf(err))
	})
	t.Run("A9 a request that goes away does not stop it", func(t *testing.T) {
		_, m := open(t)
		_, s, err := m.BeginToken(ctx, start)
		require.NoError(t, err)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		_, err = m.SetGrants(gone, "ann", nil, []string{"guest"})
		require.NoError(t, err)
		_, roles := grants(t, m, s.ID())
		require.Equal(t, []string{"guest"}, roles)
	})
	t.Run("A9 many at once", func(t *testing.T) {
		_, m := open(t)
		_, s, err := m.BeginToken(ctx, start)
		require.NoError(t, err)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				_, err := m.SetGrants(ctx, "ann", nil, []string{fmt.Sprint(i)})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		_, roles := grants(t, m, s.ID())
		require.Len(t, roles, 1)
		require.NotEqual(t, "owner", roles[0])
		require.WithinDuration(t, time.Now(), s.AuthTime(), time.Minute)
	})
}
