package accounts_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

func TestA1_UnknownUserLooksLikeWrongPassword(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.Limits.PerAccountNetwork = accounts.Limit{Burst: 1000, Every: time.Second} })
	w.browser().register(mail)
	b := w.browser()
	fastest := map[string]time.Duration{}
	alike := func() bool {
		for _, d := range fastest {
			if ratio := float64(d) / float64(fastest[mail]); ratio < 0.7 || ratio > 1.4 {
				return false
			}
		}
		return len(fastest) > 0
	}
	var first answer
	for round := 0; round < 20 && (round < 2 || !alike()); round++ {
		for _, email := range []string{mail, "nobody@example.com", "a@x@y", "no address at all"} {
			start := time.Now()
			a := b.login(email, "not the password")
			d := time.Since(start)
			require.Equal(t, 401, a.StatusCode)
			require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
			require.Equal(t, "wrong-credentials", a.problem(t))
			require.Empty(t, a.Header.Values("Set-Cookie"))
			a.Header.Del("Date")
			if first.Response == nil {
				first = a
			}
			require.Equal(t, first.body, a.body)
			require.Equal(t, first.Header, a.Header)
			if least, ok := fastest[email]; !ok || d < least {
				fastest[email] = d
			}
		}
	}
	require.True(t, alike(), "they take different times: %v", fastest)
}

func TestA2_OneAccountSlowsAndIsNotLockedOut(t *testing.T) {
	w := newWorld(t)
	w.browser().register("al@example.com")
	attacker := w.browser("2001:db8:1:2::bad")

	// In parallel, so that guesses which are under way count.
	var wg sync.WaitGroup
	answers := make([]answer, 40)
	for i := range answers {
		wg.Go(func() {
			a, err := attacker.try("POST", "/auth/login", object{"email": "al@example.com", "password": fmt.Sprint("guess ", i)})
			if err == nil {
				answers[i] = a
			}
		})
	}
	wg.Wait()
	refused := 0
	for _, a := range answers {
		require.NotNil(t, a.Response)
		if a.StatusCode == 429 {
			refused++
			require.Equal(t, "too-many-attempts", a.problem(t))
			seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
			require.NoError(t, err)
			require.Positive(t, seconds)
		} else {
			require.Equal(t, 401, a.StatusCode, a.body)
		}
	}
	require.Equal(t, 10, refused)

	require.Equal(t, 429, attacker.login("al@example.com", goodPassword).StatusCode)
	require.Equal(t, 429, attacker.login("AL@example.com", goodPassword).StatusCode, "another spelling")
	require.Equal(t, 429, w.browser("2001:db8:1:2:3::4").login("al@example.com", goodPassword).StatusCode, "the same /64")
	require.Equal(t, 200, w.browser("2001:db8:1:3::bad").login("al@example.com", goodPassword).StatusCode, "another /64")
	require.Equal(t, 200, w.browser().login("al@example.com", goodPassword).StatusCode, "elsewhere")
	require.Equal(t, 401, attacker.login("bo@example.com", goodPassword).StatusCode, "another account from there")
	require.Contains(t, w.kinds(), accounts.EventThrottled)
}

func TestA2_ManyNetworksOnlySlow(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) {
		o.Limits.PerAccount = accounts.Limit{Burst: 4, Every: time.Hour}
		o.Limits.PerAccountSlow = accounts.Limit{Burst: 1, Every: time.Hour}
	})
	w.browser().register("al@example.com")
	for i := range 4 {
		require.Equal(t, 401, w.browser(fmt.Sprint("203.0.113.", i)).login("al@example.com", "wrong").StatusCode)
	}
	slowed := w.browser("203.0.113.9")
	require.Equal(t, 401, slowed.login("al@example.com", "wrong").StatusCode)
	require.Equal(t, 429, slowed.login("al@example.com", "wrong").StatusCode)
	for range 3 {
		require.Equal(t, 200, w.browser("198.51.100.1").login("al@example.com", goodPassword).StatusCode, "the owner, elsewhere")
	}
}

// One account slows within 40 tries, also when a few networks share them.
func TestA2_OneAccountSlowsWhenNetworksShareTheGuesses(t *testing.T) {
	for _, networks := range []int{2, 20} {
		w := newWorld(t)
		w.browser().register("al@example.com")
		tries := 0
		for ; tries <= 40; tries++ {
			if w.browser(fmt.Sprint("203.0.113.", tries%networks)).login("al@example.com", "wrong").StatusCode == 429 {
				break
			}
		}
		require.LessOrEqual(t, tries, 40, "%d networks", networks)
		require.Equal(t, 200, w.browser("198.51.100.1").login("al@example.com", goodPassword).StatusCode, "the owner, elsewhere")
	}
}

func TestA2_OneNetworkOverManyAccounts(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.Limits.PerNetwork = accounts.Limit{Burst: 3, Every: time.Hour} })
	b := w.browser("203.0.113.1")
	for i := range 3 {
		require.Equal(t, 401, b.login(fmt.Sprintf("u%d@example.com", i), "wrong").StatusCode)
	}
	require.Equal(t, 429, b.login("u9@example.com", "wrong").StatusCode)
	require.Equal(t, 401, w.browser("203.0.113.2").login("u9@example.com", "wrong").StatusCode)
}

func TestA2_DefaultLimitsLeaveRoom(t *testing.T) {
	d := accounts.DefaultLimits()
	l := accounts.NewMemoryLimiter()
	for name, c := range map[string]struct {
		limit accounts.Limit
		n     int
	}{"sign-ups": {d.SignUps, 100}, "failed sign-ins": {d.PerNetwork, 50}} {
		for range c.n {
			wait, err := l.Take(t.Context(), name, c.limit)
			require.NoError(t, err)
			require.Zero(t, wait, name)
		}
		require.GreaterOrEqual(t, int(time.Minute/c.limit.Every), c.n, "and every minute after")
	}
	require.Less(t, d.PerAccountNetwork.Burst, 40)
}

func TestA2_SignUpsAndPasswordChangesAreLimited(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) {
		o.Limits.SignUps = accounts.Limit{Burst: 2, Every: time.Hour}
		o.Limits.PerAccountNetwork = accounts.Limit{Burst: 2, Every: time.Hour}
	})
	b := w.browser()
	b.register("al@example.com")
	w.browser().register("bo@example.com")
	a := w.browser().do("POST", "/auth/register", object{"email": "cy@example.com", "password": goodPassword})
	require.Equal(t, 429, a.StatusCode)

	change := func() int {
		return b.do("POST", "/auth/password", object{"current": "guess", "new": "another good password"}).StatusCode
	}
	require.Equal(t, []int{403, 403, 429}, []int{change(), change(), change()})
}

func TestClientIP(t *testing.T) {
	service := newWorld(t, func(o *worldOptions) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	}).service
	for name, c := range map[string]struct {
		peer string
		xff  []string
		want string
	}{
		"no proxy":                      {"203.0.113.1:1", nil, "203.0.113.1"},
		"a client that claims":          {"203.0.113.1:1", []string{"1.2.3.4"}, "203.0.113.1"},
		"a proxy":                       {"10.0.0.1:1", []string{"203.0.113.1"}, "203.0.113.1"},
		"a proxy, a client that claims": {"10.0.0.1:1", []string{"1.2.3.4, 203.0.113.1"}, "203.0.113.1"},
		"two headers":                   {"10.0.0.1:1", []string{"1.2.3.4", "203.0.113.1"}, "203.0.113.1"},
		"two proxies":                   {"10.0.0.1:1", []string{"1.2.3.4, 203.0.113.1,10.9.9.9"}, "203.0.113.1"},
		"IPv6":                          {"[fd00::1]:1", []string{"2001:db8::1"}, "2001:db8::1"},
		"IPv6 in brackets, with a port": {"[fd00::1]:1", []string{"[2001:db8::1]:99"}, "2001:db8::1"},
		"IPv4 with a port":              {"10.0.0.1:1", []string{"203.0.113.1:99"}, "203.0.113.1"},
		"mapped":                        {"[::ffff:10.0.0.1]:1", []string{"::ffff:203.0.113.1"}, "203.0.113.1"},
		"a zone":                        {"[fe80::1%eth0]:1", nil, "fe80::1"},
		"nonsense from a proxy":         {"10.0.0.1:1", []string{"203.0.113.1, unknown"}, "10.0.0.1"},
		"nothing from a proxy":          {"10.0.0.1:1", nil, "10.0.0.1"},
		"all are proxies":               {"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"a socket":                      {"@", []string{"203.0.113.1"}, "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header["X-Forwarded-For"] = c.xff
		require.Equal(t, c.want, service.ClientIP(r).String(), name)
	}
	require.Equal(t, "2001:db8:1:2::/64", accounts.NetworkOf(netip.MustParseAddr("2001:db8:1:2:3:4:5:6")))
	require.Equal(t, "203.0.113.1", accounts.NetworkOf(netip.MustParseAddr("203.0.113.1")))
}

const mail = "al@example.com"

func profile(change ...func(*oidc.Profile)) oidc.Profile {
	p := oidc.Profile{Provider: "dev", Issuer: "https://issuer.example", Subject: "1", Email: mail, EmailVerified: true, EmailAuthoritative: true, Name: "Al"}
	for _, f := range change {
		f(&p)
	}
	return p
}

func TestA3_AProviderEmailNeverReachesAnAccount(t *testing.T) {
	for name, p := range map[string]oidc.Profile{
		"unverified":           profile(func(p *oidc.Profile) { p.EmailVerified, p.EmailAuthoritative = false, false }),
		"verified":             profile(func(p *oidc.Profile) { p.EmailAuthoritative = false }),
		"authoritative":        profile(),
		"in another spelling":  profile(func(p *oidc.Profile) { p.Email = "AL@EXAMPLE.com" }),
		"with spaces around":   profile(func(p *oidc.Profile) { p.Email = " al@example.com " }),
		"of an account's user": profile(func(p *oidc.Profile) { p.Subject = "al@example.com" }),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.browser().register(mail)
			in, err := w.service.LoginWith(t.Context(), p, accounts.Client{})
			require.Nil(t, in)
			require.ErrorIs(t, err, accounts.ErrSignInOtherwise)
			var page interface {
				UserMessage() string
				HTTPStatus() int
			}
			require.ErrorAs(t, err, &page)
			require.Equal(t, 409, page.HTTPStatus())
			require.Contains(t, page.UserMessage(), "the way you did before")
			require.Equal(t, 200, w.browser().login(mail, goodPassword).StatusCode, "the account is as it was")
		})
	}
}

func TestLoginWith(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	first, err := w.service.LoginWith(ctx, profile(), accounts.Client{})
	require.NoError(t, err)
	require.True(t, first.User().EmailVerified)

	// The address may change and be anybody's; (issuer, subject) is who it is.
	again, err := w.service.LoginWith(ctx, profile(func(p *oidc.Profile) { p.Email = "new@example.com" }), accounts.Client{})
	require.NoError(t, err)
	require.Equal(t, first.User().ID, again.User().ID)
	_, err = w.service.LoginWith(ctx, profile(func(p *oidc.Profile) { p.Subject = "2" }), accounts.Client{})
	require.ErrorIs(t, err, accounts.ErrSignInOtherwise, "the address of another")
	var _ interface { // what oidc shows on a page
		UserMessage() string
		HTTPStatus() int
	} = &accounts.ThrottledError{}
	for _, p := range []oidc.Profile{profile(func(p *oidc.Profile) { p.Subject = "" }), profile(func(p *oidc.Profile) { p.Issuer = "" })} {
		_, err = w.service.LoginWith(ctx, p, accounts.Client{})
		require.Error(t, err, "everybody would be one user")
	}

	odd, err := w.service.LoginWith(ctx, profile(func(p *oidc.Profile) {
		p.Subject, p.Email, p.Name, p.Picture = "3", "not\nan address", "A\x00l "+strings.Repeat("ü", 200), "javascript:alert(1)"
	}), accounts.Client{})
	require.NoError(t, err)
	require.Empty(t, odd.User().Email)
	require.False(t, odd.User().EmailVerified)
	require.Empty(t, odd.User().Picture)
	require.LessOrEqual(t, len(odd.User().Name), 200)

	// N tabs, one account.
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			in, err := w.service.LoginWith(ctx, profile(func(p *oidc.Profile) { p.Subject, p.Email = "4", "four@example.com" }), accounts.Client{})
			if err == nil {
				ids[i] = in.User().ID
			}
		})
	}
	wg.Wait()
	require.NotEmpty(t, ids[0])
	require.Len(t, slices.Compact(ids), 1)
}

func TestA5_TheBodyNeverSelectsTheActor(t *testing.T) {
	w := newWorld(t)
	al, bo := w.browser(), w.browser()
	id := al.register("al@example.com").json(t)["user"].(map[string]any)["id"].(string)
	bo.register("bo@example.com")
	victim := al.me().json(t)["session"].(map[string]any)["id"].(string)

	for _, member := range []string{"user_id", "userId", "id", "sub", "session_id"} {
		a := bo.do("POST", "/auth/password", object{"current": goodPassword, "new": "another good password", member: id})
		require.Equal(t, 400, a.StatusCode, member)
	}
	require.Equal(t, 404, bo.do("DELETE", "/auth/sessions/"+victim, nil).StatusCode, "another user's session")
	for _, route := range []string{"/auth/me", "/auth/sessions"} {
		a := bo.do("GET", route+"?user_id="+id+"&sub="+id, nil, "X-User-Id", id, "X-Forwarded-User", id)
		require.Equal(t, 200, a.StatusCode)
		require.NotContains(t, a.body, id)
		require.NotContains(t, a.body, victim)
	}
	require.Equal(t, 204, bo.do("POST", "/auth/logout/all", object{"user_id": id}).StatusCode, "a body where there is none is not read")
	require.Equal(t, 401, bo.me().StatusCode)
	require.Equal(t, 200, al.me().StatusCode)
	require.Equal(t, 200, w.browser().login("al@example.com", goodPassword).StatusCode)
}

func TestA6_DisabledStaysDisabled(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	b := w.browser()
	id := b.register("bo@example.com").json(t)["user"].(map[string]any)["id"].(string)
	access, refresh := w.browser().tokens("bo@example.com")
	half, err := w.service.Login(ctx, accounts.Credentials{Email: "bo@example.com", Password: goodPassword})
	require.NoError(t, err)
	byProvider, err := w.service.LoginWith(ctx, profile(), accounts.Client{})
	require.NoError(t, err)

	require.NoError(t, w.service.SetDisabled(ctx, id, true))
	require.NoError(t, w.service.SetDisabled(ctx, byProvider.User().ID, true))
	require.Equal(t, 401, b.me().StatusCode, "the cookie")
	require.Equal(t, 401, w.browser().me(bearer(access)...).StatusCode, "the token")
	exchange := func() answer {
		return w.browser().do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	}
	require.Equal(t, "invalid_grant", exchange().json(t)["error"])
	a := w.browser().login("bo@example.com", goodPassword)
	require.Equal(t, 403, a.StatusCode)
	require.Equal(t, "account-disabled", a.problem(t))
	require.Equal(t, 403, w.browser().do("POST", "/auth/login", object{"email": "bo@example.com", "password": goodPassword, "mode": "token"}).StatusCode)
	require.Equal(t, 401, w.browser().login("bo@example.com", "wrong").StatusCode, "only its owner learns it")
	in, err := w.service.LoginWith(ctx, profile(), accounts.Client{})
	require.NoError(t, err)
	_, err = in.Tokens(ctx)
	require.ErrorIs(t, err, accounts.ErrDisabled)
	_, err = in.Cookie(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	require.ErrorIs(t, err, accounts.ErrDisabled)
	_, err = half.Tokens(ctx)
	require.ErrorIs(t, err, session.ErrEpoch, "a sign-in that was under way")
	require.ErrorIs(t, w.service.SetDisabled(ctx, "nobody", true), accounts.ErrNoUser)

	// Also when whoever disabled the account could not end its sessions.
	require.NoError(t, w.service.SetDisabled(ctx, id, false))
	require.Equal(t, 200, b.login("bo@example.com", goodPassword).StatusCode)
	_, refresh = w.browser().tokens("bo@example.com")
	require.NoError(t, w.users.SetDisabled(ctx, id, true, nil))
	require.Equal(t, "invalid_grant", exchange().json(t)["error"])
	require.Equal(t, 401, b.me().StatusCode, "the refresh ended all of it")
}

func TestA7_NoPasswordIsNoPassword(t *testing.T) {
	w := newWorld(t)
	in, err := w.service.LoginWith(t.Context(), profile(), accounts.Client{})
	require.NoError(t, err)
	for _, pw := range []string{"", "null", "undefined", " ", goodPassword, strings.Repeat("x", 5000)} {
		a := w.browser().login(mail, pw)
		require.Equal(t, 401, a.StatusCode, "%q", pw)
		require.Equal(t, "wrong-credentials", a.problem(t))
	}
	require.Equal(t, 400, w.browser().do("POST", "/auth/login", `{"email":"al@example.com","password":null}`).StatusCode)
	require.Equal(t, 400, w.browser().do("POST", "/auth/login", `{"email":"al@example.com"}`).StatusCode)

	tokens, err := in.Tokens(t.Context())
	require.NoError(t, err)
	for _, pw := range []string{"", "null"} {
		a := w.browser().do("POST", "/auth/password", object{"current": pw, "new": "another good password"}, bearer(tokens.Access.Reveal())...)
		require.Equal(t, 403, a.StatusCode)
	}
}

func TestA10_HostileBodies(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	const email, pw = `"email":"al@example.com"`, `"password":"` + goodPassword + `"`
	for name, body := range map[string]string{
		"empty":                 `{}`,
		"nothing":               ``,
		"null":                  `null`,
		"an array":              `[{` + email + `,` + pw + `}]`,
		"a string":              `"x"`,
		"not JSON":              `email=al`,
		"half":                  `{` + email + `,` + pw,
		"trailing object":       `{` + email + `,` + pw + `}{}`,
		"trailing byte":         `{` + email + `,` + pw + `}x`,
		"trailing comma":        `{` + email + `,` + pw + `,}`,
		"duplicate":             `{` + email + `,"email":"bo@example.com",` + pw + `}`,
		"duplicate, escaped":    `{` + email + `,"\u0065mail":"bo@example.com",` + pw + `}`,
		"unknown":               `{` + email + `,` + pw + `,"admin":"true"}`,
		"unknown, nested":       `{` + email + `,` + pw + `,"x":{"y":[1]}}`,
		"in capitals":           `{"EMAIL":"al@example.com",` + pw + `}`,
		"capitals besides":      `{` + email + `,"Email":"bo@example.com",` + pw + `}`,
		"marked":                `{` + email + `,` + pw + `,"name?":"x"}`,
		"a number":              `{"email":1,` + pw + `}`,
		"an object":             `{"email":{"$gt":""},` + pw + `}`,
		"a list":                `{"email":["al@example.com"],` + pw + `}`,
		"null password":         `{` + email + `,"password":null}`,
		"true":                  `{` + email + `,"password":true}`,
		"mode":                  `{` + email + `,` + pw + `,"mode":"admin"}`,
		"mode empty":            `{` + email + `,` + pw + `,"mode":""}`,
		"NUL in the email":      `{"email":"al@example.com\u0000",` + pw + `}`,
		"NUL in the password":   `{` + email + `,"password":"correct horse\u0000battery staple"}`,
		"NUL in the name":       `{` + email + `,` + pw + `,"name":"a\u0000b"}`,
		"newline in the name":   `{` + email + `,` + pw + `,"name":"a\nb"}`,
		"a long name":           `{` + email + `,` + pw + `,"name":"` + strings.Repeat("n", 201) + `"}`,
		"half a surrogate":      `{` + email + `,"password":"correct horse \ud800 staple"}`,
		"invalid UTF-8":         `{` + email + `,"password":"correct horse ` + "\xff" + ` staple"}`,
		"a raw control":         "{" + email + `,"password":"correct horse ` + "\x01" + ` staple"}`,
		"deep":                  strings.Repeat(`{"email":`, 10_000),
		"deep list":             `{"email":` + strings.Repeat(`[`, 30_000),
		"70 KB":                 `{` + email + `,"password":"` + strings.Repeat("x", 70_000) + `"}`,
		"10 MB":                 `{` + email + `,"password":"` + strings.Repeat("x", 10<<20) + `"}`,
		"a password of 5000":    `{` + email + `,"password":"` + strings.Repeat("xyz 7", 1000) + `"}`,
		"a short password":      `{` + email + `,"password":"short"}`,
		"a common password":     `{` + email + `,"password":"password123"}`,
		"the address as such":   `{` + email + `,"password":"al@example.com"}`,
		"byte order mark":       "\ufeff{" + email + `,` + pw + `}`,
		"comment":               `{/**/` + email + `,` + pw + `}`,
		"single quotes":         `{'email':'al@example.com'}`,
		"space of another kind": "\u00a0{" + email + `,` + pw + `}`,
	} {
		a, err := b.try("POST", "/auth/register", body)
		if err != nil && len(body) > 1<<20 {
			continue // the server hung up on what was too much
		}
		require.NoError(t, err, name)
		require.GreaterOrEqual(t, a.StatusCode, 400, "%s: %s", name, a.body)
		require.Less(t, a.StatusCode, 500, "%s: %s", name, a.body)
		require.NotEmpty(t, a.problem(t), name)
	}
	for name, media := range map[string]string{"form": "application/x-www-form-urlencoded", "text": "text/plain", "none": " ", "merge patch": "application/merge-patch+json", "prefix": "application/jsonx"} {
		a := b.do("POST", "/auth/register", "{"+email+","+pw+"}", "Content-Type", media)
		require.Equal(t, 415, a.StatusCode, name)
	}
	_, found, err := w.users.UserByEmail(t.Context(), mail)
	require.NoError(t, err)
	require.False(t, found, "something was stored")
	require.Equal(t, 201, b.do("POST", "/auth/register", " \t\r\n{"+email+","+pw+"} \n", "Content-Type", "application/json; charset=utf-8").StatusCode)
}

func TestA10_HostileAddresses(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.Limits.SignUps = accounts.Limit{Burst: 1, Every: time.Hour} })
	long := strings.Repeat("a", 64) + "@" + strings.Repeat(strings.Repeat("b", 61)+".", 3) + "com"
	for _, email := range []string{
		"", " ", "@", "a@", "@x", "a", "a@x@y", "a@x@good.example", "a b@x.y", "a@x y", "a@x.y\n", "\ta@x.y", "a@x.y\r\nBcc: c@x.y", "a\x00@x.y",
		"a@.x", "a@x.", "a@x..y", ".a@x.y", "a.@x.y", "a..b@x.y", `"a b"@x.y`, `"a"@x.y`, "a@[127.0.0.1]", "a(c)@x.y", "Al <a@x.y>", "a@x.y,b@x.y", "a@x.y;b@x.y",
		"a@-x.y", "a@x-.y", "a@x_y.z", "ä@x.y", "a@ä.y", "\u212aelvin@x.y", "a@x\u3002y", "a\u200b@x.y", "a@x.y\u00a0", "mailto:a@x.y", "a@x.y/z", "a\\@x.y",
		strings.Repeat("a", 65) + "@x.y", "a@" + strings.Repeat("b", 64) + ".y", long + "m",
	} {
		if _, err := accounts.ParseEmail(email); err == nil {
			t.Errorf("%q was taken", email)
		}
	}
	for in, want := range map[string]string{
		"a@x.y": "a@x.y", " a@x.y ": "a@x.y", "O'Neil+tag@Sub.Example.COM": "O'Neil+tag@Sub.Example.COM", "a@localhost": "a@localhost",
		"a.b-c_d@xn--bcher-kva.example": "a.b-c_d@xn--bcher-kva.example", "1@2.3": "1@2.3", long: long,
	} {
		got, err := accounts.ParseEmail(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
	}
	require.Equal(t, "o'neil@x.y", accounts.EmailKey("O'Neil@X.y"))
	require.Equal(t, "\u212a@x", accounts.EmailKey("\u212a@x"), "only ASCII folds")
	a := w.browser().do("POST", "/auth/register", object{"email": "a@x@y", "password": goodPassword})
	require.Equal(t, 422, a.StatusCode)
	require.Equal(t, "invalid-email", a.problem(t))
}

func FuzzA10_ParseObject(f *testing.F) {
	for _, seed := range []string{`{"email":"a","password":"b"}`, `{"email":"a","password":"b","mode":"token"}`, `{"email":"a","email":"b"}`, `{}`, `[]`, `{"email":"\ud800"}`, `{"email":"a","password":"b"}x`, `{"email`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := accounts.ParseObject(body, "email", "password", "mode?")
		if err != nil {
			return
		}
		require.Contains(t, got, "email")
		require.Contains(t, got, "password")
		for name, value := range got {
			require.Contains(t, []string{"email", "password", "mode"}, name)
			require.NotContains(t, value, "\x00")
		}
	})
}

func FuzzA10_ParseEmail(f *testing.F) {
	for _, seed := range []string{"a@x.y", " a@x.y ", "a@x@y", "\"a b\"@x", "a@[1.2.3.4]", "ä@x.y", "a@x.y\n", "\u212a@x.y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		email, err := accounts.ParseEmail(s)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(email), 254)
		require.Equal(t, 1, strings.Count(email, "@"))
		for _, r := range email {
			require.Greater(t, r, ' ')
			require.Less(t, r, rune(0x7f))
		}
		again, err := accounts.ParseEmail(accounts.EmailKey(email))
		require.NoError(t, err)
		require.Equal(t, accounts.EmailKey(email), again)
	})
}

func TestA11_DirtyPathsSkipNoLimit(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.Limits.PerAccountNetwork = accounts.Limit{Burst: 2, Every: time.Hour} })
	w.browser().register(mail)
	b := w.browser()
	for range 2 {
		require.Equal(t, 401, b.login(mail, "wrong").StatusCode)
	}
	addr := strings.TrimPrefix(w.base, "http://")
	for _, path := range []string{"/auth/login", "//auth/login", "/auth//login", "/auth/../auth/login", "/auth/./login", "/x/../auth/login", "/auth/login/", "/auth/login?x", "/auth/login%2f", "/auth%2flogin", "/%61uth/login", "/auth/login;x", "/AUTH/login", "/auth/\\login"} {
		r, err := http.NewRequest("POST", w.base, strings.NewReader(`{"email":"al@example.com","password":"`+goodPassword+`"}`))
		require.NoError(t, err)
		r.URL.Opaque = "//" + addr + path // as it is
		if strings.Contains(path, "\\") {
			r.URL.Opaque = ""
			r.URL.Path = path
		}
		r.Header.Set("Content-Type", "application/json")
		for _, client := range []*http.Client{b.client, {Timeout: time.Minute}} { // with redirects too
			r.Body, err = r.GetBody()
			require.NoError(t, err)
			res, err := client.Do(r)
			require.NoError(t, err, path)
			require.NoError(t, res.Body.Close())
			require.NotEqual(t, 200, res.StatusCode, path)
			require.Empty(t, res.Header.Values("Set-Cookie"), path)
		}
	}
}

func TestA12_CrossOriginRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.browser().register(mail)
	signedIn := w.browser()
	require.Equal(t, 200, signedIn.login(mail, goodPassword).StatusCode)
	host := strings.TrimPrefix(w.base, "http://")
	for name, header := range map[string][]string{
		"another origin":              {"Origin", "https://evil.example"},
		"null":                        {"Origin", "null"},
		"another port":                {"Origin", "http://127.0.0.1:1"},
		"another scheme":              {"Origin", "https://" + host},
		"same site":                   {"Sec-Fetch-Site", "same-site"},
		"cross site":                  {"Sec-Fetch-Site", "cross-site"},
		"an Origin that is just Host": {"Origin", "http://evil.example", "Host", "evil.example"},
		"a Referer does not help":     {"Origin", "https://evil.example", "Referer", w.base + "/"},
	} {
		b := w.browser()
		a := b.do("POST", "/auth/login", object{"email": mail, "password": goodPassword}, header...)
		require.Equal(t, 403, a.StatusCode, name)
		require.Equal(t, "cross-origin", a.problem(t))
		require.Empty(t, a.Header.Values("Set-Cookie"), name)
		for _, route := range []string{"/auth/register", "/auth/logout", "/auth/logout/all", "/auth/password", "/auth/session/token", "/auth/token", "/auth/revoke"} {
			require.Equal(t, 403, signedIn.do("POST", route, url.Values{"token": {"x"}}, header...).StatusCode, "%s: %s", name, route)
		}
		require.Equal(t, 403, signedIn.do("DELETE", "/auth/sessions/x", nil, header...).StatusCode, name)
	}
	require.Equal(t, 200, signedIn.me().StatusCode)
	require.Equal(t, 200, w.browser().do("POST", "/auth/login", object{"email": mail, "password": goodPassword}, "Origin", w.base, "Sec-Fetch-Site", "same-origin").StatusCode)
}

func TestA12_OriginThatEqualsHost(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("POST", "http://rebound.example/auth/logout", nil)
	r.Header.Set("Origin", "http://rebound.example")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	rec := httptest.NewRecorder()
	w.service.Handler().ServeHTTP(rec, r)
	require.Equal(t, 403, rec.Code)
}

// A provider's form_post comes from the provider's origin, and state guards it.
func TestA12_CallbackIsNotGuardedByOrigin(t *testing.T) {
	option, _ := withProvider(t)
	b := newWorld(t, option).browser()
	a := b.do("POST", "/auth/dev/callback", url.Values{"code": {"x"}, "state": {"y"}}, "Origin", "https://issuer.example", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, 400, a.StatusCode, "refused for its state: %s", a.body)
	require.Contains(t, a.Header.Get("Content-Type"), "text/html")
	require.Equal(t, 401, b.me().StatusCode)
}

func TestA14_PasswordChange(t *testing.T) {
	w := newWorld(t)
	b, other := w.browser(), w.browser()
	b.register(mail)
	require.Equal(t, 200, other.login(mail, goodPassword).StatusCode)
	access, refresh := w.browser().tokens(mail)
	before, id := b.cookie().Value, b.me().json(t)["session"].(map[string]any)["id"]

	change := func(current, new string, header ...string) answer {
		return b.do("POST", "/auth/password", object{"current": current, "new": new}, header...)
	}
	require.Equal(t, "wrong-password", change("wrong", "another good password").problem(t))
	refused := change(goodPassword, "short")
	require.Equal(t, 422, refused.StatusCode)
	require.Equal(t, "password-refused", refused.problem(t))
	require.Equal(t, "too_short", refused.json(t)["reason"])
	require.NotEmpty(t, refused.json(t)["detail"])
	require.Equal(t, before, b.cookie().Value)
	require.Equal(t, 200, other.me().StatusCode)

	a := change(goodPassword, "another good password")
	require.Equal(t, 204, a.StatusCode, a.body)
	require.NotEqual(t, before, b.cookie().Value)
	require.Equal(t, id, b.me().json(t)["session"].(map[string]any)["id"], "the same session")
	require.Equal(t, 401, w.browser().me("Cookie", "session="+before).StatusCode, "under a new secret")
	require.Equal(t, 401, other.me().StatusCode)
	require.Equal(t, 401, w.browser().me(bearer(access)...).StatusCode)
	require.Equal(t, 400, b.do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}).StatusCode)
	require.Equal(t, 401, w.browser().login(mail, goodPassword).StatusCode)
	require.Equal(t, 200, w.browser().login(mail, "another good password").StatusCode)

	// From a token session, which stays.
	a = w.browser().do("POST", "/auth/login", object{"email": mail, "password": "another good password", "mode": "token"})
	access, refresh = a.json(t)["access_token"].(string), a.json(t)["refresh_token"].(string)
	a = w.browser().do("POST", "/auth/password", object{"current": "another good password", "new": goodPassword}, bearer(access)...)
	require.Equal(t, 204, a.StatusCode, a.body)
	require.Equal(t, 401, b.me().StatusCode)
	require.Equal(t, 200, w.browser().me(bearer(access)...).StatusCode)
	require.Equal(t, 200, b.do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}).StatusCode)
}

// A sign-in that has read the old hash must not outlive the change of the
// password, whenever in between the change comes.
func TestA14_PasswordChangeBeatsASignIn(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.register(mail)
	for read := 1; read <= 2; read++ { // after the first read of the user, and after the second
		current, new := goodPassword, "another good password"
		if read == 2 {
			current, new = new, current
		}
		who, err := w.service.Authenticate(requestWith(t, w, b))
		require.NoError(t, err)
		reads := 0
		w.users.onByID = func() {
			if reads++; reads != 1 {
				return
			}
			w.users.onByID = nil
			require.NoError(t, w.service.ChangePassword(context.Background(), who, password.Password(current), password.Password(new), accounts.Client{}))
		}
		in, err := w.service.Login(t.Context(), accounts.Credentials{Email: mail, Password: password.Password(current)})
		require.NoError(t, err, "the old hash was read")
		_, err = in.Tokens(t.Context())
		require.ErrorIs(t, err, session.ErrEpoch)
		_, err = in.Cookie(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
		require.ErrorIs(t, err, session.ErrEpoch)
	}
}

// requestWith is a request with b's cookie.
func requestWith(t *testing.T, w *world, b *browser) *http.Request {
	t.Helper()
	r := httptest.NewRequest("GET", w.base+"/", nil)
	r.AddCookie(b.cookie())
	return r
}

func TestA15_ParallelSignUpsMakeOneAccount(t *testing.T) {
	w := newWorld(t)
	codes := make([]int, 6)
	var wg sync.WaitGroup
	for i := range codes {
		b := w.browser()
		wg.Go(func() {
			a, err := b.try("POST", "/auth/register", object{"email": []string{mail, "AL@Example.com"}[i%2], "password": goodPassword})
			if err == nil {
				codes[i] = a.StatusCode
			}
		})
	}
	wg.Wait()
	slices.Sort(codes)
	require.Equal(t, []int{201, 409, 409, 409, 409, 409}, codes)
	a := w.browser().do("POST", "/auth/register", object{"email": mail, "password": goodPassword})
	require.Equal(t, "email-taken", a.problem(t))
}

func TestOutdatedHashesAreReplaced(t *testing.T) {
	w := newWorld(t)
	w.browser().register(mail)
	ctx := t.Context()
	u, _, err := w.users.UserByEmail(ctx, mail)
	require.NoError(t, err)
	strong, err := password.New(&password.Options{Argon2id: password.Argon2id46MiB()})
	require.NoError(t, err)
	old, err := strong.Hash(ctx, goodPassword)
	require.NoError(t, err)
	require.NoError(t, w.users.SetPassword(ctx, u.ID, u.Password, old, nil))

	require.Equal(t, 401, w.browser().login(mail, "wrong").StatusCode)
	same, _, err := w.users.UserByID(ctx, u.ID)
	require.NoError(t, err)
	require.Equal(t, string(old), string(same.Password))
	require.Equal(t, 200, w.browser().login(mail, goodPassword).StatusCode)
	renewed, _, err := w.users.UserByID(ctx, u.ID)
	require.NoError(t, err)
	require.NotEqual(t, string(old), string(renewed.Password))
	require.Equal(t, 200, w.browser().login(mail, goodPassword).StatusCode)
}

func TestBusy(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) {
		o.password = password.Options{MemoryBudget: 20 << 20, MaxWait: -1}
	})
	w.browser().register(mail)
	var wg sync.WaitGroup
	codes := make([]int, 12)
	for i := range codes {
		b := w.browser()
		wg.Go(func() {
			a, err := b.try("POST", "/auth/login", object{"email": mail, "password": goodPassword})
			if err == nil {
				codes[i] = a.StatusCode
				if a.StatusCode == 503 && a.Header.Get("Retry-After") == "" {
					codes[i] = 0
				}
			}
		})
	}
	wg.Wait()
	require.Contains(t, codes, 200)
	require.Contains(t, codes, 503)
	require.NotContains(t, codes, 0)
	require.NotContains(t, codes, 401)
}

func TestNothingSecretIsLogged(t *testing.T) {
	w := newWorld(t)
	b := w.browser("203.0.113.7")
	b.register(mail)
	access, refresh := w.browser().tokens(mail)
	b.login(mail, "my wrong password 77")
	b.login("password-in-the-email-field", "x")
	b.do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	b.do("POST", "/auth/password", object{"current": goodPassword, "new": "another good password"})
	b.do("POST", "/auth/logout", nil)
	w.users.down.Store(true)
	b.login(mail, goodPassword)

	log := w.logged.String()
	for _, secret := range []string{goodPassword, "my wrong password 77", "password-in-the-email-field", "another good password", mail, access, refresh, "$argon2id"} {
		require.NotContains(t, log, secret)
	}
	require.Contains(t, log, "203.0.113.7")
	for _, kind := range []accounts.EventKind{accounts.EventRegistered, accounts.EventSignedIn, accounts.EventSignInFailed, accounts.EventPasswordChanged, accounts.EventSignedOut} {
		require.Contains(t, w.kinds(), kind)
		require.Contains(t, log, string(kind))
	}
	tokens := accounts.Tokens{}
	require.Contains(t, fmt.Sprintf("%v %+v", tokens, tokens.Access), "REDACTED")
}

// A client can't fill the log with errors by going away.
func TestClientsThatGoAwayAreNoFailures(t *testing.T) {
	w := newWorld(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range [][3]string{
		{"/auth/login", "application/json", `{"email":"al@example.com","password":"wrong"}`},
		{"/auth/token", "application/x-www-form-urlencoded", "grant_type=refresh_token&refresh_token=x"},
	} {
		send := func(ctx context.Context) {
			r := httptest.NewRequestWithContext(ctx, "POST", c[0], strings.NewReader(c[2]))
			r.Header.Set("Content-Type", c[1])
			w.mux.ServeHTTP(httptest.NewRecorder(), r)
		}
		before := strings.Count(w.logged.String(), `"level":"ERROR"`)
		send(gone)
		require.Equal(t, before, strings.Count(w.logged.String(), `"level":"ERROR"`), c[0])
		w.users.down.Store(true)
		send(gone)
		w.users.down.Store(false)
		require.Equal(t, before+1, strings.Count(w.logged.String(), `"level":"ERROR"`), "%s: a store that is down is one", c[0])
	}
}

// withProvider adds a provider named dev.
func withProvider(t *testing.T, users ...oidctest.User) (func(*worldOptions), *oidctest.Provider) {
	t.Helper()
	op := oidctest.NewServer(t, &oidctest.Options{Users: users, AutoPick: true})
	return func(o *worldOptions) {
		p := oidc.Generic(op.Issuer(), op.ClientID(), op.ClientSecret())
		p.Name = "dev"
		o.Providers = []*oidc.Provider{p}
	}, op
}

// signIn goes through the whole flow and returns the last answer.
func (b *browser) signIn(t *testing.T, path string) answer {
	t.Helper()
	a := b.do("GET", path, nil)
	for range 5 {
		if a.StatusCode != 302 && a.StatusCode != 303 {
			break
		}
		next, err := a.Location()
		require.NoError(t, err)
		if strings.HasPrefix(next.String(), b.w.base) && !strings.Contains(next.Path, "/callback") {
			break
		}
		a = b.do("GET", next.String(), nil)
	}
	return a
}

func TestA13_ProviderSignInFetchesNoPicture(t *testing.T) {
	fetched := make(chan string, 10)
	pictures := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { fetched <- r.URL.Path }))
	t.Cleanup(pictures.Close)
	option, op := withProvider(t, oidctest.User{Subject: "s1", Email: mail, Name: "Al", Picture: pictures.URL + "/al.png"})
	w := newWorld(t, option)
	op.AllowRedirect(w.base + "/auth/dev/callback")
	b := w.browser()

	a := b.signIn(t, "/auth/dev/login?return_to=/room%3Fid=1")
	require.Equal(t, 303, a.StatusCode, a.body)
	require.Equal(t, "/room?id=1", a.Header.Get("Location"))
	me := b.me()
	require.Equal(t, 200, me.StatusCode, me.body)
	user := me.json(t)["user"].(map[string]any)
	require.Equal(t, pictures.URL+"/al.png", user["picture"])
	require.Equal(t, "Al", user["name"])
	require.Equal(t, true, user["email_verified"])
	require.Empty(t, fetched)

	// Once more: the same account.
	c := w.browser()
	c.signIn(t, "/auth/dev/login")
	require.Equal(t, user["id"], c.me().json(t)["user"].(map[string]any)["id"])
	require.Contains(t, c.do("GET", "/auth/sessions", nil).body, `"kind":"cookie"`)

	// Disabled: an error page, nobody signed in.
	require.NoError(t, w.service.SetDisabled(t.Context(), user["id"].(string), true))
	d := w.browser()
	a = d.signIn(t, "/auth/dev/login")
	require.Equal(t, 403, a.StatusCode)
	require.Contains(t, a.body, "disabled")
	require.Equal(t, 401, d.me().StatusCode)
}

func TestA3_ProviderConflictIsAPage(t *testing.T) {
	option, op := withProvider(t, oidctest.User{Subject: "s1", Email: mail, EmailUnverified: true})
	w := newWorld(t, option)
	op.AllowRedirect(w.base + "/auth/dev/callback")
	w.browser().register(mail)
	b := w.browser()
	a := b.signIn(t, "/auth/dev/login")
	require.Equal(t, 409, a.StatusCode, a.body)
	require.Contains(t, a.body, "Sign in the way you did before")
	require.Contains(t, a.Header.Get("Content-Type"), "text/html")
	require.Equal(t, 401, b.me().StatusCode)
	require.Contains(t, w.kinds(), accounts.EventLinkRefused)
}

func TestAuthenticateIsAnAuthenticator(t *testing.T) {
	w := newWorld(t)
	w.mux.Handle("GET /host", auth.Require(auth.AuthenticatorFunc(w.service.Authenticate), auth.Fresh(time.Minute))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := auth.From(r.Context())
		fmt.Fprint(w, who.UserID())
	})))
	b := w.browser()
	require.Equal(t, 401, b.do("GET", "/host", nil).StatusCode)
	id := b.register(mail).json(t)["user"].(map[string]any)["id"]
	require.Equal(t, id, b.do("GET", "/host", nil).body)
	access, refresh := w.browser().tokens(mail)
	require.Equal(t, id, w.browser().do("GET", "/host", nil, bearer(access)...).body)
	require.Equal(t, 200, b.do("POST", "/auth/revoke", url.Values{"token": {refresh}}).StatusCode)
	require.Equal(t, 401, w.browser().do("GET", "/host", nil, bearer(access)...).StatusCode, "its session has ended")
	w.store.down.Store(true)
	require.Equal(t, 503, b.do("GET", "/host", nil).StatusCode)
}
