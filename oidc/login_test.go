package oidc_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	for range 100 { // fetches that nobody waits for end by their time-out
		if leaked() == "" {
			os.Exit(code)
		}
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+leaked())
	os.Exit(1)
}

func leaked() string {
	buf := make([]byte, 1<<20)
	var ours []string
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "gatewire/oidc") && !strings.Contains(stack, "TestMain") {
			ours = append(ours, stack)
		}
	}
	return strings.Join(ours, "\n\n")
}

func nobody(http.ResponseWriter, *http.Request, oidc.Profile) error { return nil }

func TestNewLoginNamesEveryMistake(t *testing.T) {
	p := oidc.Generic("http://op.example", "", "secret")
	p.Name = "My Provider"
	p.MaxAge = -1
	p.HostedDomain = "example.com"
	p.EmailDomains = []string{"@Example.com"}
	p.Scopes = []string{"openid email"}
	p.TrustedAudiences = []string{""}
	p.ACRValues = []string{""}
	_, err := oidc.NewLogin(p, nil, "app.example/auth", nil)
	require.Error(t, err)
	for _, want := range []string{
		"oidc: ", "provider name", "must be https", "no client ID", "MaxAge", "HostedDomain", "email domain", "scope", "trusted audience", "ACR value", "no LoginFunc", "base URL",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "secret")
	_, err = oidc.NewLogin(nil, nobody, "https://app.example", nil)
	require.ErrorContains(t, err, "no provider")
	_, err = oidc.NewLogin(oidc.Google("id", ""), nobody, "https://app.example", nil)
	require.ErrorContains(t, err, "no client secret")
}

func TestO8_BaseURL(t *testing.T) {
	p := oidc.Generic("https://op.example", "app", "")
	for _, good := range []string{"https://app.example", "https://app.example/", "https://app.example/auth/google", "https://app.example:8443/a/", "http://localhost:8080/a", "http://127.0.0.1/a", "http://[::1]:1/a", "http://x.localhost/a"} {
		l, err := oidc.NewLogin(p, nobody, oidc.BaseURL(good), nil)
		require.NoError(t, err, good)
		require.Equal(t, strings.TrimSuffix(good, "/")+"/callback", l.RedirectURL())
	}
	for _, bad := range []string{
		"", "app.example", "//app.example/x", "/auth", "http://app.example/auth", "http://127.0.0.1.evil.example/", "ftp://app.example", "https://", "https:///x",
		"https://u:p@app.example/", "https://app.example/?x=1", "https://app.example/?", "https://app.example/#f", "https://app.example/a/../b", "https://app.example//a",
		"https://app.example/{x}", "https://app.example/%2f", "https://app.example/a//", "https://localhost.evil.example:x/", "http://localhost.evil/",
	} {
		_, err := oidc.NewLogin(p, nobody, oidc.BaseURL(bad), nil)
		require.Error(t, err, bad)
	}
}

func TestLoginParts(t *testing.T) {
	p := oidc.Google("id", "0123456789abcdef")
	l, err := oidc.NewLogin(p, nobody, "https://app.example/auth/google/", nil)
	require.NoError(t, err)
	require.Equal(t, "/auth/google", l.Path())
	require.Equal(t, "https://app.example/auth/google/callback", l.RedirectURL())
	require.Equal(t, "https://app.example/auth/google/login", l.LoginURL("/"))
	require.Equal(t, "https://app.example/auth/google/login", l.LoginURL("//evil"))
	require.Equal(t, "https://app.example/auth/google/login?return_to=%2Fa%3Fb%3Dc", l.LoginURL("/a?b=c"))

	p.Name, p.Scopes[0] = "changed", "changed" // it keeps a copy
	require.Equal(t, "google", l.Provider().Name)
	require.Equal(t, "openid", l.Provider().Scopes[0])
}

func TestMountConflicts(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
	p := oidc.Generic("https://op.example", "app", "")
	require.NoError(t, oidc.Mount(mux, "https://app.example/auth/op", p, nobody))
	require.ErrorContains(t, oidc.Mount(mux, "https://app.example/auth/op", p, nobody), "conflicts")
	require.Error(t, oidc.Mount(mux, "https://app.example/{x}", p, nobody))
	require.ErrorContains(t, oidc.Mount(nil, "https://app.example/auth/op", p, nobody), "nil mux")
}

// Nodes with the same client secret, or the same keys, finish each other's flows.
func TestO4_NodesShareFlows(t *testing.T) {
	keys, err := oidc.ParseSealingKeys("a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		secret  string
		options oidc.Options
		shared  bool
	}{
		"derived":      {secret: "0123456789abcdef", shared: true},
		"short secret": {secret: "tiny", shared: false},
		"own keys":     {secret: "tiny", options: oidc.Options{Keys: keys}, shared: true},
	} {
		one := newWorld(t, setup{op: oidctest.Options{ClientSecret: tt.secret}, options: tt.options})
		o := tt.options
		o.Client = one.op.Client()
		two, err := oidc.NewLogin(one.provider, one.signIn, appURL+"/auth/op", &o)
		require.NoError(t, err)
		b := one.browser()
		callback := b.authorize(b.begin("/"))
		r := httptest.NewRequest(http.MethodGet, callback.String(), nil)
		for _, c := range b.cookies() {
			r.AddCookie(c)
		}
		rec := httptest.NewRecorder()
		two.ServeHTTP(rec, r)
		require.Equal(t, tt.shared, rec.Code == http.StatusSeeOther, "%s: %d", name, rec.Code)
	}
}

func TestErrorPageOfTheHost(t *testing.T) {
	w := newWorld(t, setup{options: oidc.Options{ErrorPage: func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "%d: %s", status, message)
	}}})
	w.op.Inject(oidctest.Down(oidctest.Discovery))
	got := w.browser().signIn("/")
	require.Equal(t, 503, got.status)
	require.Contains(t, got.body, "503: The sign-in provider can't be reached")
	require.NotEmpty(t, got.header.Get("Retry-After"))
}

// Over real sockets: a token endpoint that sends 200 MB, and one that is gone.
func TestO11_RealSockets(t *testing.T) {
	op := oidctest.NewServer(t, nil)
	mux := http.NewServeMux()
	app := httptest.NewServer(mux)
	defer app.Close()
	var signedIn int
	require.NoError(t, oidc.Mount(mux, app.URL+"/auth/dev", oidc.Generic(op.Issuer(), op.ClientID(), op.ClientSecret()),
		func(http.ResponseWriter, *http.Request, oidc.Profile) error { signedIn++; return nil }))
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	op.AllowRedirect(app.URL + "/auth/dev/callback")
	w := &world{t: t}
	b := w.browser()
	b.Transport = nil

	require.Equal(t, 200, b.get(app.URL+"/auth/dev/login").status)
	require.Equal(t, 1, signedIn)
	for _, e := range []oidctest.Endpoint{oidctest.Token, oidctest.UserInfo} {
		op.Inject(oidctest.Huge(e))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.Equal(t, 502, b.get(app.URL+"/auth/dev/login").status)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20))
	op.Clear()
	op.Inject(oidctest.Redirects(oidctest.Token))
	asked := op.Asked(oidctest.Token)
	require.Equal(t, 502, b.get(app.URL+"/auth/dev/login").status)
	require.Equal(t, asked+1, op.Asked(oidctest.Token), "not followed, not sent again")
	require.Equal(t, 1, signedIn)
}

func Example() {
	mux := http.NewServeMux()
	google := oidc.Google("client-id", "client-secret-of-the-console")
	signIn := oidc.Then(
		func(_ context.Context, p oidc.Profile) (string, error) { return p.Issuer + " " + p.Subject, nil },
		func(w http.ResponseWriter, _ *http.Request, userID string) error {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "…"}) // session.Manager.Login does it properly
			return nil
		})
	if err := oidc.Mount(mux, "https://app.example/auth/google", google, signIn); err != nil {
		fmt.Println(err)
		return
	}
	_, pattern := mux.Handler(httptest.NewRequest("GET", "/auth/google/login", nil))
	fmt.Println(pattern)
	// Output: GET /auth/google/login
}

func ExampleNewLogin() {
	op, err := oidctest.New("https://login.corp.example", &oidctest.Options{AutoPick: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	corp := oidc.Generic(op.Issuer(), op.ClientID(), op.ClientSecret())
	corp.Name = "corp"
	corp.EmailDomains = []string{"corp.example"} // it gives out these mailboxes itself

	signIn := func(_ http.ResponseWriter, _ *http.Request, p oidc.Profile) error {
		fmt.Println("hello", p.Name)
		return nil
	}
	login, err := oidc.NewLogin(corp, signIn, "https://app.example/auth/corp", &oidc.Options{Client: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	op.AllowRedirect(login.RedirectURL())

	page := httptest.NewRecorder()
	login.ServeHTTP(page, httptest.NewRequest("GET", login.LoginURL("/inbox"), nil))
	fmt.Println(page.Code, strings.Split(page.Header().Get("Location"), "?")[0])

	answer, err := (&http.Client{Transport: op.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}).Get(page.Header().Get("Location"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	callback := httptest.NewRequest("GET", answer.Header.Get("Location"), nil)
	callback.AddCookie(page.Result().Cookies()[0])
	page = httptest.NewRecorder()
	login.ServeHTTP(page, callback)
	fmt.Println(page.Code, page.Header().Get("Location"))
	// Output:
	// 302 https://login.corp.example/authorize
	// hello Alice Adams
	// 303 /inbox
}

func ExampleReturnPath() {
	fmt.Println(oidc.ReturnPath("/inbox?page=2"))
	fmt.Println(oidc.ReturnPath("//evil.example"))
	fmt.Println(oidc.ReturnPath("/%5cevil.example"))
	// Output:
	// /inbox?page=2
	// /
	// /
}
