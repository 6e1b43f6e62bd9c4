package accounts_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

// onceStore can be down.
type onceStore struct {
	accounts.Once
	down, takeDown atomic.Bool
}

func (o *onceStore) Take(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if o.down.Load() || o.takeDown.Load() {
		return false, errDown
	}
	return o.Once.Take(ctx, key, ttl)
}

func (o *onceStore) Taken(ctx context.Context, key string) (time.Time, bool, error) {
	if o.down.Load() {
		return time.Time{}, false, errDown
	}
	return o.Once.Taken(ctx, key)
}

// afterToken calls f when the token endpoint has answered.
type afterToken struct{ f func() }

func (a *afterToken) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if a.f != nil && strings.HasSuffix(r.URL.Path, "/token") {
		a.f()
	}
	return resp, err
}

// logoutWorld is a world with a provider that knows its logout pages, whose
// first user has the given sid.
func logoutWorld(t *testing.T, sid string, change ...func(*worldOptions)) (*world, *oidctest.Provider, *onceStore) {
	t.Helper()
	users := []oidctest.User{{Subject: "al", Email: mail, Name: "Al"}, {Subject: "bo", Email: "bo@example.org"}}
	if sid != "" {
		users[0].Claims = map[string]any{"sid": sid}
	}
	option, op := withProvider(t, users...)
	once := &onceStore{Once: accounts.NewMemoryOnce()}
	w := newWorld(t, append([]func(*worldOptions){option, func(o *worldOptions) { o.Once = once }}, change...)...)
	op.AllowRedirect(w.base + "/auth/dev/callback")
	op.AllowRedirect(w.base + "/auth/dev/logged-out")
	op.SendLogoutTo(w.base + "/auth/dev/backchannel")
	return w, op, once
}

// tell has the provider post a logout token, over HTTP.
func tell(t *testing.T, op *oidctest.Provider, want int, subject, sid string) {
	t.Helper()
	status, err := op.Logout(t.Context(), oidctest.Logout{Subject: subject, SID: sid})
	require.NoError(t, err)
	require.Equal(t, want, status)
}

// tokensWith signs a subject in at the provider's session sid, without a cookie.
func (w *world) tokensWith(op *oidctest.Provider, subject, sid string) (access, refresh string) {
	w.t.Helper()
	in, err := w.service.LoginWith(w.t.Context(), oidc.Profile{Issuer: op.Issuer(), Subject: subject, SID: sid}, accounts.Client{})
	require.NoError(w.t, err)
	tokens, err := in.Tokens(w.t.Context())
	require.NoError(w.t, err)
	return tokens.Access.Reveal(), tokens.Refresh.Reveal()
}

func (w *world) refreshes(refresh string) int {
	w.t.Helper()
	return w.browser().do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}).StatusCode
}

func TestO12_BackchannelLogoutEndsSessions(t *testing.T) {
	for name, by := range map[string]struct{ subject, sid string }{"sid": {"", "s1"}, "sub and sid": {"al", "s1"}, "sub alone": {"al", ""}} {
		t.Run("O12 by "+name, func(t *testing.T) {
			w, op, _ := logoutWorld(t, "s1")
			b := w.browser()
			b.signIn(t, "/auth/dev/login")
			require.Equal(t, 200, b.me().StatusCode)
			access, refresh := w.tokensWith(op, "al", "s1")
			require.Equal(t, 200, w.browser().me(bearer(access)...).StatusCode)
			otherAccess, otherRefresh := w.tokensWith(op, "al", "s2")
			boAccess, _ := w.tokensWith(op, "bo", "s3")
			strangerAccess := func() string {
				in, err := w.service.LoginWith(t.Context(), oidc.Profile{Issuer: "https://other.example", Subject: "al", SID: "s1"}, accounts.Client{})
				require.NoError(t, err)
				tokens, err := in.Tokens(t.Context())
				require.NoError(t, err)
				return tokens.Access.Reveal()
			}()

			tell(t, op, 200, by.subject, by.sid)

			require.Equal(t, 401, b.me().StatusCode, "the cookie")
			require.Equal(t, 401, w.browser().me(bearer(access)...).StatusCode, "the access token, at once")
			require.Equal(t, 400, w.refreshes(refresh), "the refresh token")
			want := 200
			if by.sid == "" {
				want = 401
			}
			require.Equal(t, want, w.browser().me(bearer(otherAccess)...).StatusCode, "another session of the subject")
			require.Equal(t, want == 200, w.refreshes(otherRefresh) == 200)
			require.Equal(t, 200, w.browser().me(bearer(boAccess)...).StatusCode, "another subject")
			require.Equal(t, 200, w.browser().me(bearer(strangerAccess)...).StatusCode, "the same names at another provider")
			require.Contains(t, w.kinds(), accounts.EventProviderLogout)

			// Whoever signs in again, with a session of the provider's that is new, is signed in.
			_, again := w.tokensWith(op, "al", "s9")
			require.Equal(t, 200, w.refreshes(again))
		})
	}
}

func TestO12_BackchannelAnswers(t *testing.T) {
	w, op, once := logoutWorld(t, "s1")
	b := w.browser()
	b.signIn(t, "/auth/dev/login")
	post := func(body any, header ...string) answer {
		t.Helper()
		a := w.browser().do("POST", "/auth/dev/backchannel", body, header...)
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		return a
	}
	token, err := op.LogoutToken(oidctest.Logout{SID: "s1"})
	require.NoError(t, err)
	form := url.Values{"logout_token": {token}}

	for _, down := range []*atomic.Bool{&w.store.down, &once.down, &once.takeDown} {
		down.Store(true)
		require.Equal(t, 503, post(form).StatusCode, "what could not be done is not said to be done")
		down.Store(false)
	}
	require.Equal(t, 200, b.me().StatusCode, "the session lives on")
	require.Equal(t, 400, post(object{"logout_token": token}).StatusCode)
	require.Equal(t, 400, post(url.Values{"logout_token": {token, token}}).StatusCode)
	require.Equal(t, 400, post(nil).StatusCode)
	require.Equal(t, 405, b.do("GET", "/auth/dev/backchannel?logout_token="+token, nil).StatusCode)
	require.Equal(t, 404, b.do("POST", "/auth/nobody/backchannel", form).StatusCode)
	require.Equal(t, 200, b.me().StatusCode)

	// Its signature guards it, not the Origin.
	require.Equal(t, 200, post(form, "Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site").StatusCode)
	require.Equal(t, 401, b.me().StatusCode)
	require.Equal(t, 400, post(form).StatusCode, "a replay")
	require.NotContains(t, w.logged.String(), token)

	for _, fault := range []oidctest.Fault{oidctest.LogoutAlgNone, oidctest.LogoutBadSignature, oidctest.LogoutWithNonce, oidctest.LogoutWrongAudience, oidctest.LogoutIDTokenInPlace} {
		c := w.browser()
		c.signIn(t, "/auth/dev/login")
		op.Inject(fault)
		tell(t, op, 400, "al", "s1")
		op.Clear()
		require.Equal(t, 200, c.me().StatusCode, "%s", fault)
	}
}

// A logout that comes while the sign-in it is about is under way, so that there
// is no session yet to end, wins all the same.
func TestO12_ALogoutDuringASignIn(t *testing.T) {
	for name, by := range map[string]struct{ subject, sid string }{"sid": {"", "s1"}, "sub and sid": {"al", "s1"}, "sub alone": {"al", ""}} {
		for when, hook := range map[string]func(*world, func()){
			"before the session":     func(w *world, f func()) { w.users.onByID = f },
			"just after the session": func(w *world, f func()) { w.store.onCreate = f },
		} {
			t.Run("O12 by "+name+" "+when, func(t *testing.T) {
				w, op, _ := logoutWorld(t, "s1")
				b := w.browser()
				tell(t, op, 200, by.subject, by.sid) // one from before is about another sign-in
				b.signIn(t, "/auth/dev/login")
				require.Equal(t, 200, b.me().StatusCode)
				user := b.me().json(t)["user"].(map[string]any)["id"].(string)
				require.Equal(t, 204, b.do("POST", "/auth/logout", nil).StatusCode)

				told := 0
				hook(w, func() {
					if told++; told == 1 {
						tell(t, op, 200, by.subject, by.sid)
					}
				})
				a := b.signIn(t, "/auth/dev/login")
				hook(w, nil)
				require.Positive(t, told)
				require.Equal(t, 403, a.StatusCode, a.body)
				require.Contains(t, a.body, "sign in again")
				require.Equal(t, 401, b.me().StatusCode)
				require.Nil(t, b.cookie())
				devices, err := w.service.Devices(t.Context(), user)
				require.NoError(t, err)
				require.Empty(t, devices, "no session is left")
				require.Contains(t, w.kinds(), accounts.EventLogoutRefused)

				b.signIn(t, "/auth/dev/login") // and the next one is let in
				require.Equal(t, 200, b.me().StatusCode)
			})
		}
	}
	for _, wrapped := range []bool{false, true} {
		within := func(o *worldOptions) { o.wrapped = wrapped }
		t.Run(fmt.Sprint("O12 no cookie is sent, Handler around: ", wrapped), func(t *testing.T) {
			w, op, _ := logoutWorld(t, "s1", within)
			w.store.onCreate = func() { tell(t, op, 200, "", "s1") }
			b := w.browser()
			a := b.signIn(t, "/auth/dev/login")
			require.Equal(t, 403, a.StatusCode, a.body)
			require.Nil(t, b.cookie())
		})
		t.Run(fmt.Sprint("O12 nor of a session that could not be ended, Handler around: ", wrapped), func(t *testing.T) {
			w, _, once := logoutWorld(t, "s1", within)
			w.store.onCreate = func() { once.down.Store(true); w.store.down.Store(true) }
			b := w.browser()
			a := b.signIn(t, "/auth/dev/login")
			w.store.down.Store(false)
			require.Equal(t, 503, a.StatusCode, a.body)
			require.Nil(t, b.cookie())
			require.Equal(t, 401, b.me().StatusCode)
		})
	}
	t.Run("O12 tokens", func(t *testing.T) {
		w, op, _ := logoutWorld(t, "")
		in, err := w.service.LoginWith(t.Context(), oidc.Profile{Issuer: op.Issuer(), Subject: "al", SID: "s1"}, accounts.Client{})
		require.NoError(t, err)
		tell(t, op, 200, "", "s1")
		_, err = in.Tokens(t.Context())
		require.ErrorIs(t, err, accounts.ErrProviderLogout)
		devices, err := w.service.Devices(t.Context(), in.User().ID)
		require.NoError(t, err)
		require.Empty(t, devices)
	})
	t.Run("O12 during the exchange", func(t *testing.T) {
		network := &afterToken{}
		w, op, _ := logoutWorld(t, "s1", func(o *worldOptions) { o.ProviderClient = &http.Client{Transport: network} })
		network.f = func() { tell(t, op, 200, "", "s1") }
		b := w.browser()
		require.Equal(t, 403, b.signIn(t, "/auth/dev/login").StatusCode)
		require.Equal(t, 401, b.me().StatusCode)
		network.f = nil
		b.signIn(t, "/auth/dev/login")
		require.Equal(t, 200, b.me().StatusCode)
	})
	t.Run("O12 a sign-in older than what is noted", func(t *testing.T) {
		w, op, _ := logoutWorld(t, "")
		p := oidc.Profile{Issuer: op.Issuer(), Subject: "al", SID: "s1", Received: time.Now().Add(-15 * time.Minute)}
		in, err := w.service.LoginWith(t.Context(), p, accounts.Client{})
		require.NoError(t, err)
		_, err = in.Tokens(t.Context())
		require.ErrorIs(t, err, accounts.ErrProviderLogout, "nobody could tell any more")
		p.Received = time.Now().Add(-10 * time.Minute)
		in, err = w.service.LoginWith(t.Context(), p, accounts.Client{})
		require.NoError(t, err)
		_, err = in.Tokens(t.Context())
		require.NoError(t, err)
	})
	t.Run("O12 at another provider", func(t *testing.T) {
		w, op, _ := logoutWorld(t, "")
		in, err := w.service.LoginWith(t.Context(), oidc.Profile{Issuer: "https://other.example", Subject: "al", SID: "s1"}, accounts.Client{})
		require.NoError(t, err)
		tell(t, op, 200, "", "s1")
		tell(t, op, 200, "al", "")
		_, err = in.Tokens(t.Context())
		require.NoError(t, err)
	})
	t.Run("O12 of another session", func(t *testing.T) {
		w, op, _ := logoutWorld(t, "s1")
		told := 0
		w.users.onByID = func() {
			if told++; told == 1 {
				tell(t, op, 200, "al", "s2")
				tell(t, op, 200, "bo", "")
			}
		}
		b := w.browser()
		b.signIn(t, "/auth/dev/login")
		w.users.onByID = nil
		require.Equal(t, 200, b.me().StatusCode)
	})
	t.Run("O12 when nobody can tell", func(t *testing.T) {
		w, _, once := logoutWorld(t, "s1")
		b := w.browser()
		once.down.Store(true)
		a := b.signIn(t, "/auth/dev/login")
		require.Equal(t, 503, a.StatusCode)
		require.Nil(t, b.cookie())
		once.down.Store(false)
		b.signIn(t, "/auth/dev/login")
		devices := b.do("GET", "/auth/sessions", nil).json(t)["sessions"].([]any)
		require.Len(t, devices, 1, "the one that could not be checked has ended")
		once.down.Store(true)
		require.Equal(t, 201, w.browser().register("pw@example.org").StatusCode, "passwords don't ask")
	})
}

func TestO13_LogoutAtTheProvider(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		w, op, _ := logoutWorld(t, "s1", func(o *worldOptions) { o.wrapped = wrapped })
		b := w.browser()
		b.signIn(t, "/auth/dev/login")
		old := b.cookie()
		require.NotNil(t, old)

		a := b.do("POST", "/auth/dev/logout", nil, "Origin", w.base)
		require.Equal(t, 303, a.StatusCode, a.body)
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		require.Nil(t, b.cookie())
		to, err := a.Location()
		require.NoError(t, err)
		require.Equal(t, op.Issuer()+"/end_session", to.Scheme+"://"+to.Host+to.Path)
		query := to.Query()
		require.NotEmpty(t, query.Get("id_token_hint"))
		require.Equal(t, op.ClientID(), query.Get("client_id"))
		require.Equal(t, w.base+"/auth/dev/logged-out", query.Get("post_logout_redirect_uri"))
		require.NotEmpty(t, query.Get("state"))
		require.Equal(t, 401, b.do("GET", "/auth/me", nil, "Cookie", old.Name+"="+old.Value).StatusCode, "dead on the server")

		a = b.do("GET", to.String(), nil)
		require.Equal(t, 303, a.StatusCode, a.body)
		require.True(t, strings.HasPrefix(a.Header.Get("Location"), w.base+"/auth/dev/logged-out?state="))
		require.Equal(t, 200, b.do("GET", a.Header.Get("Location"), nil).StatusCode)
		require.Equal(t, 200, b.do("GET", "/auth/dev/logged-out", nil).StatusCode)
	}
}

func TestO13_WhoeverSignsOut(t *testing.T) {
	w, _, _ := logoutWorld(t, "s1", func(o *worldOptions) { o.AllowedOrigins = []string{"https://spa.example"} })
	hint := func(a answer) bool {
		t.Helper()
		require.Equal(t, 303, a.StatusCode, a.body)
		to, err := a.Location()
		require.NoError(t, err)
		require.Equal(t, "app", to.Query().Get("client_id"))
		return to.Query().Has("id_token_hint")
	}
	t.Run("O13 without a session", func(t *testing.T) {
		require.False(t, hint(w.browser().do("POST", "/auth/dev/logout", nil)))
	})
	t.Run("O13 with a password's", func(t *testing.T) {
		b := w.browser()
		b.register("pw@example.org")
		require.False(t, hint(b.do("POST", "/auth/dev/logout", nil)))
		require.Equal(t, 401, b.me().StatusCode)
	})
	t.Run("O13 after somebody else", func(t *testing.T) {
		b, other := w.browser(), w.browser()
		b.signIn(t, "/auth/dev/login")
		other.signIn(t, "/auth/dev/login")
		require.Equal(t, 204, other.do("POST", "/auth/logout/all", nil).StatusCode)
		require.Equal(t, 401, b.me().StatusCode, "ended from elsewhere: the cookie with the ID token is left")
		b.register("next@example.org")
		require.False(t, hint(b.do("POST", "/auth/dev/logout", nil)), "the ID token of who was here before")
	})
	t.Run("O13 other origins", func(t *testing.T) {
		b := w.browser()
		b.signIn(t, "/auth/dev/login")
		for _, origin := range []string{"https://evil.example", "null"} {
			a := b.do("POST", "/auth/dev/logout", nil, "Origin", origin)
			require.Equal(t, 403, a.StatusCode)
			require.Equal(t, "cross-origin", a.problem(t))
		}
		require.Equal(t, 403, b.do("POST", "/auth/dev/logout", nil, "Sec-Fetch-Site", "cross-site").StatusCode)
		require.Equal(t, 405, b.do("GET", "/auth/dev/logout", nil).StatusCode)
		require.Equal(t, 404, b.do("POST", "/auth/nobody/logout", nil).StatusCode)
		require.Equal(t, 200, b.me().StatusCode)
		require.True(t, hint(b.do("POST", "/auth/dev/logout", nil, "Origin", "https://spa.example")))
		require.Equal(t, 401, b.me().StatusCode)
	})
	t.Run("O13 store down", func(t *testing.T) {
		b := w.browser()
		b.signIn(t, "/auth/dev/login")
		old := b.cookie()
		w.store.down.Store(true)
		a := b.do("POST", "/auth/dev/logout", nil)
		w.store.down.Store(false)
		require.Equal(t, 503, a.StatusCode)
		require.Empty(t, a.Header.Get("Location"))
		a = b.do("POST", "/auth/dev/logout", nil, "Cookie", old.Name+"="+old.Value)
		require.True(t, hint(a), "the hint is there still")
	})
	for name, signOut := range map[string]func(b *browser) int{
		"logout":     func(b *browser) int { return b.do("POST", "/auth/logout", nil).StatusCode },
		"logout all": func(b *browser) int { return b.do("POST", "/auth/logout/all", nil).StatusCode },
		"own device": func(b *browser) int {
			id := b.me().json(t)["session"].(map[string]any)["id"].(string)
			return b.do("DELETE", "/auth/sessions/"+id, nil).StatusCode
		},
	} {
		t.Run("O13 no hint is left by "+name, func(t *testing.T) {
			b := w.browser()
			b.signIn(t, "/auth/dev/login")
			require.Equal(t, http.StatusNoContent, signOut(b))
			require.False(t, hint(b.do("POST", "/auth/dev/logout", nil)))
		})
	}
}
