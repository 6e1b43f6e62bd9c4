package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/internal/origin"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

// Config is what a [Service] is made of.
type Config struct {
	// BaseURL is the public origin, such as "https://app.example": redirect URIs
	// and the allowed Origin come from it, never from a request. http is for
	// loopback alone. Required.
	BaseURL string
	// Users keeps the accounts. Required; [NewMemoryStore] is for tests.
	Users Store
	// Passwords hashes and verifies. Required.
	Passwords *password.Hasher
	// Ring signs the access tokens; its public keys are the JWKS. Required.
	Ring *jwt.Ring

	// Issuer and Verifier are for access tokens of Ring. Set both, or neither:
	// then BaseURL is their issuer and audience, and tokens live 5 minutes.
	Issuer   *jwt.Issuer
	Verifier *jwt.Verifier[jwt.AccessClaims]
}

// Options adjust a [Service]. nil and the zero value are safe for production.
type Options struct {
	// Providers are those to sign in with. Each Name is part of its URLs
	// (/auth/NAME/login) and unique. Defaults to none.
	Providers []*oidc.Provider
	// SealingKeys seal the cookies of provider sign-ins and of their ID tokens.
	// Every node needs the same. Defaults to what oidc.Options.Keys defaults to.
	SealingKeys jwt.SealingKeys
	// ProviderClient makes the requests to providers. Defaults to http.DefaultClient.
	ProviderClient *http.Client
	// ErrorPage writes the page of a refused or failed provider sign-in or
	// sign-out, see oidc.Options.ErrorPage.
	ErrorPage func(w http.ResponseWriter, r *http.Request, status int, message string)
	// SignedOutPage writes /auth/NAME/logged-out, to which a provider sends those
	// who have signed out there too, see oidc.Options.SignedOutPage.
	SignedOutPage http.HandlerFunc

	// AllowedOrigins are further browser origins that may send state-changing
	// requests and read the answers (CORS, with credentials). Defaults to none.
	AllowedOrigins []string
	// TrustedProxies are the addresses whose X-Forwarded-For is believed, see
	// [Service.ClientIP]. Defaults to none: the peer is the client.
	TrustedProxies []netip.Prefix

	// Limits are how often one may try. Zero fields mean [DefaultLimits].
	Limits Limits
	// Limiter counts the tries. Several nodes should share one. Defaults to
	// [NewMemoryLimiter].
	Limiter Limiter
	// Once remembers what may happen once. Several nodes must share one.
	// Defaults to [NewMemoryOnce].
	Once Once

	// ClientID is the client_id of access tokens. Defaults to "app".
	ClientID string

	// Events is told what happens, for an audit log. It is called synchronously
	// and must not block. Defaults to none.
	Events func(context.Context, Event)
	// Logger gets events and failures. No password, token, cookie or address of
	// mail is logged at any level. Defaults to slog.Default.
	Logger *slog.Logger
}

// Service is the account system. It is safe for concurrent use. Make one with
// [New].
type Service struct {
	base      string
	users     Store
	sessions  sessions
	passwords *password.Hasher
	ring      *jwt.Ring
	issuer    *jwt.Issuer
	verifier  *jwt.Verifier[jwt.AccessClaims]
	clientID  string

	caller  auth.Authenticator
	origins *session.CSRF
	allowed []string
	proxies []netip.Prefix
	limits  Limits
	limiter Limiter
	once    Once
	logins  []*oidc.Login // one a provider

	events func(context.Context, Event)
	log    *slog.Logger

	stop context.CancelFunc // ends repeat
	done sync.WaitGroup
}

// New returns the account system on these sessions, whatever data they carry.
// It calls nobody, and reports all mistakes at once. It starts a goroutine that
// ends sessions which are owed their end, see [ErrEndingOwed]; Close ends it.
func New[D any](sessions *session.Manager[D], c Config, o *Options) (*Service, error) {
	if o == nil {
		o = &Options{}
	}
	s := &Service{
		users: c.Users, passwords: c.Passwords, ring: c.Ring, issuer: c.Issuer, verifier: c.Verifier,
		clientID: o.ClientID, allowed: slices.Clone(o.AllowedOrigins), proxies: slices.Clone(o.TrustedProxies),
		limits: o.Limits.orDefault(), limiter: o.Limiter, once: o.Once, events: o.Events, log: o.Logger,
	}
	if s.clientID == "" {
		s.clientID = "app"
	}
	if s.limiter == nil {
		s.limiter = NewMemoryLimiter()
	}
	if s.once == nil {
		s.once = NewMemoryOnce()
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	var errs []error
	require := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New("accounts: "+text))
		}
	}
	require(sessions != nil, "no sessions; make them with session.New")
	require(c.Users != nil, "no Config.Users; sqlstore.New makes a store, NewMemoryStore one for tests")
	require(c.Passwords != nil, "no Config.Passwords; make them with password.New")
	require(c.Ring != nil, "no Config.Ring; make them with jwt.NewRing")
	require((c.Issuer == nil) == (c.Verifier == nil), "set both of Config.Issuer and Config.Verifier, or neither")
	s.sessions = sessionsOf[D]{sessions}
	s.caller = auth.OneOf(auth.Via(s.sessions.Authenticate), auth.AuthenticatorFunc(s.bearer))

	var err error
	if s.base, err = origin.Parse(c.BaseURL); err != nil {
		errs = append(errs, fmt.Errorf("accounts: Config.BaseURL: %w", err))
	}
	for i, allowed := range s.allowed {
		if s.allowed[i], err = origin.Parse(allowed); err != nil {
			errs = append(errs, fmt.Errorf("accounts: Options.AllowedOrigins: %w", err))
		}
	}
	if len(errs) == 0 {
		if s.origins, err = session.NewCSRF(append([]string{s.base}, s.allowed...)...); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range s.proxies {
		require(p.IsValid(), "a prefix in Options.TrustedProxies is not valid; use netip.ParsePrefix")
	}
	if c.Issuer == nil && c.Verifier == nil && c.Ring != nil && s.base != "" {
		profile := jwt.AccessToken(s.base, s.base)
		if s.issuer, err = jwt.NewIssuer(profile, c.Ring, 0); err != nil {
			errs = append(errs, err)
		}
		if s.verifier, err = jwt.NewVerifier[jwt.AccessClaims](profile, c.Ring, nil); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.limits.check())
	if s.base != "" {
		errs = append(errs, s.addProviders(o))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.done.Go(func() { s.repeat(ctx) })
	return s, nil
}

// providerName is what may stand in a URL of a provider.
var providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// taken are the names of our own routes under /auth/.
var taken = []string{"register", "login", "me", "logout", "sessions", "password", "session", "token", "revoke", "email", "factors", "identities"}

func (s *Service) addProviders(o *Options) error {
	var errs []error
	seen := map[string]bool{}
	for i, p := range o.Providers {
		switch {
		case p == nil:
			errs = append(errs, fmt.Errorf("accounts: Options.Providers[%d] is nil", i))
			continue
		case !providerName.MatchString(p.Name), slices.Contains(taken, p.Name), seen[p.Name]:
			errs = append(errs, fmt.Errorf("accounts: Options.Providers[%d] is named %q; want lower case letters, digits and dashes, no name twice, and none of %s", i, p.Name, strings.Join(taken, ", ")))
			continue
		}
		seen[p.Name] = true
		login, err := oidc.NewLogin(p, s.signInWith, oidc.BaseURL(s.base+"/auth/"+p.Name), &oidc.Options{
			Keys: o.SealingKeys, Client: o.ProviderClient, ErrorPage: o.ErrorPage, Logger: s.log,
			SignOut: s.Logout, SignedIn: s.signedIn, CheckOrigin: s.origins.Check, SignedOutPage: o.SignedOutPage,
			OnLogout: s.ProviderLogout, Once: s.once,
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("accounts: provider %s: %w", p.Name, err))
			continue
		}
		s.logins = append(s.logins, login)
	}
	return errors.Join(errs...)
}

// storeTimeout bounds what goes on after a client went away.
const storeTimeout = 5 * time.Second

// detached is for steps that a client's going away must not lose.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}
