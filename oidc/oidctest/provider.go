// Package oidctest is a complete OpenID Connect provider for tests and for
// development: a real code flow with PKCE, and every fault on request.
//
// [NewServer] runs one for a test. [New] makes a handler that a program on a
// developer's machine mounts under its own origin: a page then lets one pick a
// user, or type a new one. It proves nobody's identity, so never let others
// reach it. It signs in whomever they ask for.
//
//	op := oidctest.NewServer(t, nil)
//	p := oidc.Generic(op.Issuer(), op.ClientID(), op.ClientSecret())
//	login, err := oidc.NewLogin(p, signIn, "http://127.0.0.1:8080/auth/dev", nil)
//	op.AllowRedirect(login.RedirectURL())
//	op.Inject(oidctest.WrongNonce) // and see that nobody gets in
package oidctest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// User is somebody who can sign in at the provider.
type User struct {
	// Subject is the claim sub. Defaults to a value derived from Email.
	Subject string
	Email   string
	// EmailUnverified makes email_verified false.
	EmailUnverified bool
	Name            string
	Picture         string
	// Claims are added to, or replace, the claims above.
	Claims map[string]any
}

// Options of [New]. Nil and the zero value make a provider with three users and
// one client with the id "app" and a random secret.
type Options struct {
	// ClientID and ClientSecret are the one client's. Default to "app" and a
	// random secret; see [Provider.ClientSecret].
	ClientID     string
	ClientSecret string
	// Public makes a client without a secret.
	Public bool
	// TokenAuth is how the client authenticates: "client_secret_basic" or
	// "client_secret_post". Defaults to the former. Others are refused.
	TokenAuth string
	// RedirectURIs are the client's, matched exactly, for sign-in and sign-out.
	// Add more with [Provider.AllowRedirect].
	RedirectURIs []string
	// BackchannelURI is the client's backchannel_logout_uri, see [Provider.Logout].
	// Set it later with [Provider.SendLogoutTo]. Defaults to none.
	BackchannelURI string
	// LogoutClient posts the logout tokens. Defaults to one with a time-out of
	// 10 seconds.
	LogoutClient *http.Client

	// Users to pick from. Defaults to three.
	Users []User
	// AutoPick signs in the first user, or the one whose email login_hint names,
	// without showing the page.
	AutoPick bool
	// UserInfoOnly leaves the claims about the user out of the ID token.
	UserInfoOnly bool
	// Alg signs ID tokens: ES256, RS256 or EdDSA. Defaults to ES256.
	Alg string
	// Metadata is laid over the discovery document; a nil value removes a member.
	Metadata map[string]any
}

// Provider is the provider, an http.Handler for everything under its issuer.
// It is safe for concurrent use.
type Provider struct {
	issuer string
	path   string // of the issuer
	o      Options

	mu        sync.Mutex
	faults    map[Fault]bool
	redirects []string
	keys      []*signingKey // the last signs, all are published
	codes     map[string]*grant
	tokens    map[string]*grant // by access token
	asked     map[string]int

	backchannel string
	sessions    map[string]*opSession // by sid
	issued      map[[32]byte]string   // sid, by the SHA-256 of an ID token
	lastLogout  string                // the last logout token
}

// grant is what a user agreed to.
type grant struct {
	user      User
	nonce     string
	challenge string
	redirect  string
	scopes    []string
	acr       string
	sid       string
	authTime  time.Time
	expires   time.Time
	fault     Fault // of this sign-in alone
}

const (
	codeLifetime  = time.Minute
	tokenLifetime = 5 * time.Minute
	maxGrants     = 10_000
)

// New returns a provider. issuer is the URL at which it is mounted, as its
// client and the browser see it; it may have a path.
func New(issuer string, o *Options) (*Provider, error) {
	if o == nil {
		o = &Options{}
	}
	p := &Provider{
		issuer: issuer, o: *o,
		faults: map[Fault]bool{}, codes: map[string]*grant{}, tokens: map[string]*grant{}, asked: map[string]int{},
		sessions: map[string]*opSession{}, issued: map[[32]byte]string{}, backchannel: o.BackchannelURI,
		redirects: slices.Clone(o.RedirectURIs),
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(issuer, "/") {
		return nil, fmt.Errorf("oidctest: issuer %q: want a URL without query, fragment and final slash", issuer)
	}
	p.path = u.Path
	if p.o.LogoutClient == nil {
		p.o.LogoutClient = &http.Client{Timeout: 10 * time.Second}
	}
	if p.o.ClientID == "" {
		p.o.ClientID = "app"
	}
	switch {
	case p.o.Public && p.o.ClientSecret != "":
		return nil, errors.New("oidctest: a public client has no secret")
	case p.o.Public:
		p.o.TokenAuth = "none"
	case p.o.ClientSecret == "":
		p.o.ClientSecret = rand.Text()
	}
	if p.o.TokenAuth == "" {
		p.o.TokenAuth = "client_secret_basic"
	}
	if !slices.Contains([]string{"none", "client_secret_basic", "client_secret_post"}, p.o.TokenAuth) {
		return nil, fmt.Errorf("oidctest: TokenAuth %q: want client_secret_basic or client_secret_post", p.o.TokenAuth)
	}
	if p.o.Alg == "" {
		p.o.Alg = "ES256"
	}
	p.o.Users = slices.Clone(o.Users)
	if len(p.o.Users) == 0 {
		p.o.Users = []User{
			{Email: "alice@example.com", Name: "Alice Adams"},
			{Email: "bob@example.com", Name: "Bob Brown"},
			{Email: "carol@example.org", Name: "Carol Clark", EmailUnverified: true},
		}
	}
	key, err := newSigningKey(p.o.Alg)
	if err != nil {
		return nil, err
	}
	p.keys = []*signingKey{key}
	return p, nil
}

// Issuer is the provider's issuer identifier.
func (p *Provider) Issuer() string { return p.issuer }

// ClientID is the registered client's id.
func (p *Provider) ClientID() string { return p.o.ClientID }

// ClientSecret is the registered client's secret, empty for a public one.
func (p *Provider) ClientSecret() string { return p.o.ClientSecret }

// AllowRedirect registers another redirect URI.
func (p *Provider) AllowRedirect(uri string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redirects = append(p.redirects, uri)
}

func (p *Provider) allowsRedirect(uri string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.redirects, uri)
}

// Asked counts the requests an endpoint has had.
func (p *Provider) Asked(e Endpoint) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[string(e)]
}

// ServeHTTP serves discovery, keys, authorize, token, userinfo, end_session and
// a page to end sessions by, sessions, under the issuer's path.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, p.path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	w.Header().Set("Cache-Control", "no-store")
	switch path {
	case "/.well-known/openid-configuration":
		p.serve(w, r, Discovery, p.serveMetadata)
	case "/keys":
		p.serve(w, r, Keys, p.serveKeys)
	case "/authorize":
		p.serveAuthorize(w, r)
	case "/token":
		p.serve(w, r, Token, p.serveToken)
	case "/userinfo":
		p.serve(w, r, UserInfo, p.serveUserInfo)
	case "/end_session":
		p.serveEndSession(w, r)
	case "/sessions":
		p.serveSessions(w, r)
	default:
		http.NotFound(w, r)
	}
}

// serve counts the request, and fails as a whole when that was asked for.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request, e Endpoint, f http.HandlerFunc) {
	p.mu.Lock()
	p.asked[string(e)]++
	p.mu.Unlock()
	if err := r.ParseForm(); err != nil { // also reads the body, so that a given-up request is noticed
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	switch {
	case p.has(Down(e)):
		http.Error(w, "down", http.StatusServiceUnavailable)
	case p.has(Fails(e)):
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("<h1>Internal error</h1>"))
	case p.has(Garbage(e)):
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("<!DOCTYPE html><p>not JSON"))
	case p.has(Huge(e)):
		writeHuge(w)
	case p.has(Hangs(e)):
		<-r.Context().Done()
	case p.has(Redirects(e)) && !r.URL.Query().Has("redirected"):
		http.Redirect(w, r, r.URL.Path+"?redirected=1", http.StatusTemporaryRedirect)
	default:
		f(w, r)
	}
}

func writeHuge(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	chunk := []byte(strings.Repeat(" ", 64<<10))
	_, _ = w.Write([]byte("{"))
	for range (200 << 20) / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
	_, _ = w.Write([]byte("}"))
}

func (p *Provider) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{
		"issuer":                                         p.issuer,
		"authorization_endpoint":                         p.issuer + "/authorize",
		"token_endpoint":                                 p.issuer + "/token",
		"userinfo_endpoint":                              p.issuer + "/userinfo",
		"jwks_uri":                                       p.issuer + "/keys",
		"end_session_endpoint":                           p.issuer + "/end_session",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query", "form_post"},
		"grant_types_supported":                          []string{"authorization_code"},
		"subject_types_supported":                        []string{"public"},
		"scopes_supported":                               []string{"openid", "email", "profile"},
		"id_token_signing_alg_values_supported":          []string{"RS256", "ES256", "EdDSA"},
		"token_endpoint_auth_methods_supported":          []string{p.o.TokenAuth},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
	}
	maps.Copy(doc, p.o.Metadata)
	maps.DeleteFunc(doc, func(_ string, v any) bool { return v == nil })
	if p.has(MetadataWrongIssuer) {
		doc["issuer"] = p.issuer + "/other"
	}
	if p.has(MetadataHTTP) {
		doc["token_endpoint"] = "http://provider.example/token"
	}
	writeJSON(w, http.StatusOK, doc)
}
