package oidc_test

import (
	"bytes"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

const (
	appURL = "https://app.example"
	opURL  = "https://op.example"
)

// world is an app with a login, a provider and their network, in memory.
type world struct {
	t        *testing.T
	op       *oidctest.Provider
	provider *oidc.Provider
	login    *oidc.Login
	mux      *http.ServeMux
	then     oidc.LoginFunc // replaces the default one

	mu       sync.Mutex
	profiles []oidc.Profile
	log      bytes.Buffer
}

type setup struct {
	issuer  string
	op      oidctest.Options
	change  func(*oidc.Provider)
	options oidc.Options
	base    string
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	if s.issuer == "" {
		s.issuer = opURL
	}
	if s.base == "" {
		s.base = appURL + "/auth/op"
	}
	op := s.op
	op.AutoPick = true
	w := &world{t: t, mux: http.NewServeMux()}
	op.LogoutClient = &http.Client{Transport: w}
	var err error
	w.op, err = oidctest.New(s.issuer, &op)
	require.NoError(t, err)
	w.provider = oidc.Generic(s.issuer, w.op.ClientID(), w.op.ClientSecret())
	if s.issuer == googleIssuer {
		w.provider = oidc.Google(w.op.ClientID(), w.op.ClientSecret())
	}
	if s.change != nil {
		s.change(w.provider)
	}
	o := s.options
	if o.Client == nil {
		o.Client = w.op.Client()
	}
	o.Logger = slog.New(slog.NewTextHandler(lockedWriter{&w.mu, &w.log}, nil))
	w.login, err = oidc.NewLogin(w.provider, w.signIn, oidc.BaseURL(s.base), &o)
	require.NoError(t, err)
	w.op.AllowRedirect(w.login.RedirectURL())
	w.op.AllowRedirect(w.login.LoggedOutURL())
	w.op.SendLogoutTo(w.login.BackchannelURL())
	w.mux.Handle(w.login.Path()+"/", w.login)
	w.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "at "+r.URL.RequestURI()) })
	return w
}

func (w *world) signIn(rw http.ResponseWriter, r *http.Request, p oidc.Profile) error {
	w.mu.Lock()
	w.profiles = append(w.profiles, p)
	w.mu.Unlock()
	if w.then != nil {
		return w.then(rw, r, p)
	}
	return nil
}

func (w *world) signedIn() []oidc.Profile {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.profiles
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// RoundTrip is the network between a browser, the app and the provider.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(w.login.RedirectURL(), r.URL.Scheme+"://"+r.URL.Host+"/") {
		return w.op.Client().Transport.RoundTrip(r)
	}
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.Host = r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	w.mux.ServeHTTP(rec, in)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// browser has cookies of its own.
type browser struct {
	*http.Client
	w *world
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	return &browser{w: w, Client: &http.Client{Transport: w, Jar: jar}}
}

type page struct {
	status int
	header http.Header
	body   string
	url    string
}

func (b *browser) read(resp *http.Response, err error) page {
	b.w.t.Helper()
	require.NoError(b.w.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(b.w.t, err)
	return page{resp.StatusCode, resp.Header, string(body), resp.Request.URL.String()}
}

func (b *browser) get(u string) page { b.w.t.Helper(); return b.read(b.Get(u)) }

// signIn walks the whole flow.
func (b *browser) signIn(returnTo string) page {
	b.w.t.Helper()
	return b.get(b.w.login.LoginURL(returnTo))
}

// begin stops at the redirect to the provider.
func (b *browser) begin(returnTo string) *url.URL {
	b.w.t.Helper()
	_, to := b.hop(b.w.login.LoginURL(returnTo))
	return to
}

// authorize goes on from begin and stops at the redirect to the callback.
func (b *browser) authorize(to *url.URL) *url.URL {
	b.w.t.Helper()
	_, back := b.hop(to.String())
	return back
}

// hop makes one request and returns where it redirects to.
func (b *browser) hop(u string) (page, *url.URL) {
	b.w.t.Helper()
	c := *b.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Get(u)
	p := b.read(resp, err)
	to, err := resp.Location()
	require.NoError(b.w.t, err, "%d %s", p.status, p.body)
	return p, to
}

func (b *browser) cookies() []*http.Cookie {
	u, _ := url.Parse(b.w.login.RedirectURL())
	return b.Jar.Cookies(u)
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

const googleIssuer = "https://accounts.google.com"

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// submit posts the page's first form, as its script or button would.
func (b *browser) submit(p page, fields ...string) page {
	b.w.t.Helper()
	action := formAction.FindStringSubmatch(p.body)
	require.NotNil(b.w.t, action, p.body)
	form := url.Values{}
	first, _, _ := strings.Cut(p.body, "</form>")
	for _, m := range formInput.FindAllStringSubmatch(first, -1) {
		form.Add(m[1], html.UnescapeString(m[2]))
	}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	target, err := url.Parse(p.url)
	require.NoError(b.w.t, err)
	target, err = target.Parse(html.UnescapeString(action[1]))
	require.NoError(b.w.t, err)
	req, err := http.NewRequest(http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	require.NoError(b.w.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c := *b.Client
	if from, _ := url.Parse(p.url); from.Host != target.Host {
		c.Jar = nil // SameSite=Lax: not with another site's post
	}
	return b.read(c.Do(req))
}

// finish submits the forms that submit themselves.
func (b *browser) finish(p page) page {
	b.w.t.Helper()
	for range 3 {
		if !strings.Contains(p.body, "document.forms[0].submit()") {
			break
		}
		p = b.submit(p)
	}
	return p
}

// newWorldWith is a world whose login reaches op over the given network.
func newWorldWith(t *testing.T, op *oidctest.Provider, rt http.RoundTripper) *world {
	t.Helper()
	w := &world{t: t, op: op, mux: http.NewServeMux(), provider: oidc.Generic(op.Issuer(), op.ClientID(), op.ClientSecret())}
	var err error
	w.login, err = oidc.NewLogin(w.provider, w.signIn, appURL+"/auth/op", &oidc.Options{
		Client: &http.Client{Transport: rt}, Logger: slog.New(slog.NewTextHandler(lockedWriter{&w.mu, &w.log}, nil)),
	})
	require.NoError(t, err)
	op.AllowRedirect(w.login.RedirectURL())
	w.mux.Handle("/auth/op/", w.login)
	w.mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	return w
}

// switchable is a network that can be down.
type switchable struct {
	http.RoundTripper
	err   error
	asked int
}

func (s *switchable) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked++
	if s.err != nil {
		return nil, s.err
	}
	return s.RoundTripper.RoundTrip(r)
}
