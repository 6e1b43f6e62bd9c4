package oidc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/gatewire/gatewire/internal/seal"
)

var errNoUser = errors.New("oidc: the find function returned no user id and no error")

// SealingKeys seal the flow cookies. Make one with [ParseSealingKeys].
type SealingKeys = seal.Keys

// ParseSealingKeys reads "id:base64[,id:base64…]", 32 bytes each; the first
// seals, all open. An error names the entry, never its content.
func ParseSealingKeys(s string) (SealingKeys, error) { return seal.Parse(s) }

// BaseURL is the URL at which a login is mounted, as browsers see it, for
// example "https://app.example/auth/google": its pages are BaseURL/login and
// BaseURL/callback, and the latter is the redirect URI to register at the
// provider. https, or http on loopback. It comes from configuration, never from
// a request.
type BaseURL string

// Options of [NewLogin]. Nil and the zero value are safe for production.
type Options struct {
	// Keys seal the flow cookies. Every node behind one BaseURL needs the same.
	// Defaults to a key derived from the client secret when that has 16 bytes or
	// more, else to a random one, which only one process knows.
	Keys SealingKeys
	// Client makes the requests to the provider: its Transport is used, with
	// time-outs, size limits and the refusal of redirects laid over it.
	// Defaults to http.DefaultClient.
	Client *http.Client
	// ErrorPage writes the page of a refused or failed sign-in. message is plain
	// text for the user and may hold words of the provider: escape it. The
	// headers Cache-Control, Referrer-Policy and Retry-After are already set.
	// Defaults to a small page of its own.
	ErrorPage func(w http.ResponseWriter, r *http.Request, status int, message string)
	// Logger gets the reason of every refusal and failure, without codes,
	// tokens or secrets. Defaults to slog.Default().
	Logger *slog.Logger
}

// Login is an [http.Handler] for the two pages of signing in with a provider:
// its BaseURL's /login and /callback. It is safe for concurrent use.
type Login struct{}

// NewLogin returns the login for p, mounted at the given URL. Users who prove
// themselves are handed to then. It reports all mistakes at once and doesn't
// touch the network: the provider's metadata is fetched when it is first needed.
func NewLogin(p *Provider, then LoginFunc, at BaseURL, o *Options) (*Login, error) {
	return nil, errors.New("oidc: not yet")
}

// Mount makes a login with default options and registers its pages on mux. One
// URL gives both the paths and the redirect URI, so they can't disagree.
func Mount(mux *http.ServeMux, url string, p *Provider, then LoginFunc) error {
	return errors.New("oidc: not yet")
}

// ServeHTTP serves the login and callback pages, by the request's path.
func (l *Login) ServeHTTP(w http.ResponseWriter, r *http.Request) {}

// Path is the path of the login's BaseURL, for example "/auth/google".
func (l *Login) Path() string { return "" }

// LoginURL is where a sign-in begins: a link or redirect for the browser.
// returnTo is a local absolute path to come back to; see [ReturnPath].
func (l *Login) LoginURL(returnTo string) string { return "" }

// RedirectURL is the callback, the redirect URI to register at the provider.
func (l *Login) RedirectURL() string { return "" }

// Provider returns a copy of the provider this login is for.
func (l *Login) Provider() *Provider { return nil }

// Ready fetches the provider's metadata unless it is known, and reports why
// that fails. It is for health probes; logins do it themselves.
func (l *Login) Ready(ctx context.Context) error { return nil }

// ReturnPath returns s when it is a local absolute path, optionally with a query
// and fragment, that no browser takes for another origin; else "/".
func ReturnPath(s string) string { return "/" }
