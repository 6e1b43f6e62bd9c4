package oidctest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

const (
	verifier = "a-code-verifier-of-at-least-43-characters-0123456789"
	redirect = "https://app.example/cb"
)

// asPrefix is the provider mounted under a path of the app's own origin.
func asPrefix(t *testing.T, o oidctest.Options) *oidctest.Provider {
	t.Helper()
	o.RedirectURIs = []string{redirect}
	p, err := oidctest.New("https://app.example/dev", &o)
	require.NoError(t, err)
	return p
}

func request(change ...string) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {"app"}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid email profile"},
		"state": {`s"<>&`}, "nonce": {"n"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(change); i += 2 {
		q.Set(change[i], change[i+1])
	}
	return q
}

func authorize(p http.Handler, method string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://app.example/dev/authorize?"+form.Encode(), nil)
	if method == http.MethodPost {
		r = httptest.NewRequest(method, "https://app.example/dev/authorize", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, r)
	return rec
}

func answer(t *testing.T, rec *httptest.ResponseRecorder) url.Values {
	t.Helper()
	require.Equal(t, http.StatusSeeOther, rec.Code, rec.Body.String())
	to, err := rec.Result().Location()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(to.String(), redirect+"?"), to)
	return to.Query()
}

func exchange(t *testing.T, p *oidctest.Provider, form url.Values) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "https://app.example/dev/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(p.ClientID()), url.QueryEscape(p.ClientSecret()))
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, r)
	var m map[string]any
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &m))
	return rec.Code, m
}

func TestO15_PickerPage(t *testing.T) {
	p := asPrefix(t, oidctest.Options{Users: []oidctest.User{{Email: "eve@example.com", Name: "<script>Eve</script>"}, {Email: "bob@example.com"}}})
	rec := authorize(p, http.MethodGet, request())
	require.Equal(t, 200, rec.Code)
	body, csp := rec.Body.String(), rec.Header().Get("Content-Security-Policy")
	require.NotContains(t, body, "<script>")
	require.Contains(t, body, `action="https://app.example/dev/authorize"`)
	require.Contains(t, csp, "default-src 'none'")
	require.NotContains(t, csp, "unsafe")
	for _, outside := range []string{" src=", "@import", "<link", "url("} {
		require.NotContains(t, body, outside)
	}
	_, style, _ := strings.Cut(body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	require.Contains(t, csp, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")

	form := request("pick", "1")
	q := answer(t, authorize(p, http.MethodPost, form))
	require.Equal(t, `s"<>&`, q.Get("state"))
	require.Equal(t, p.Issuer(), q.Get("iss"))
	code, tokens := exchange(t, p, url.Values{"grant_type": {"authorization_code"}, "code": q["code"], "redirect_uri": {redirect}, "code_verifier": {verifier}})
	require.Equal(t, 200, code)
	require.Contains(t, claimsOf(t, tokens), `"email":"bob@example.com"`)

	q = answer(t, authorize(p, http.MethodPost, request("pick", "new", "email", " dora@example.com ", "name", "Dora", "verified", "1")))
	_, tokens = exchange(t, p, url.Values{"grant_type": {"authorization_code"}, "code": q["code"], "redirect_uri": {redirect}, "code_verifier": {verifier}})
	require.Contains(t, claimsOf(t, tokens), `"email":"dora@example.com","email_verified":true`)
	q = answer(t, authorize(p, http.MethodPost, request("pick", "new", "email", "dora@example.com", "fault", string(oidctest.WrongNonce))))
	_, tokens = exchange(t, p, url.Values{"grant_type": {"authorization_code"}, "code": q["code"], "redirect_uri": {redirect}, "code_verifier": {verifier}})
	require.Contains(t, claimsOf(t, tokens), `"email_verified":false`)
	require.Contains(t, claimsOf(t, tokens), `"nonce":"another-nonce"`, "a fault for one sign-in alone")

	require.Equal(t, "access_denied", answer(t, authorize(p, http.MethodPost, request("pick", "cancel"))).Get("error"))
	require.Equal(t, "login_required", answer(t, authorize(p, http.MethodGet, request("prompt", "none"))).Get("error"))
	for _, pick := range []string{"9", "-1", "x", "new"} {
		require.Equal(t, 200, authorize(p, http.MethodPost, request("pick", pick)).Code, "the page again")
	}
}

func claimsOf(t *testing.T, tokens map[string]any) string {
	t.Helper()
	raw, ok := tokens["id_token"].(string)
	require.True(t, ok, tokens)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	require.NoError(t, err)
	return string(payload)
}

func TestO15_AuthorizationRequestIsChecked(t *testing.T) {
	p := asPrefix(t, oidctest.Options{AutoPick: true})
	for _, to := range []string{"https://evil.example/cb", redirect + "/", redirect + "?x=1", ""} {
		rec := authorize(p, http.MethodGet, request("redirect_uri", to))
		require.Equal(t, 400, rec.Code)
		require.Empty(t, rec.Header().Get("Location"))
	}
	require.Equal(t, 400, authorize(p, http.MethodGet, request("client_id", "other")).Code)
	q := request()
	q.Add("state", "twice")
	require.Equal(t, 400, authorize(p, http.MethodGet, q).Code)
	for change, want := range map[string]string{
		"response_type=token": "unsupported_response_type", "scope=email": "invalid_scope", "code_challenge_method=plain": "invalid_request",
		"code_challenge=": "invalid_request", "response_mode=fragment": "invalid_request",
	} {
		name, value, _ := strings.Cut(change, "=")
		require.Equal(t, want, answer(t, authorize(p, http.MethodGet, request(name, value))).Get("error"), change)
	}
	rec := authorize(p, http.MethodGet, request("response_mode", "form_post"))
	require.Equal(t, 200, rec.Code)
	require.Contains(t, rec.Body.String(), `action="`+redirect+`"`)
}

func TestO15_CodeIsForItsRequestAlone(t *testing.T) {
	p := asPrefix(t, oidctest.Options{AutoPick: true})
	good := func() url.Values {
		q := answer(t, authorize(p, http.MethodGet, request()))
		return url.Values{"grant_type": {"authorization_code"}, "code": q["code"], "redirect_uri": {redirect}, "code_verifier": {verifier}}
	}
	form := good()
	code, _ := exchange(t, p, form)
	require.Equal(t, 200, code)
	code, m := exchange(t, p, form)
	require.Equal(t, 400, code, "one use")
	require.Equal(t, "invalid_grant", m["error"])
	for name, value := range map[string]string{"code_verifier": "", "redirect_uri": "https://evil.example/", "code": "x", "grant_type": "password"} {
		form := good()
		form.Set(name, value)
		code, _ := exchange(t, p, form)
		require.Equal(t, 400, code, name)
	}
	r := httptest.NewRequest(http.MethodPost, "https://app.example/dev/token", strings.NewReader(good().Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("app", "wrong")
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, r)
	require.Equal(t, 401, rec.Code)
}

// signedIn returns an ID token of a fresh sign-in.
func signedIn(t *testing.T, p *oidctest.Provider) string {
	t.Helper()
	q := answer(t, authorize(p, http.MethodGet, request()))
	_, tokens := exchange(t, p, url.Values{"grant_type": {"authorization_code"}, "code": q["code"], "redirect_uri": {redirect}, "code_verifier": {verifier}})
	raw, ok := tokens["id_token"].(string)
	require.True(t, ok, tokens)
	return raw
}

func TestO15_EndSession(t *testing.T) {
	told := make(chan string, 10)
	status := http.StatusOK
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told <- r.Method + " " + r.Header.Get("Content-Type") + " " + r.FormValue("logout_token")
		w.WriteHeader(status)
	}))
	t.Cleanup(client.Close)
	p := asPrefix(t, oidctest.Options{AutoPick: true, BackchannelURI: client.URL})
	get := func(q url.Values) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "https://app.example/dev/end_session?"+q.Encode(), nil))
		return rec
	}
	raw, back := signedIn(t, p), []string{redirect}
	require.Equal(t, 200, get(nil).Code)
	for name, q := range map[string]url.Values{
		"unregistered":   {"client_id": {"app"}, "post_logout_redirect_uri": {"https://evil.example/"}},
		"no client":      {"post_logout_redirect_uri": back},
		"another client": {"client_id": {"other"}, "id_token_hint": {raw}, "post_logout_redirect_uri": back},
		"a foreign hint": {"client_id": {"app"}, "id_token_hint": {raw[:len(raw)-4] + "AAAA"}, "post_logout_redirect_uri": back},
		"twice":          {"client_id": {"app", "app"}, "post_logout_redirect_uri": back},
	} {
		rec := get(q)
		require.Equal(t, 400, rec.Code, name)
		require.Empty(t, rec.Header().Get("Location"))
	}
	require.Equal(t, redirect+"?state=x", get(url.Values{"client_id": {"app"}, "state": {"x"}, "post_logout_redirect_uri": back}).Header().Get("Location"))
	require.Empty(t, told, "nobody's session has ended")
	require.Equal(t, redirect, get(url.Values{"id_token_hint": {raw}, "post_logout_redirect_uri": back}).Header().Get("Location"))
	require.Contains(t, <-told, "POST application/x-www-form-urlencoded ey")
	require.Equal(t, 303, get(url.Values{"id_token_hint": {raw}, "post_logout_redirect_uri": back}).Code)
	require.Empty(t, told, "it has ended already")

	raw, status = signedIn(t, p), http.StatusServiceUnavailable
	require.Equal(t, 303, get(url.Values{"id_token_hint": {raw}, "post_logout_redirect_uri": back}).Code, "a client that is down keeps nobody here")
	<-told
}

func TestO15_SessionsPage(t *testing.T) {
	status := http.StatusOK
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(client.Close)
	p := asPrefix(t, oidctest.Options{AutoPick: true, Users: []oidctest.User{{Email: "eve@example.com", Name: "<script>Eve</script>"}}})
	serve := func(method string, form url.Values, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "https://app.example/dev/sessions", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, r)
		return rec
	}
	signedIn(t, p)
	page := serve(http.MethodGet, nil).Body.String()
	require.NotContains(t, page, "<script>")
	require.Contains(t, page, "Eve")
	_, sid, _ := strings.Cut(page, `name="sid" value="`)
	sid, _, _ = strings.Cut(sid, `"`)
	require.NotEmpty(t, sid)
	require.Equal(t, 403, serve(http.MethodPost, url.Values{"sid": {sid}}, "Sec-Fetch-Site", "cross-site").Code)
	require.Equal(t, 405, serve(http.MethodPut, nil).Code)
	require.Contains(t, serve(http.MethodPost, url.Values{"sid": {sid}}).Body.String(), "Nobody", "also without a back channel")

	_, err := p.Logout(t.Context(), oidctest.Logout{SID: sid})
	require.ErrorContains(t, err, "SendLogoutTo")
	p.SendLogoutTo(client.URL)
	got, err := p.Logout(t.Context(), oidctest.Logout{SID: sid})
	require.NoError(t, err)
	require.Equal(t, 200, got)
	status = http.StatusBadRequest
	signedIn(t, p)
	page = serve(http.MethodGet, nil).Body.String()
	_, sid, _ = strings.Cut(page, `name="sid" value="`)
	sid, _, _ = strings.Cut(sid, `"`)
	require.Contains(t, serve(http.MethodPost, url.Values{"sid": {sid}}).Body.String(), "could not be told")
}

// The provider runs inside programs, not only in tests.
func TestO15_DoesNotImportTesting(t *testing.T) {
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, imported := range parsed.Imports {
			require.NotContains(t, []string{`"testing"`, `"net/http/httptest"`}, imported.Path.Value, f.Name())
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for issuer, o := range map[string]*oidctest.Options{
		"": nil, "https://x.example/": nil, "x": nil, "https://a.example": {Alg: "none"}, "https://b.example": {TokenAuth: "jwt"},
		"https://c.example": {Public: true, ClientSecret: "s"},
	} {
		_, err := oidctest.New(issuer, o)
		require.Error(t, err, issuer)
	}
	p := asPrefix(t, oidctest.Options{})
	require.Panics(t, func() { p.Inject("no such fault") })
}

// A program mounts the provider under its own origin and signs in through the page.
func TestO15_MountedInTheAppItself(t *testing.T) {
	mux := http.NewServeMux()
	app := httptest.NewServer(mux)
	defer app.Close()
	op, err := oidctest.New(app.URL+"/dev", nil)
	require.NoError(t, err)
	mux.Handle("/dev/", op)
	var got oidc.Profile
	require.NoError(t, oidc.Mount(mux, app.URL+"/auth/dev", oidc.Generic(op.Issuer(), op.ClientID(), op.ClientSecret()),
		func(_ http.ResponseWriter, _ *http.Request, p oidc.Profile) error { got = p; return nil }))
	op.AllowRedirect(app.URL + "/auth/dev/callback")

	login := must(http.NewRequest(http.MethodGet, app.URL+"/auth/dev/login?return_to=/x", nil))
	resp, err := http.DefaultTransport.RoundTrip(login)
	require.NoError(t, err)
	resp.Body.Close()
	cookie := resp.Cookies()[0]
	to := must(resp.Location())
	form := to.Query()
	form.Set("pick", "1")
	pick := must(http.NewRequest(http.MethodPost, op.Issuer()+"/authorize", strings.NewReader(form.Encode())))
	pick.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err = http.DefaultTransport.RoundTrip(pick)
	require.NoError(t, err)
	resp.Body.Close()
	callback := must(http.NewRequest(http.MethodGet, resp.Header.Get("Location"), nil))
	callback.AddCookie(cookie)
	resp, err = http.DefaultTransport.RoundTrip(callback)
	require.NoError(t, err)
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.Equal(t, 303, resp.StatusCode, string(body))
	require.Equal(t, "/x", resp.Header.Get("Location"))
	require.Equal(t, "bob@example.com", got.Email)
	http.DefaultClient.CloseIdleConnections()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
