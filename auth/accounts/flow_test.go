package accounts_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The contract of every route, once along its happy path, with the session
// middleware around and without.
func TestRoutes(t *testing.T) {
	for name, wrapped := range map[string]bool{"alone": false, "inside session.Handler": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *worldOptions) { o.wrapped = wrapped })
			b := w.browser("203.0.113.7")

			a := b.register(" Al@Example.com ")
			require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
			require.Equal(t, "application/json", a.Header.Get("Content-Type"))
			user := a.json(t)["user"].(map[string]any)
			require.Equal(t, "Al@Example.com", user["email"])
			require.Equal(t, false, user["email_verified"])
			require.Equal(t, "Al", user["name"])
			require.Equal(t, "", user["picture"])
			require.Len(t, user, 6)
			created, err := time.Parse(time.RFC3339, user["created_at"].(string))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), created, time.Minute)
			require.True(t, strings.HasSuffix(user["created_at"].(string), "Z"))
			require.NotNil(t, b.cookie())

			me := b.me()
			require.Equal(t, 200, me.StatusCode, me.body)
			require.Equal(t, user, me.json(t)["user"])
			sess := me.json(t)["session"].(map[string]any)
			require.Equal(t, "cookie", sess["kind"])
			require.Len(t, sess, 4)
			ends, err := time.Parse(time.RFC3339, sess["expires_at"].(string))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(12*time.Hour), ends, time.Minute)

			other := w.browser("2001:db8::1")
			login := other.do("POST", "/auth/login", object{"email": "al@EXAMPLE.com", "password": goodPassword, "mode": "cookie"}, "User-Agent", "Phone 3")
			require.Equal(t, 200, login.StatusCode, login.body)
			require.Equal(t, user, login.json(t)["user"])

			list := b.do("GET", "/auth/sessions", nil)
			require.Equal(t, 200, list.StatusCode)
			devices := list.json(t)["sessions"].([]any)
			require.Len(t, devices, 2)
			byCurrent := map[bool]map[string]any{}
			for _, d := range devices {
				require.Len(t, d, 7)
				byCurrent[d.(map[string]any)["current"].(bool)] = d.(map[string]any)
			}
			require.Equal(t, sess["id"], byCurrent[true]["id"])
			require.Equal(t, "203.0.113.7", byCurrent[true]["ip"])
			require.Equal(t, "2001:db8::1", byCurrent[false]["ip"])
			require.Equal(t, "Phone 3", byCurrent[false]["user_agent"])
			require.Equal(t, "cookie", byCurrent[false]["kind"])

			require.Equal(t, 204, b.do("DELETE", "/auth/sessions/"+byCurrent[false]["id"].(string), nil).StatusCode)
			require.Equal(t, 404, b.do("DELETE", "/auth/sessions/"+byCurrent[false]["id"].(string), nil).StatusCode)
			require.Equal(t, 401, other.me().StatusCode)

			old := b.cookie().Value
			out := b.do("POST", "/auth/logout", nil)
			require.Equal(t, 204, out.StatusCode)
			require.Nil(t, b.cookie())
			require.Equal(t, 401, w.browser().me("Cookie", "session="+old).StatusCode, "dead on the server")
			require.Equal(t, 204, b.do("POST", "/auth/logout", nil).StatusCode, "also without a session")
			require.Equal(t, 204, b.do("POST", "/auth/logout", nil, "Cookie", "session="+old).StatusCode, "also with a dead one")
		})
	}
}

func TestLogoutEverywhere(t *testing.T) {
	w := newWorld(t)
	b, c := w.browser(), w.browser()
	b.register("al@example.com")
	require.Equal(t, 200, c.login("al@example.com", goodPassword).StatusCode)
	_, refresh := w.browser().tokens("al@example.com")
	require.Equal(t, 401, w.browser().do("POST", "/auth/logout/all", nil).StatusCode)

	require.Equal(t, 204, b.do("POST", "/auth/logout/all", nil).StatusCode)
	require.Nil(t, b.cookie())
	require.Equal(t, 401, c.me().StatusCode)
	require.Equal(t, 400, b.do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}).StatusCode)
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.do("POST", "/auth/register", object{"email": "al@example.com", "password": goodPassword, "mode": "token"})
	require.Equal(t, 201, a.StatusCode, a.body)
	require.Empty(t, a.Header.Values("Set-Cookie"))
	m := a.json(t)
	require.Equal(t, "Bearer", m["token_type"])
	require.EqualValues(t, 300, m["expires_in"])
	require.Equal(t, "al@example.com", m["user"].(map[string]any)["email"])
	access, refresh := m["access_token"].(string), m["refresh_token"].(string)

	token, err := w.verifier.Verify(t.Context(), access)
	require.NoError(t, err)
	require.Equal(t, m["user"].(map[string]any)["id"], token.UserID())
	require.Equal(t, "app", token.ClientID())

	me := b.me(bearer(access)...)
	require.Equal(t, 200, me.StatusCode, me.body)
	sess := me.json(t)["session"].(map[string]any)
	require.Equal(t, "token", sess["kind"])
	require.Equal(t, token.SessionID(), sess["id"])

	exchange := func(token string) answer {
		return b.do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {"app"}})
	}
	a = exchange(refresh)
	require.Equal(t, 200, a.StatusCode, a.body)
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	require.Equal(t, "no-cache", a.Header.Get("Pragma"))
	next := a.json(t)["refresh_token"].(string)
	require.NotEqual(t, refresh, next)
	require.Equal(t, 200, b.me(bearer(a.json(t)["access_token"].(string))...).StatusCode)
	require.Equal(t, next, exchange(refresh).json(t)["refresh_token"], "a lost answer, again")

	last := exchange(next).json(t)["refresh_token"].(string)
	stolen := exchange(refresh)
	require.Equal(t, 400, stolen.StatusCode)
	require.Equal(t, "invalid_grant", stolen.json(t)["error"])
	require.Equal(t, "invalid_grant", exchange(last).json(t)["error"], "a token used twice ends the session")
	gone := b.me(bearer(access)...)
	require.Equal(t, 401, gone.StatusCode, "at once, before exp")
	require.Equal(t, `Bearer error="invalid_token"`, gone.Header.Get("WWW-Authenticate"))
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.register("al@example.com")
	access, refresh := w.browser().tokens("al@example.com")
	for name, form := range map[string]url.Values{
		"unknown":      {"token": {"no such token"}, "token_type_hint": {"refresh_token"}},
		"access token": {"token": {access}},
		"known":        {"token": {refresh}},
		"known, again": {"token": {refresh}},
		"unknown hint": {"token": {"x"}, "token_type_hint": {"device"}},
	} {
		a := b.do("POST", "/auth/revoke", form)
		require.Equal(t, 200, a.StatusCode, name)
	}
	require.Equal(t, 401, w.browser().me(bearer(access)...).StatusCode)
	require.Equal(t, 200, b.me().StatusCode, "another session of the user")
}

func TestOAuthErrors(t *testing.T) {
	b := newWorld(t).browser()
	for name, c := range map[string]struct {
		path   string
		body   any
		status int
		code   string
	}{
		"unknown token":          {"/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}, 400, "invalid_grant"},
		"other grant":            {"/auth/token", url.Values{"grant_type": {"password"}, "username": {"x"}}, 400, "unsupported_grant_type"},
		"no grant":               {"/auth/token", url.Values{"refresh_token": {"x"}}, 400, "invalid_request"},
		"no token":               {"/auth/token", url.Values{"grant_type": {"refresh_token"}}, 400, "invalid_request"},
		"empty token":            {"/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {""}}, 400, "invalid_request"},
		"twice":                  {"/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x", "x"}}, 400, "invalid_request"},
		"JSON":                   {"/auth/token", object{"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_request"},
		"in the query":           {"/auth/token?grant_type=refresh_token&refresh_token=x", url.Values{}, 400, "invalid_request"},
		"too large":              {"/auth/token", url.Values{"grant_type": {strings.Repeat("x", 70_000)}}, 413, "invalid_request"},
		"revoke nothing":         {"/auth/revoke", url.Values{}, 400, "invalid_request"},
		"revoke, in the query":   {"/auth/revoke?token=x", url.Values{}, 400, "invalid_request"},
		"revoke, without a body": {"/auth/revoke", nil, 400, "invalid_request"},
	} {
		a := b.do("POST", c.path, c.body)
		require.Equal(t, c.status, a.StatusCode, name)
		require.Equal(t, c.code, a.json(t)["error"], name)
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"), name)
		require.Equal(t, "application/json", a.Header.Get("Content-Type"), name)
	}
}

// An access token for a cookie session: for the cookie alone.
func TestSessionToken(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	require.Equal(t, 401, b.do("POST", "/auth/session/token", nil).StatusCode)
	b.register("al@example.com")
	a := b.do("POST", "/auth/session/token", nil)
	require.Equal(t, 200, a.StatusCode, a.body)
	m := a.json(t)
	require.Len(t, m, 3, "an access token alone")
	access := m["access_token"].(string)
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	require.Empty(t, a.Header.Values("Set-Cookie"))

	token, err := w.verifier.Verify(t.Context(), access)
	require.NoError(t, err)
	require.Equal(t, b.me().json(t)["session"].(map[string]any)["id"], token.SessionID())

	// A copied access token can't make itself a new one.
	alone := w.browser()
	require.Equal(t, 200, alone.me(bearer(access)...).StatusCode)
	require.Equal(t, 401, alone.do("POST", "/auth/session/token", nil, bearer(access)...).StatusCode)
	require.Equal(t, 200, b.do("POST", "/auth/session/token", nil, bearer(access)...).StatusCode, "both, of one session")

	require.Equal(t, 204, b.do("POST", "/auth/logout", nil).StatusCode)
	require.Equal(t, 401, alone.me(bearer(access)...).StatusCode)
}

func TestChallenges(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.register("al@example.com")
	other := w.browser()
	other.register("bo@example.com")
	access, _ := w.browser().tokens("al@example.com")
	bo := other.do("POST", "/auth/session/token", nil).json(t)["access_token"].(string)
	own := b.do("POST", "/auth/session/token", nil).json(t)["access_token"].(string)

	for name, c := range map[string]struct {
		b         *browser
		header    []string
		status    int
		challenge string
	}{
		"nothing":                    {w.browser(), nil, 401, "Bearer"},
		"another scheme":             {w.browser(), []string{"Authorization", "Basic YTpi"}, 401, "Bearer"},
		"a bad token":                {w.browser(), bearer("x.y.z"), 401, `Bearer error="invalid_token"`},
		"a token cut short":          {w.browser(), bearer(access[:len(access)-3]), 401, `Bearer error="invalid_token"`},
		"a dead cookie":              {w.browser(), []string{"Cookie", "session=" + strings.Repeat("A", 43)}, 401, `Bearer error="invalid_token"`},
		"a good cookie, a bad token": {b, bearer("x.y.z"), 401, `Bearer error="invalid_token"`},
		"two users":                  {b, bearer(bo), 401, `Bearer error="invalid_token"`},
		"two sessions of one user":   {b, bearer(access), 401, `Bearer error="invalid_token"`},
		"both of one session":        {b, bearer(own), 200, ""},
	} {
		a := c.b.me(c.header...)
		require.Equal(t, c.status, a.StatusCode, name)
		require.Equal(t, c.challenge, a.Header.Get("WWW-Authenticate"), name)
		if c.status == 401 {
			require.NotEmpty(t, a.problem(t), name)
		}
	}
	require.Equal(t, 401, w.browser().do("GET", "/auth/me?access_token="+access, nil).StatusCode, "never from the query")
	require.Equal(t, 401, b.do("POST", "/auth/logout", nil, bearer(bo)...).StatusCode, "whose session is meant?")
	require.Equal(t, 200, b.me().StatusCode)
	require.Equal(t, 204, w.browser().do("POST", "/auth/logout", nil, bearer(access)...).StatusCode)
	require.Equal(t, 401, w.browser().me(bearer(access)...).StatusCode)
	require.Equal(t, 204, w.browser().do("POST", "/auth/logout", nil, bearer(access)...).StatusCode, "a session that ended before")
}

func TestJWKS(t *testing.T) {
	b := newWorld(t).browser()
	a := b.do("GET", "/.well-known/jwks.json", nil)
	require.Equal(t, 200, a.StatusCode)
	require.NotEmpty(t, a.json(t)["keys"])
	require.NotEmpty(t, a.Header.Get("ETag"))
	require.Contains(t, a.Header.Get("Cache-Control"), "max-age")
	require.NotContains(t, a.body, `"d"`)
}

func TestStoresDown(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.register("al@example.com")
	access, refresh := w.browser().tokens("al@example.com")

	requests := map[string]func() answer{
		"register": func() answer {
			return w.browser().do("POST", "/auth/register", object{"email": "bo@example.com", "password": goodPassword})
		},
		"login":       func() answer { return w.browser().login("al@example.com", goodPassword) },
		"login wrong": func() answer { return w.browser().login("al@example.com", "wrong password") },
		"me":          func() answer { return b.me() },
		"me by token": func() answer { return w.browser().me(bearer(access)...) },
		"refresh": func() answer {
			return w.browser().do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
		},
		"password": func() answer {
			return b.do("POST", "/auth/password", object{"current": goodPassword, "new": goodPassword + "!"})
		},
	}
	onlySessions := map[string]func() answer{
		"sessions":      func() answer { return b.do("GET", "/auth/sessions", nil) },
		"end session":   func() answer { return b.do("DELETE", "/auth/sessions/x", nil) },
		"session token": func() answer { return b.do("POST", "/auth/session/token", nil) },
		"logout all":    func() answer { return w.browser().do("POST", "/auth/logout/all", nil, bearer(access)...) },
		"revoke":        func() answer { return w.browser().do("POST", "/auth/revoke", url.Values{"token": {refresh}}) },
		"logout": func() answer {
			return w.browser().do("POST", "/auth/logout", nil, "Cookie", "session="+b.cookie().Value)
		},
	}
	check := func(all map[string]func() answer) {
		for name, do := range all {
			a := do()
			require.Equal(t, 503, a.StatusCode, "%s: %s", name, a.body)
			require.NotEmpty(t, a.Header.Get("Retry-After"), name)
			require.NotContains(t, a.body, "10.0.0.7", name)
			require.Empty(t, a.Header.Get("WWW-Authenticate"), name)
		}
	}
	w.users.down.Store(true)
	before := w.store.replaced.Load()
	check(requests)
	require.Equal(t, before, w.store.replaced.Load(), "a refresh that can't be answered doesn't use up the token")
	w.users.down.Store(false)
	w.store.down.Store(true)
	check(requests)
	check(onlySessions)
	cleared := onlySessions["logout"]()
	require.Contains(t, strings.Join(cleared.Header.Values("Set-Cookie"), ""), "session=;", "the cookie goes all the same")
	w.store.down.Store(false)

	require.Equal(t, 200, b.me().StatusCode, "nobody was signed out by it")
	a := w.browser().do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	require.Equal(t, 200, a.StatusCode, "nor by a refresh that failed: %s", a.body)
}

func TestCORS(t *testing.T) {
	const spa = "https://spa.example"
	w := newWorld(t, func(o *worldOptions) { o.AllowedOrigins = []string{spa} })
	b := w.browser()
	a := b.do("POST", "/auth/register", object{"email": "al@example.com", "password": goodPassword}, "Origin", spa, "Sec-Fetch-Site", "cross-site")
	require.Equal(t, 201, a.StatusCode, a.body)
	require.Equal(t, spa, a.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "true", a.Header.Get("Access-Control-Allow-Credentials"))
	require.Contains(t, a.Header.Values("Vary"), "Origin")

	a = b.do("OPTIONS", "/auth/login", nil, "Origin", spa, "Access-Control-Request-Method", "POST")
	require.Equal(t, 204, a.StatusCode)
	require.Equal(t, spa, a.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, a.Header.Get("Access-Control-Allow-Headers"), "Authorization")

	for _, evil := range []string{"https://evil.example", "https://spa.example.evil.example", "null", "http://spa.example"} {
		a = b.do("OPTIONS", "/auth/login", nil, "Origin", evil, "Access-Control-Request-Method", "POST")
		require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"), evil)
		a = b.me("Origin", evil)
		require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"), evil)
	}
	for _, w := range []*world{w, newWorld(t)} {
		require.Equal(t, 404, w.browser().do("OPTIONS", "/nowhere", nil).StatusCode)
		require.Equal(t, 404, w.browser().do("GET", "/auth/none", nil).StatusCode)
		require.Equal(t, 405, w.browser().do("GET", "/auth/login", nil).StatusCode)
	}
}
