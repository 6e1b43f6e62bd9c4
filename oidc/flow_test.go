package oidc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

func TestO4_StateIsBoundToTheBrowser(t *testing.T) {
	w := newWorld(t, setup{})
	mine, other := w.browser(), w.browser()
	callback := mine.authorize(mine.begin("/"))

	got := other.get(callback.String())
	require.Equal(t, 400, got.status)
	require.Contains(t, w.logged(), "no flow cookie")
	other.begin("/") // a flow of its own doesn't help
	require.Equal(t, 400, other.get(callback.String()).status)
	require.Zero(t, w.op.Asked(oidctest.Token), "the code is never sent")
	require.Empty(t, w.signedIn())

	require.Equal(t, 200, mine.get(callback.String()).status)
	require.Equal(t, 400, mine.get(callback.String()).status, "replayed")
	require.Len(t, w.signedIn(), 1)
}

func TestO4_CallbackDeletesTheCookieWhateverHappens(t *testing.T) {
	for _, fault := range []oidctest.Fault{oidctest.WrongNonce, oidctest.AccessDenied, oidctest.Down(oidctest.Token)} {
		w := newWorld(t, setup{})
		w.op.Inject(fault)
		b := w.browser()
		callback := b.authorize(b.begin("/"))
		require.Len(t, b.cookies(), 1)
		b.get(callback.String())
		require.Empty(t, b.cookies(), fault)
		w.op.Clear()
		require.Equal(t, 400, b.get(callback.String()).status, "one use: %s", fault)
	}
}

func TestO4_CookieAttributes(t *testing.T) {
	for base, want := range map[string]string{
		"https://app.example/auth/op":     `^__Host-oidc-[0-9a-z]+-[0-9a-f]{16}=[\w-]+; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax$`,
		"http://127.0.0.1:8080/auth/op":   `^oidc-[0-9a-z]+-[0-9a-f]{16}=[\w-]+; Path=/; Max-Age=600; HttpOnly; SameSite=Lax$`,
		"http://app.localhost:80/auth/op": `^oidc-[0-9a-z]+-[0-9a-f]{16}=[\w-]+; Path=/; Max-Age=600; HttpOnly; SameSite=Lax$`,
	} {
		w := newWorld(t, setup{base: base})
		b := w.browser()
		p, to := b.hop(w.login.LoginURL("/x"))
		require.Equal(t, http.StatusFound, p.status)
		require.Len(t, p.header.Values("Set-Cookie"), 1)
		require.Regexp(t, want, p.header.Get("Set-Cookie"))
		require.Equal(t, "no-store", p.header.Get("Cache-Control"))
		require.Equal(t, "no-referrer", p.header.Get("Referrer-Policy"))
		require.NotContains(t, p.header.Get("Set-Cookie"), to.Query().Get("nonce"))

		p, _ = b.hop(b.authorize(to).String())
		require.Equal(t, http.StatusSeeOther, p.status)
		deleted := strings.NewReplacer(`=[\w-]+;`, `=;`, "Max-Age=600", "Max-Age=0").Replace(want)
		require.Regexp(t, deleted, p.header.Get("Set-Cookie"), "deleted with the same attributes")
		require.Equal(t, "no-store", p.header.Get("Cache-Control"))
		require.Equal(t, "no-referrer", p.header.Get("Referrer-Policy"))
	}
}

func TestO4_TenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		b := w.browser()
		to := b.begin("/")
		cookie := b.cookies()[0]
		time.Sleep(10*time.Minute - time.Second)
		callback := b.authorize(to)
		time.Sleep(2 * time.Second)
		// A browser would have dropped the cookie; somebody who kept it sends it.
		got := w.callback(callback.RawQuery, cookie)
		require.Equal(t, 400, got.Code)
		require.Contains(t, w.logged(), "older than")
		require.Empty(t, w.signedIn())
	})
}

// callback sends a hand-made callback.
func (w *world) callback(query string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, w.login.RedirectURL()+"?"+query, nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	w.login.ServeHTTP(rec, r)
	return rec
}

func TestO4_AtMostEightFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		b := w.browser()
		var begun []*url.URL
		for range 12 {
			begun = append(begun, b.begin("/"))
			time.Sleep(time.Second)
			require.LessOrEqual(t, len(b.cookies()), 8)
		}
		require.Len(t, b.cookies(), 8)
		for i, to := range begun {
			want := 200
			if i < 4 {
				want = 400 // the oldest were dropped
			}
			require.Equal(t, want, b.get(b.authorize(to).String()).status, i)
		}
	})
}

func TestO4_FlowCookiesStaySmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		b := w.browser()
		for range 8 {
			b.begin("/" + strings.Repeat("x", 2000))
			time.Sleep(time.Second)
			size := 0
			for _, c := range b.cookies() {
				require.LessOrEqual(t, len(c.Name)+len(c.Value), 4000)
				size += len(c.Name) + len(c.Value)
			}
			require.LessOrEqual(t, size, 6144)
		}
		require.Equal(t, 200, b.signIn("/").status)
	})
}

func TestO4_BoundToTheProvider(t *testing.T) {
	keys, err := oidc.ParseSealingKeys("k:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	require.NoError(t, err)
	w := newWorld(t, setup{options: oidc.Options{Keys: keys}})
	b := w.browser()
	callback := b.authorize(b.begin("/"))

	// Logins with the same keys, each different in one thing the flow is bound to.
	for name, s := range map[string]setup{
		"issuer":       {issuer: "https://other.example"},
		"client":       {op: oidctest.Options{ClientID: "other"}},
		"redirect URI": {base: appURL + "/auth/other"},
		"none":         {},
	} {
		s.options.Keys = keys
		other := newWorld(t, s)
		got := other.callback(callback.RawQuery, b.cookies()...)
		if name == "none" {
			require.NotContains(t, other.logged(), "cannot be opened")
			continue
		}
		require.Equal(t, 400, got.Code, name)
		require.Contains(t, other.logged(), "cannot be opened", name)
		require.Zero(t, other.op.Asked(oidctest.Token), name)
	}
}

func TestO4_EveryByteOfTheCookieCounts(t *testing.T) {
	w := newWorld(t, setup{})
	b := w.browser()
	callback := b.authorize(b.begin("/"))
	good := b.cookies()[0]
	raw, err := base64.RawURLEncoding.DecodeString(good.Value)
	require.NoError(t, err)
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		c := &http.Cookie{Name: good.Name, Value: base64.RawURLEncoding.EncodeToString(bad)}
		require.Equal(t, 400, w.callback(callback.RawQuery, c).Code)
	}
	require.Equal(t, 400, w.callback(callback.RawQuery, good, good).Code, "two cookies of one name")
	for _, state := range []string{"", ".", "x", "0.", strings.Repeat("a", 5000), "zz." + strings.Repeat("x", 43)} {
		require.Equal(t, 400, w.callback("code=c&state="+state, good).Code)
	}
	require.Zero(t, w.op.Asked(oidctest.Token))
	require.Equal(t, 303, w.callback(callback.RawQuery, good).Code)
}

func TestO4_ProviderErrors(t *testing.T) {
	w := newWorld(t, setup{})
	b := w.browser()
	// Without a flow of this browser, nothing the query says is believed or shown.
	got := b.get(w.login.RedirectURL() + "?error=access_denied&error_description=PWNED&state=nonsense")
	require.Equal(t, 400, got.status)
	require.NotContains(t, got.body, "PWNED")
	require.NotContains(t, w.logged(), "PWNED")

	w.op.Inject(oidctest.ErrorHTML)
	got = b.signIn("/deep")
	require.Equal(t, 400, got.status)
	require.NotContains(t, got.body, "<script>")
	require.Contains(t, got.body, "&lt;script&gt;alert(1)&lt;/script&gt;")
	require.Contains(t, got.body, `href="/auth/op/login?return_to=%2Fdeep"`, "one can try again, to the same place")
	require.Contains(t, got.header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
}

func TestO5_PKCEAndNonceEachFlow(t *testing.T) {
	w := newWorld(t, setup{op: oidctest.Options{Metadata: map[string]any{"code_challenge_methods_supported": nil}}})
	b := w.browser()
	seen := map[string]bool{}
	for range 20 {
		q := b.begin("/").Query()
		require.Equal(t, "S256", q.Get("code_challenge_method"))
		require.Len(t, q.Get("code_challenge"), 43)
		require.Equal(t, "code", q.Get("response_type"))
		require.Contains(t, strings.Fields(q.Get("scope")), "openid")
		for _, name := range []string{"code_challenge", "nonce", "state"} {
			require.GreaterOrEqual(t, len(q.Get(name)), 43, name)
			require.False(t, seen[q.Get(name)], "%s is not fresh", name)
			seen[q.Get(name)] = true
		}
	}
}

func TestO5_ACodeFromAnotherFlowIsUseless(t *testing.T) {
	w := newWorld(t, setup{})
	victim, thief := w.browser(), w.browser()
	stolen := victim.authorize(victim.begin("/")).Query().Get("code")
	q := thief.authorize(thief.begin("/")).Query()
	q.Set("code", stolen)
	got := thief.get(w.login.RedirectURL() + "?" + q.Encode())
	require.Equal(t, 400, got.status)
	require.Contains(t, w.logged(), "invalid_grant", "the provider compared the verifier")
	require.Empty(t, w.signedIn())
}

func TestO6_IssuerParameter(t *testing.T) {
	t.Run("O6 not promised, not needed", func(t *testing.T) {
		w := newWorld(t, setup{op: oidctest.Options{Metadata: map[string]any{"authorization_response_iss_parameter_supported": nil}}})
		w.op.Inject(oidctest.AnswerMissingIssuer)
		require.Equal(t, 200, w.browser().signIn("/").status)
		w.op.Clear()
		w.op.Inject(oidctest.AnswerWrongIssuer)
		require.Equal(t, 403, w.browser().signIn("/").status, "but one that is there must be right")
	})
	t.Run("O6 also before an error is believed", func(t *testing.T) {
		w := newWorld(t, setup{})
		w.op.Inject(oidctest.AnswerWrongIssuer, oidctest.AccessDenied)
		require.Equal(t, 403, w.browser().signIn("/").status)
		require.Contains(t, w.logged(), "mix-up")
	})
	t.Run("O6 duplicate parameters", func(t *testing.T) {
		for _, name := range []string{"state", "code", "iss", "error", "session_state"} {
			w := newWorld(t, setup{})
			b := w.browser()
			callback := b.authorize(b.begin("/"))
			value := callback.Query().Get(name)
			got := b.get(callback.String() + "&" + name + "=" + url.QueryEscape(value) + "&" + name + "=x")
			require.Equal(t, 400, got.status, name)
			require.Zero(t, w.op.Asked(oidctest.Token))
		}
	})
}

func TestO8_RedirectURIFromConfigurationOnly(t *testing.T) {
	w := newWorld(t, setup{})
	r := httptest.NewRequest(http.MethodGet, "https://evil.example/auth/op/login?redirect_uri=https://evil.example/", nil)
	r.Header.Set("X-Forwarded-Host", "evil.example")
	r.Header.Set("X-Forwarded-Proto", "http")
	r.Header.Set("Forwarded", "host=evil.example")
	rec := httptest.NewRecorder()
	w.login.ServeHTTP(rec, r)
	to, err := rec.Result().Location()
	require.NoError(t, err)
	require.Equal(t, appURL+"/auth/op/callback", to.Query().Get("redirect_uri"))
	require.NotContains(t, to.String(), "evil")
}

func TestO9_TwoTabs(t *testing.T) {
	w := newWorld(t, setup{})
	b := w.browser()
	first, second := b.begin("/first"), b.begin("/second")
	cb1, cb2 := b.authorize(first), b.authorize(second)
	require.Equal(t, appURL+"/second", b.get(cb2.String()).url)
	require.Equal(t, appURL+"/first", b.get(cb1.String()).url)
	require.Len(t, w.signedIn(), 2)

	var wg sync.WaitGroup // and many at once, under -race
	for i := range 20 {
		wg.Go(func() {
			one := w.browser()
			if got := one.signIn(fmt.Sprintf("/%d", i)); got.url != fmt.Sprintf("%s/%d", appURL, i) {
				t.Errorf("%d: %s", i, got.url)
			}
		})
	}
	wg.Wait()
	require.Len(t, w.signedIn(), 22)
}

func TestO10_StartedFlowsHoldNoMemory(t *testing.T) {
	w := newWorld(t, setup{})
	require.NoError(t, w.login.Ready(t.Context()))
	start := func(n int) {
		for range n {
			w.login.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/auth/op/login?return_to=/"+strings.Repeat("x", 1000), nil))
		}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	start(100)
	before := heap()
	start(5000)
	after := heap()
	require.Less(t, after, before+512<<10, "5,000 flows with 1 kB of return path each")
}

func TestO1_FormPost(t *testing.T) {
	w := newWorld(t, setup{change: func(p *oidc.Provider) { p.FormPost = true }})
	b := w.browser()
	p := b.signIn("/home") // the provider's self-posting form
	require.Contains(t, p.body, "submit()")
	bounce := b.submit(p) // posted from another site: no cookie
	require.Equal(t, 200, bounce.status)
	require.Empty(t, bounce.header.Values("Set-Cookie"))
	require.Equal(t, w.login.RedirectURL(), bounce.url, "nothing in the URL")
	require.Contains(t, bounce.header.Get("Cache-Control"), "no-store")
	requireHashes(t, bounce)
	require.Empty(t, w.signedIn())
	got := b.submit(bounce) // and again from ours
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, appURL+"/home", got.url)
	require.Len(t, w.signedIn(), 1)
	require.Empty(t, b.cookies())

	again := b.submit(bounce)
	require.Equal(t, 400, again.status, "used; and no endless bouncing")
	require.NotContains(t, again.body, "submit()")

	stranger := w.browser() // another browser is bounced once and refused
	require.Equal(t, 400, stranger.finish(stranger.submit(p)).status)
	require.Len(t, w.signedIn(), 1)
}

// requireHashes checks that the page's policy allows its style and script.
func requireHashes(t *testing.T, p page) {
	t.Helper()
	csp := p.header.Get("Content-Security-Policy")
	for _, tag := range []string{"style", "script"} {
		if _, after, ok := strings.Cut(p.body, "<"+tag+">"); ok {
			content, _, _ := strings.Cut(after, "</"+tag+">")
			sum := sha256.Sum256([]byte(content))
			require.Contains(t, csp, tag+"-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:]))
		}
	}
	require.NotContains(t, csp, "unsafe")
}

func TestO1_FormPostError(t *testing.T) { // form-post-error
	w := newWorld(t, setup{change: func(p *oidc.Provider) { p.FormPost, p.Prompt, p.MaxAge = true, "none", 1 }})
	w.op.Inject(oidctest.AccessDenied)
	b := w.browser()
	require.Equal(t, "0", b.begin("/").Query().Get("max_age"))
	got := b.finish(b.signIn("/"))
	require.Equal(t, 403, got.status)
	require.Empty(t, w.signedIn())
}

func TestO6_HostilePosts(t *testing.T) {
	w := newWorld(t, setup{})
	post := func(query, contentType, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, w.login.RedirectURL()+query, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		rec := httptest.NewRecorder()
		w.login.ServeHTTP(rec, r)
		return rec
	}
	const form = "application/x-www-form-urlencoded"
	require.Equal(t, 400, post("?state=a", form, "state=a").Code, "a POST with a query")
	require.Equal(t, 400, post("", "multipart/form-data; boundary=x", "--x").Code)
	require.Equal(t, 400, post("", "", "state=a").Code)
	require.Equal(t, 400, post("", form, "state=a&state=b").Code)
	require.Equal(t, 400, post("", form, "state="+strings.Repeat("a", 70<<10)).Code)
	require.Equal(t, 400, post("", form, "state=%zz").Code)
	state := "sxyz12." + strings.Repeat("a", 43)
	rec := post("", form, "state="+state+"&code="+url.QueryEscape(`"><script>alert(1)</script>`)+"&evil=1")
	require.Equal(t, 200, rec.Code)
	require.NotContains(t, rec.Body.String(), "<script>alert")
	require.NotContains(t, rec.Body.String(), "evil")
}

func TestMethodsAndPaths(t *testing.T) {
	w := newWorld(t, setup{})
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/auth/op/login", 302}, {"HEAD", "/auth/op/login", 405}, {"POST", "/auth/op/login", 405},
		{"PUT", "/auth/op/callback", 405}, {"GET", "/auth/op/callback", 400}, {"GET", "/auth/op/", 404},
		{"GET", "/auth/op/login/", 404}, {"GET", "/login", 404}, {"GET", "/auth/op//login", 404},
	} {
		rec := httptest.NewRecorder()
		w.login.ServeHTTP(rec, httptest.NewRequest(tt.method, tt.path, nil))
		require.Equal(t, tt.status, rec.Code, "%s %s", tt.method, tt.path)
	}
}

type told struct{ status int }

func (told) Error() string       { return "internal detail" }
func (told) UserMessage() string { return "Please <b>link</b> your account first." }
func (e told) HTTPStatus() int   { return e.status }

func TestLoginFuncDecides(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
		body   string
	}{
		"told":          {fmt.Errorf("wrapped: %w", told{409}), 409, "Please &lt;b&gt;link&lt;/b&gt;"},
		"odd status":    {told{200}, 503, "Please"},
		"could not say": {errors.New("database password=hunter2 is down"), 503, "could not be signed in"},
	} {
		w := newWorld(t, setup{})
		w.then = func(http.ResponseWriter, *http.Request, oidc.Profile) error { return tt.err }
		got := w.browser().signIn("/")
		require.Equal(t, tt.status, got.status, name)
		require.Contains(t, got.body, tt.body, name)
		require.NotContains(t, got.body, "internal detail")
		require.NotContains(t, got.body, "hunter2")
	}
	w := newWorld(t, setup{})
	w.then = func(rw http.ResponseWriter, r *http.Request, _ oidc.Profile) error {
		require.NoError(t, http.NewResponseController(rw).Flush(), "Unwrap reaches what is below")
		_, err := io.WriteString(rw, "choose a name")
		return err
	}
	require.Equal(t, "choose a name", w.browser().signIn("/").body)
}

func TestThen(t *testing.T) {
	var loggedIn string
	find := func(_ context.Context, p oidc.Profile) (string, error) {
		if p.Email == "nobody@example.com" {
			return "", nil
		}
		return "u-" + p.Email, nil
	}
	login := func(_ http.ResponseWriter, _ *http.Request, id string) error { loggedIn = id; return nil }
	then := oidc.Then(find, login)
	require.NoError(t, then(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), oidc.Profile{Email: "a@b.c"}))
	require.Equal(t, "u-a@b.c", loggedIn)
	loggedIn = ""
	require.Error(t, then(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), oidc.Profile{Email: "nobody@example.com"}))
	require.Empty(t, loggedIn, "no user id never signs in")
	require.Nil(t, oidc.Then(nil, login))
}

func TestNothingSecretIsPrinted(t *testing.T) {
	w := newWorld(t, setup{})
	b := w.browser()
	callback := b.authorize(b.begin("/"))
	require.Equal(t, 200, b.get(callback.String()).status)
	b.get(callback.String())
	w.op.Inject(oidctest.WrongNonce, oidctest.Fails(oidctest.UserInfo))
	b.signIn("/")
	p := w.signedIn()[0]
	js, err := json.Marshal(p)
	require.NoError(t, err)
	printed := w.logged() + string(js) + fmt.Sprintf("%v %+v %#v %s", p, p, p.IDToken, p.IDToken) +
		fmt.Sprintf("%v %+v %#v %s %q", w.provider, *w.provider, w.provider, w.provider, *w.provider)
	for _, secret := range []string{w.op.ClientSecret(), callback.Query().Get("code"), callback.Query().Get("state"), string(p.IDToken), p.Token.AccessToken} {
		require.NotEmpty(t, secret)
		require.NotContains(t, printed, secret)
	}
}
