package accounts_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
)

// roles asks who a request comes from, and returns their roles.
func (b *browser) roles(t *testing.T, header ...string) (roles []string) {
	t.Helper()
	a := b.do("GET", "/roles", nil, header...)
	require.Equal(t, http.StatusOK, a.StatusCode, a.body)
	require.NoError(t, json.Unmarshal([]byte(a.body), &roles))
	return roles
}

func (w *world) tellRoles() {
	w.mux.HandleFunc("GET /roles", func(rw http.ResponseWriter, r *http.Request) {
		who, err := w.service.Authenticate(r)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusUnauthorized)
			return
		}
		_, roles := who.Grants()
		_ = json.NewEncoder(rw).Encode(append([]string{}, roles...))
	})
}

func (w *world) idOf(t *testing.T, email string) string {
	t.Helper()
	u, found, err := w.users.UserByEmail(t.Context(), email)
	require.NoError(t, err)
	require.True(t, found)
	return u.ID
}

// Sessions, tokens and sockets of somebody whose roles change, each through the
// parts that serve them.
func TestA9_GrantsReachSessionsTokensAndSockets(t *testing.T) {
	w := newWorld(t)
	w.tellRoles()
	ctx := t.Context()
	hub, err := realtime.New(w.base, realtime.Via(w.service.Authenticate), w.sessions, realtime.Rules{
		"staff:": func(ctx context.Context, who realtime.Identity, _ string) (realtime.Grant, error) {
			u, found, err := w.service.User(ctx, who.UserID())
			if err != nil {
				return realtime.Grant{}, err
			}
			if !found || !slices.Contains(u.Roles, "staff") {
				return realtime.Grant{}, realtime.ErrDenied
			}
			return realtime.Grant{}, nil
		},
	}, nil)
	require.NoError(t, err)
	w.mux.Handle("/realtime", hub)
	sockets := realtimetest.Serve(w.mux)
	t.Cleanup(func() {
		require.NoError(t, hub.Close())
		sockets.Close()
	})

	cookie, phone := w.browser(), w.browser()
	cookie.register("al@app.example")
	id := w.idOf(t, "al@app.example")
	access, refresh := phone.tokens("al@app.example")
	c := cookie.cookie()
	byCookie, err := sockets.Dial(ctx, "/realtime", http.Header{"Cookie": {c.Name + "=" + c.Value}})
	require.NoError(t, err)
	_, err = byCookie.Connect(ctx, "")
	require.NoError(t, err)
	byToken, err := sockets.Dial(ctx, "/realtime", nil)
	require.NoError(t, err)
	_, err = byToken.Connect(ctx, access)
	require.NoError(t, err)
	both := []*realtimetest.Client{byCookie, byToken}
	for _, s := range both {
		_, err := s.Subscribe(ctx, "staff:room", nil)
		require.ErrorContains(t, err, "permission denied")
	}

	// One of the staff from now on.
	require.NoError(t, w.service.SetGrants(ctx, id, []string{"orders:write"}, []string{"staff"}))
	require.NoError(t, hub.Reauthorize(ctx, id))
	require.Contains(t, w.kinds(), accounts.EventGrantsChanged)
	require.Equal(t, []string{"staff"}, cookie.roles(t))
	require.Empty(t, phone.roles(t, bearer(access)...), "a token says what it said")
	exchange := func() {
		t.Helper()
		a := phone.do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
		require.Equal(t, http.StatusOK, a.StatusCode, a.body)
		m := a.json(t)
		access, refresh = m["access_token"].(string), m["refresh_token"].(string)
	}
	exchange()
	require.Equal(t, []string{"staff"}, phone.roles(t, bearer(access)...))
	require.NoError(t, byToken.Refresh(ctx, access))
	for _, s := range both {
		_, err := s.Subscribe(ctx, "staff:room", nil)
		require.NoError(t, err)
	}
	require.NoError(t, hub.Publish(ctx, "staff:room", json.RawMessage(`1`)))
	for _, s := range both {
		p, err := s.Next(ctx)
		require.NoError(t, err)
		require.JSONEq(t, `1`, string(p.Publication.Data))
	}

	// And no longer.
	require.NoError(t, w.service.SetGrants(ctx, id, nil, nil))
	require.NoError(t, hub.Reauthorize(ctx, id))
	require.NoError(t, hub.Publish(ctx, "staff:room", json.RawMessage(`2`)))
	for _, s := range both {
		p, err := s.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, &realtimetest.Unsubscribe{Code: 2000, Reason: "permission denied"}, p.Unsubscribe)
		_, err = s.RPC(ctx, "anything", nil) // whatever was pushed before has come
		require.ErrorContains(t, err, "method not found")
		require.Empty(t, s.Pending())
	}
	require.Empty(t, cookie.roles(t))
	exchange()
	require.Empty(t, phone.roles(t, bearer(access)...))
	require.True(t, byCookie.Live() && byToken.Live())

	require.ErrorIs(t, w.service.SetGrants(ctx, "nobody", nil, nil), accounts.ErrNoUser)
}

// A sign-in has read the roles when they change, and its session is not there
// yet when they are given to all.
func TestA9_GrantsChangedDuringASignIn(t *testing.T) {
	for name, signIn := range map[string]func(t *testing.T, w *world) []string{
		"A9 by cookie": func(t *testing.T, w *world) []string {
			b := w.browser()
			require.Equal(t, http.StatusOK, b.login("al@app.example", goodPassword).StatusCode)
			return b.roles(t)
		},
		"A9 by token": func(t *testing.T, w *world) []string {
			b := w.browser()
			access, _ := b.tokens("al@app.example")
			return b.roles(t, bearer(access)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tellRoles()
			w.browser().register("al@app.example")
			id := w.idOf(t, "al@app.example")
			require.NoError(t, w.service.SetGrants(t.Context(), id, nil, []string{"owner"}))
			w.store.onCreate = func() { // stored with what was read; as if it were a moment earlier
				w.store.onCreate = nil
				require.NoError(t, w.users.Store.SetGrants(t.Context(), id, nil, []string{"guest"}))
			}
			require.Equal(t, []string{"guest"}, signIn(t, w))
		})
	}
	t.Run("A9 nobody can tell: no session", func(t *testing.T) {
		w := newWorld(t)
		w.browser().register("al@app.example")
		id := w.idOf(t, "al@app.example")
		before, err := w.service.Devices(t.Context(), id)
		require.NoError(t, err)
		w.store.onCreate = func() { w.store.onCreate = nil; w.users.down.Store(true) }
		require.Equal(t, http.StatusServiceUnavailable, w.browser().login("al@app.example", goodPassword).StatusCode)
		after, err := w.service.Devices(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, len(before), len(after))
	})
	t.Run("A9 two who change them at once", func(t *testing.T) {
		w := newWorld(t)
		w.tellRoles()
		b := w.browser()
		b.register("al@app.example")
		id := w.idOf(t, "al@app.example")
		// The first has stored its roles when the second does all of its own.
		w.users.onGrants = func() {
			w.users.onGrants = nil
			require.NoError(t, w.service.SetGrants(t.Context(), id, nil, []string{"second"}))
		}
		require.NoError(t, w.service.SetGrants(t.Context(), id, nil, []string{"first"}))
		require.Equal(t, []string{"second"}, b.roles(t))
	})
}
