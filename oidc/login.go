package oidc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatewire/gatewire/internal/seal"
)

var errNoUser = errors.New("oidc: the find function returned no user id and no error")

// SealingKeys seal the flow cookies and the ID tokens kept for a sign-out; see [ParseSealingKeys].
type SealingKeys = seal.Keys

// ParseSealingKeys reads "id:base64[,id:base64…]", 32 bytes each; the first
// seals, all open: put a new one in front to replace an old one. The output of
// "openssl rand -base64 32" makes one. An error names the entry, never its content.
func ParseSealingKeys(s string) (SealingKeys, error) { return seal.Parse(s) }

// BaseURL is the URL at which a login is mounted, as browsers see it, for
// example "https://app.example/auth/google": its pages are BaseURL/login and
// BaseURL/callback, and the latter is the redirect URI to register at the
// provider. [Options] can add BaseURL/logout, BaseURL/logged-out and
// BaseURL/backchannel. https, or http on loopback. It comes from configuration, never from
// a request.
type BaseURL string

// Options of [NewLogin]. Nil and the zero value are safe for production.
type Options struct {
	// Keys seal the cookies of flows and of ID token hints. Every node behind one BaseURL needs the same.
	// Defaults to a key derived from the client secret when that has 16 bytes or
	// more, else to a random one, which only one process knows.
	Keys SealingKeys
	// Client makes the requests to the provider: its Transport is used, with
	// time-outs, size limits and the refusal of redirects laid over it.
	// Defaults to http.DefaultClient.
	Client *http.Client

	// SignOut ends the session of a request here, as session.Manager.Logout does;
	// an error means that it may live on. Setting it adds two pages: a form posted
	// to BaseURL/logout signs out here and then sends the browser to sign out at
	// the provider too, which sends it back to BaseURL/logged-out (register this
	// one there). Until then the ID token rests sealed in a cookie for that page
	// alone. Defaults to none: these pages are 404.
	SignOut func(http.ResponseWriter, *http.Request) error
	// SignedIn returns the provider's issuer and subject that a request's session
	// began with, both empty for none or another way of signing in. The ID token is
	// sent along to the provider only when it is theirs: in a browser that several
	// people use, it may be of who was there before. Defaults to not asking.
	SignedIn func(*http.Request) (issuer, subject string)
	// CheckOrigin refuses a sign-out that another site's page posts, as
	// session.CSRF.Check does. Defaults to taking an Origin only when it is
	// BaseURL's.
	CheckOrigin func(*http.Request) error
	// SignedOutPage writes BaseURL/logged-out. Anybody can open that page, with
	// any state or none: it must change nothing. Defaults to a small page of its own.
	SignedOutPage http.HandlerFunc
	// OnLogout ends the sessions that the provider says have ended; see
	// [ProviderLogout]. Setting it adds BaseURL/backchannel, where the provider's
	// server posts its logout tokens (register it there). It may be called again
	// for the same logout. An error means that sessions may live on: the provider
	// is answered 503, and may try again. Defaults to none: 404.
	OnLogout func(context.Context, ProviderLogout) error
	// Once remembers the logout tokens that were used. Every node behind one
	// BaseURL needs the same. Defaults to the memory of this process.
	Once Once

	// ErrorPage writes the page of a refused or failed sign-in or sign-out. message is plain
	// text for the user and may hold words of the provider: escape it. The
	// headers Cache-Control, Referrer-Policy and Retry-After are already set.
	// Defaults to a small page of its own.
	ErrorPage func(w http.ResponseWriter, r *http.Request, status int, message string)
	// Logger gets the reason of every refusal and failure, without codes,
	// tokens or secrets. Defaults to slog.Default().
	Logger *slog.Logger
}

// Login is an [http.Handler] for the pages of signing in with a provider, its
// BaseURL's /login and /callback, and those that [Options] add. It is safe for concurrent use.
type Login struct {
	provider *Provider
	then     LoginFunc
	base     string // BaseURL without a trailing slash
	path     string // its path
	origin   string // its origin
	flows    *flows // a pointer, so that no fmt verb prints its keys
	client   *http.Client
	metadata *source[*metadata]

	signOut     func(http.ResponseWriter, *http.Request) error // nil: no logout page
	signedIn    func(*http.Request) (issuer, subject string)   // nil: not asked
	checkOrigin func(*http.Request) error
	hints       *hints
	signedOut   http.HandlerFunc
	onLogout    func(context.Context, ProviderLogout) error // nil: no back-channel logout
	once        Once

	page func(w http.ResponseWriter, r *http.Request, status int, message string)
	log  *slog.Logger
}

// NewLogin returns the login for p at the given URL; register it on a mux for
// [Login.Path] + "/". Users who prove themselves are handed to then. It reports all mistakes at once and doesn't
// touch the network: the provider's metadata is fetched when it is first needed.
func NewLogin(p *Provider, then LoginFunc, at BaseURL, o *Options) (*Login, error) {
	if o == nil {
		o = &Options{}
	}
	var mistakes []error
	if p == nil {
		return nil, errors.New("oidc: no provider: pass oidc.Google(…) or oidc.Generic(…)")
	}
	p = p.clone()
	mistakes = append(mistakes, p.validate())
	if then == nil {
		mistakes = append(mistakes, errors.New("no LoginFunc: pass a function that signs the user in, or Then(find, login)"))
	}
	base, err := at.parse()
	if err != nil {
		mistakes = append(mistakes, err)
	}
	keys, err := flowKeys(p, o.Keys)
	mistakes = append(mistakes, err)
	if err := errors.Join(mistakes...); err != nil {
		return nil, fmt.Errorf("oidc: %w", err)
	}

	l := &Login{
		provider: p, then: then,
		base: base.String(), path: base.Path,
		origin: originOf(base),
		client: guardedClient(o.Client),

		signOut: o.SignOut, signedIn: o.SignedIn, checkOrigin: o.CheckOrigin, signedOut: o.SignedOutPage,
		onLogout: o.OnLogout, once: o.Once,

		page: o.ErrorPage,
		log:  cmp.Or(o.Logger, slog.Default()).With("provider", p.Name),
	}
	if l.checkOrigin == nil {
		l.checkOrigin = l.sameOrigin
	}
	if l.signedOut == nil {
		l.signedOut = writeSignedOutPage
	}
	if l.once == nil {
		l.once = newMemoryOnce()
	}
	l.flows = &flows{keys: keys, secure: base.Scheme == "https", binding: strings.Join([]string{p.Issuer, p.ClientID, l.RedirectURL()}, "\n")}
	l.hints = &hints{keys: keys, secure: l.flows.secure, path: l.path + "/logout", binding: l.flows.binding}
	l.metadata = newMetadata(p, l.client)
	return l, nil
}

// Mount makes a login with default options and registers its pages on mux. One
// URL gives both the paths and the redirect URI, so they can't disagree.
func Mount(mux *http.ServeMux, url string, p *Provider, then LoginFunc) error {
	if mux == nil {
		return errors.New("oidc: Mount: nil mux; pass http.NewServeMux()")
	}
	l, err := NewLogin(p, then, BaseURL(url), nil)
	if err != nil {
		return err
	}
	return l.Mount(mux)
}

// Mount registers the login's pages on mux. A pattern that mux has already is
// an error.
func (l *Login) Mount(mux *http.ServeMux) (err error) {
	defer func() { // ServeMux panics on a conflict; a start-up mistake is an error here
		if v := recover(); v != nil {
			err = fmt.Errorf("oidc: %v", v)
		}
	}()
	mux.Handle("GET "+l.path+"/login", l)
	mux.Handle("GET "+l.path+"/callback", l)
	mux.Handle("POST "+l.path+"/callback", l)
	if l.signOut != nil {
		mux.Handle("POST "+l.path+"/logout", l)
		mux.Handle("GET "+l.path+"/logged-out", l)
	}
	if l.onLogout != nil {
		mux.Handle("POST "+l.path+"/backchannel", l)
	}
	return nil
}

// Path is the path of the login's BaseURL, for example "/auth/google".
func (l *Login) Path() string { return l.path }

// LoginURL is where a sign-in begins: a link or redirect for the browser.
// returnTo is a local absolute path to come back to; see [ReturnPath].
func (l *Login) LoginURL(returnTo string) string {
	return l.base + "/login" + returnQuery(returnTo)
}

// RedirectURL is the callback, the redirect URI to register at the provider.
func (l *Login) RedirectURL() string { return l.base + "/callback" }

// Provider returns a copy of the provider this login is for.
func (l *Login) Provider() *Provider { return l.provider.clone() }

// Ready fetches the provider's metadata unless it is known, and reports why
// that fails. It is for health probes; logins do it themselves.
func (l *Login) Ready(ctx context.Context) error {
	_, _, err := l.metadata.get(ctx)
	return err
}

// ServeHTTP serves the login's pages, by the request's path.
func (l *Login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var serve http.HandlerFunc
	var methods []string
	page, below := strings.CutPrefix(r.URL.Path, l.path)
	switch {
	case !below:
	case page == "/login":
		serve, methods = l.serveLogin, []string{http.MethodGet}
	case page == "/callback":
		serve, methods = l.serveCallback, []string{http.MethodGet, http.MethodPost}
	case page == "/logout" && l.signOut != nil:
		serve, methods = l.serveLogout, []string{http.MethodPost}
	case page == "/logged-out" && l.signOut != nil:
		serve, methods = l.signedOut, []string{http.MethodGet, http.MethodHead}
	case page == "/backchannel" && l.onLogout != nil:
		serve, methods = l.serveBackchannel, []string{http.MethodPost}
	}
	switch {
	case serve == nil:
		http.NotFound(w, r)
	case !slices.Contains(methods, r.Method):
		w.Header().Set("Allow", strings.Join(methods, ", "))
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	default:
		serve(w, r)
	}
}

// serveLogin begins a flow and sends the browser to the provider.
func (l *Login) serveLogin(w http.ResponseWriter, r *http.Request) {
	privateHeaders(w)
	returnTo := "/"
	if values := r.URL.Query()["return_to"]; len(values) == 1 {
		returnTo = ReturnPath(values[0])
	}
	meta, _, err := l.metadata.get(r.Context())
	if err != nil {
		l.fail(w, r, returnTo, err)
		return
	}
	f, err := newFlow(returnTo)
	if err != nil {
		l.fail(w, r, returnTo, err)
		return
	}
	if err := l.flows.begin(w, r, f); err != nil {
		l.fail(w, r, returnTo, err)
		return
	}
	config := l.oauth2(meta)
	http.Redirect(w, r, config.AuthCodeURL(f.state, l.authParams(f)...), http.StatusFound)
}

func (l *Login) oauth2(meta *metadata) *oauth2.Config {
	return &oauth2.Config{
		ClientID:     l.provider.ClientID,
		ClientSecret: l.provider.secret,
		Endpoint:     oauth2.Endpoint{AuthURL: meta.authURL, TokenURL: meta.tokenURL, AuthStyle: meta.authStyle},
		RedirectURL:  l.RedirectURL(),
		Scopes:       l.provider.scopes(),
	}
}

func (l *Login) authParams(f *flow) []oauth2.AuthCodeOption {
	p := l.provider
	params := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier), gooidc.Nonce(f.Nonce)}
	set := func(name, value string) {
		if value != "" {
			params = append(params, oauth2.SetAuthURLParam(name, value))
		}
	}
	set("prompt", p.Prompt)
	set("acr_values", strings.Join(p.ACRValues, " "))
	set("hd", p.HostedDomain)
	if p.FormPost {
		set("response_mode", "form_post")
	}
	if p.MaxAge > 0 {
		set("max_age", strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
	}
	if p.MaxAge > 0 && p.google { // which ignores max_age, and tells the time when it is asked in this way
		set("claims", `{"id_token":{"auth_time":{"essential":true}}}`)
	}
	if p.Offline && p.google { // Google has no offline_access, and gives a refresh token only with consent
		set("access_type", "offline")
		if !slices.Contains(strings.Fields(p.Prompt), "consent") {
			set("prompt", strings.TrimSpace("consent "+p.Prompt))
		}
	}
	return params
}

// fail answers with the error page of a sign-in, and tells the log why.
func (l *Login) fail(w http.ResponseWriter, r *http.Request, returnTo string, err error) {
	l.failPage(w, r, "Sign-in failed", l.path+"/login"+returnQuery(returnTo), err)
}

func (l *Login) failPage(w http.ResponseWriter, r *http.Request, title, again string, err error) {
	f := asFailure(err)
	level := slog.LevelWarn
	if f.status >= 500 {
		level = slog.LevelError
	}
	l.log.Log(r.Context(), level, "oidc: "+strings.ToLower(title), "status", f.status, "reason", f.reason.Error())
	if f.retryAfter > 0 {
		setRetryAfter(w, f.retryAfter)
	}
	if l.page != nil {
		l.page(w, r, f.status, f.message)
		return
	}
	writeErrorPage(w, f.status, title, f.message, again)
}

func setRetryAfter(w http.ResponseWriter, d time.Duration) {
	seconds := int64(math.Ceil(d.Seconds()))
	w.Header().Set("Retry-After", strconv.FormatInt(max(seconds, 1), 10))
}

func returnQuery(returnTo string) string {
	if returnTo = ReturnPath(returnTo); returnTo != "/" {
		return "?return_to=" + url.QueryEscape(returnTo)
	}
	return ""
}

// privateHeaders keep what passes here out of caches and of other sites' logs.
func privateHeaders(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
}
