package session_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

func TestS1_ChosenCookieIsNeverAdopted(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	chosen := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for _, value := range []string{chosen, "x", "", "../../etc", string(make([]byte, 5000))} {
		victim := newBrowser(m).with(value)
		_, err := victim.who()
		require.ErrorIs(t, err, session.ErrInvalid)
		require.Equal(t, "invalid_token", authError(err))

		resp := victim.update(t, increment)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NotEqual(t, value, victim.cookie())
		victim.login(t, "u1")
		require.NotEqual(t, value, victim.cookie())
		_, err = victim.with(value).who()
		require.ErrorIs(t, err, session.ErrInvalid, "the chosen value must not work afterwards either")
	}
}

func TestS2_SignInRenews(t *testing.T) {
	var ended []string
	m := newManager(t, nil, session.Options{})
	defer m.OnEnd(func(id, _, reason string) { ended = append(ended, id+" "+reason) })()
	b := newBrowser(m)

	b.update(t, increment)
	anonymous := b.cookie()
	require.NotEmpty(t, anonymous)
	first := b.login(t, "u1")
	require.NotEqual(t, anonymous, b.cookie())
	require.Equal(t, 1, first.Data().N, "the visitor's data is carried")
	_, err := b.with(anonymous).who()
	require.ErrorIs(t, err, session.ErrInvalid, "the token from before the sign-in is dead")

	t.Run("S2 the same user keeps the id", func(t *testing.T) {
		before := b.cookie()
		again := b.login(t, "u1")
		require.Equal(t, first.ID(), again.ID())
		require.Equal(t, 1, again.Data().N)
		require.NotEqual(t, before, b.cookie())
		_, err := b.with(before).who()
		require.ErrorIs(t, err, session.ErrInvalid)
		require.Empty(t, ended)
	})
	t.Run("S2 another user gets another session", func(t *testing.T) {
		before := b.cookie()
		other := b.login(t, "u2")
		require.NotEqual(t, first.ID(), other.ID())
		require.Zero(t, other.Data().N, "nothing of the first user's is carried")
		_, err := b.with(before).who()
		require.ErrorIs(t, err, session.ErrInvalid)
		require.Equal(t, []string{first.ID() + " " + string(session.ReasonReplaced)}, ended)
	})
	t.Run("S2 without the middleware", func(t *testing.T) {
		before := b.cookie()
		w := httptest.NewRecorder()
		require.NoError(t, m.Login(w, b.request(), "u2"))
		b.keep(w.Result())
		require.NotEqual(t, before, b.cookie())
		s, err := b.who()
		require.NoError(t, err)
		require.Equal(t, "u2", s.UserID())
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		_, err = b.with(before).who()
		require.ErrorIs(t, err, session.ErrInvalid)
	})
	t.Run("S2 Renew", func(t *testing.T) {
		s, err := b.who()
		require.NoError(t, err)
		before := b.cookie()
		b.do(func(w http.ResponseWriter, r *http.Request) { require.NoError(t, m.Renew(w, r)) })
		require.NotEqual(t, before, b.cookie())
		_, err = b.with(before).who()
		require.ErrorIs(t, err, session.ErrInvalid)
		after, err := b.who()
		require.NoError(t, err)
		require.Equal(t, s.ID(), after.ID())
		require.Equal(t, s.AuthTime(), after.AuthTime(), "renewing proves nothing about the user")

		err = m.Renew(httptest.NewRecorder(), newBrowser(m).request())
		require.ErrorIs(t, err, session.ErrNoSession)
		err = m.Renew(httptest.NewRecorder(), b.with(before).request())
		require.ErrorIs(t, err, session.ErrInvalid, "a dead token gets no new one")
	})
	require.Error(t, m.Login(httptest.NewRecorder(), b.request(), ""), "no user")
}

func TestS2_WhatTheRequestWroteIsCarried(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	b := newBrowser(m)
	b.do(func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, m.Update(r.Context(), increment))
		require.NoError(t, m.Login(w, r, "u1"))
		require.NoError(t, m.Update(r.Context(), increment))
	})
	s, err := b.who()
	require.NoError(t, err)
	require.Equal(t, 2, s.Data().N)
}

func TestS10_DeletionCookie(t *testing.T) {
	shape := session.Cookie{Name: "__Secure-sid", Path: "/app", Domain: "app.example", SameSite: http.SameSiteStrictMode}
	m := newManager(t, nil, session.Options{Cookie: shape})
	for name, clear := range map[string]func(http.ResponseWriter, *http.Request){
		"Logout":      func(w http.ResponseWriter, r *http.Request) { require.NoError(t, m.Logout(w, r)) },
		"ClearCookie": func(w http.ResponseWriter, _ *http.Request) { m.ClearCookie(w) },
	} {
		for _, inside := range []bool{true, false} {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "https://app.example/app", nil)
			var h http.Handler = http.HandlerFunc(clear)
			if inside {
				h = m.Handler(h)
			}
			h.ServeHTTP(w, r)
			require.Equal(t, []string{"__Secure-sid=; Path=/app; Domain=app.example; Max-Age=0; HttpOnly; Secure; SameSite=Strict"},
				w.Result().Header["Set-Cookie"], "%s inside=%t", name, inside)
			require.Equal(t, "no-store", w.Result().Header.Get("Cache-Control"))
		}
	}
	b := newBrowser(newManager(t, nil, session.Options{}))
	b.login(t, "u1")
	resp := b.do(func(w http.ResponseWriter, r *http.Request) {
		b.m.ClearCookie(w)
		require.NoError(t, b.m.Logout(w, r))
	})
	require.Equal(t, []string{cookieName + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}, resp.Header["Set-Cookie"])
}

func TestS12_TwoCookiesOfOneName(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	victim, attacker := newBrowser(m), newBrowser(m)
	victim.login(t, "victim")
	attacker.login(t, "attacker")
	dead := base64.RawURLEncoding.EncodeToString(make([]byte, 32))

	ask := func(values ...string) (*session.Session[data], error) {
		r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
		for _, value := range values {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: value})
		}
		return m.Authenticate(r)
	}
	for _, values := range [][]string{
		{attacker.cookie(), victim.cookie()},
		{victim.cookie(), attacker.cookie()},
		{victim.cookie(), dead, attacker.cookie()},
		{"a", "b", "c", "d", victim.cookie()}, // more than are looked up
	} {
		_, err := ask(values...)
		require.ErrorIs(t, err, session.ErrInvalid, "two live sessions are none")
	}
	for _, values := range [][]string{
		{dead, victim.cookie()}, {victim.cookie(), dead}, {"", victim.cookie()}, {victim.cookie(), victim.cookie()},
	} {
		s, err := ask(values...)
		require.NoError(t, err)
		require.Equal(t, "victim", s.UserID())
	}

	t.Run("S12 sign-out ends all that are presented", func(t *testing.T) {
		r := victim.request()
		r.AddCookie(&http.Cookie{Name: cookieName, Value: attacker.cookie()})
		require.NoError(t, m.Logout(httptest.NewRecorder(), r))
		for _, b := range []*browser{victim, attacker} {
			_, err := b.who()
			require.ErrorIs(t, err, session.ErrInvalid)
		}
	})
}

func TestS12_TooManyCookiesToSignOut(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	b := newBrowser(m)
	b.login(t, "u1")
	r := httptest.NewRequest(http.MethodPost, "https://app.example/", nil)
	for _, value := range []string{"a", "b", "c", "d", b.cookie()} {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: value})
	}
	w := httptest.NewRecorder()
	require.Error(t, m.Logout(w, r), "it can't be sure that the session ended")
	require.Contains(t, w.Header().Get("Set-Cookie"), "Max-Age=0")
}

func TestCookieAttributes(t *testing.T) {
	set := func(o session.Options) string {
		m := newManager(t, nil, o)
		w := httptest.NewRecorder()
		require.NoError(t, m.Login(w, httptest.NewRequest(http.MethodPost, "https://app.example/", nil), "u1"))
		c := w.Result().Cookies()[0]
		c.Raw, c.Value = "", "x"
		return c.String()
	}
	require.Equal(t, "__Host-session=x; Path=/; HttpOnly; Secure; SameSite=Lax", set(session.Options{}))
	require.Equal(t, "session=x; Path=/; HttpOnly; SameSite=Lax", set(session.Options{Cookie: session.Cookie{Insecure: true}}))
	require.Regexp(t, `^__Host-session=x; Path=/; Max-Age=(43199|43200); HttpOnly; Secure; SameSite=Lax$`,
		set(session.Options{Cookie: session.Cookie{Persistent: true}}))
}

func TestS3_EndedBetweenSignInAndRenewal(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	b := newBrowser(m)
	resp := b.do(func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, m.Login(w, r, "u1"))
		_, err := m.RevokeUser(r.Context(), "u1", session.ReasonRevoked)
		require.NoError(t, err)
		require.ErrorIs(t, m.Renew(w, r), session.ErrInvalid)
		w.WriteHeader(http.StatusAccepted)
	})
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Empty(t, resp.Cookies(), "the token of the sign-in names nothing any more")
}
