package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	metadataFresh = time.Hour
	metadataStale = 7 * 24 * time.Hour
)

// metadata is what discovery said, checked.
type metadata struct {
	authURL     string
	tokenURL    string
	userInfoURL string // empty when there is none
	jwksURL     string
	authStyle   oauth2.AuthStyle
	algs        []string
	issRequired bool // RFC 9207 section 2.3
	keys        *keySet
	// endSession is nil when there is none (RP-Initiated Logout 1.0 section
	// 2.1), or when endSessionErr says what is wrong with it: nobody's sign-in
	// hangs on it.
	endSession    *url.URL
	endSessionErr error
}

// newMetadata returns the lazy, self-healing discovery of a provider.
func newMetadata(p *Provider, client *http.Client) *source[*metadata] {
	return &source[*metadata]{
		fresh: metadataFresh,
		stale: metadataStale,
		fetch: func(ctx context.Context, last *metadata) (*metadata, error) {
			m, err := discover(ctx, p, client)
			if err != nil {
				return nil, err
			}
			if last != nil && last.jwksURL == m.jwksURL {
				m.keys = last.keys
			} else {
				m.keys = newKeySet(m.jwksURL, client)
			}
			return m, nil
		},
	}
}

func discover(ctx context.Context, p *Provider, client *http.Client) (*metadata, error) {
	provider, err := gooidc.NewProvider(gooidc.ClientContext(ctx, client), p.Issuer)
	if err != nil {
		return nil, discoveryFailure(err)
	}
	var doc struct {
		AuthURL     string   `json:"authorization_endpoint"`
		TokenURL    string   `json:"token_endpoint"`
		UserInfoURL string   `json:"userinfo_endpoint"`
		JWKSURL     string   `json:"jwks_uri"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		Algs        []string `json:"id_token_signing_alg_values_supported"`
		Iss         bool     `json:"authorization_response_iss_parameter_supported"`
		EndSession  string   `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&doc); err != nil {
		return nil, badAnswer("discovery: %w", err)
	}
	m := &metadata{
		authURL: doc.AuthURL, tokenURL: doc.TokenURL, userInfoURL: doc.UserInfoURL, jwksURL: doc.JWKSURL,
		algs: usableAlgs(doc.Algs), issRequired: doc.Iss,
	}
	var mistakes []error
	for name, endpoint := range map[string]string{
		"authorization_endpoint": m.authURL, "token_endpoint": m.tokenURL, "jwks_uri": m.jwksURL, "userinfo_endpoint": m.userInfoURL,
	} {
		if name == "userinfo_endpoint" && endpoint == "" {
			continue
		}
		if err := p.checkEndpoint(endpoint); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s %w", name, err))
		}
	}
	if doc.EndSession != "" {
		if m.endSessionErr = p.checkEndpoint(doc.EndSession); m.endSessionErr == nil {
			m.endSession, m.endSessionErr = url.Parse(doc.EndSession)
		}
	}
	m.authStyle, err = p.authStyle(doc.AuthMethods)
	mistakes = append(mistakes, err)
	if err := errors.Join(mistakes...); err != nil {
		return nil, badAnswer("discovery: %w", err)
	}
	return m, nil
}

// discoveryFailure tells a provider that is down from one that is wrong.
func discoveryFailure(err error) error {
	var mismatch *gooidc.IssuerMismatchError
	switch {
	case errors.As(err, &mismatch):
		return badAnswer("discovery: the issuer is configured as %q, but the provider calls itself %q", mismatch.Provided, mismatch.Discovered)
	case errors.Is(err, errTooLarge), errors.Is(err, errRedirect):
		return badAnswer("discovery: %w", err)
	}
	return unavailable("discovery: %s", plainText(err.Error(), 300)) // it may end in the provider's whole answer
}

// checkEndpoint allows http only to a provider whose issuer is http too.
func (p *Provider) checkEndpoint(s string) error {
	u, err := parseEndpoint(s)
	if err != nil {
		return err
	}
	if issuer, err := parseEndpoint(p.Issuer); err != nil || u.Scheme == "http" && issuer.Scheme != "http" {
		return errors.New("must be https")
	}
	return nil
}

// authStyle picks how the token request authenticates. It is never left to
// x/oauth2's detection, which sends the code again after any error.
func (p *Provider) authStyle(methods []string) (oauth2.AuthStyle, error) {
	basic := slices.Contains(methods, "client_secret_basic")
	post := slices.Contains(methods, "client_secret_post")
	switch {
	case p.secret == "": // a public client names itself in the body
		return oauth2.AuthStyleInParams, nil
	case p.google && post: // what Google's own documentation shows
		return oauth2.AuthStyleInParams, nil
	case basic, len(methods) == 0: // the default of Discovery 1.0 section 3
		return oauth2.AuthStyleInHeader, nil
	case post:
		return oauth2.AuthStyleInParams, nil
	}
	return 0, fmt.Errorf("the token endpoint takes only %q, not client_secret_basic or client_secret_post", methods)
}

// asymmetricAlgs are those whose key is public. HMAC would take the client
// secret for a signing key, "none" nothing.
var asymmetricAlgs = [...]string{
	gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.PS256, gooidc.PS384, gooidc.PS512,
	gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.EdDSA,
}

func usableAlgs(offered []string) []string {
	var algs []string
	for _, alg := range offered {
		if slices.Contains(asymmetricAlgs[:], alg) && !slices.Contains(algs, alg) {
			algs = append(algs, alg)
		}
	}
	if len(algs) == 0 {
		algs = []string{gooidc.RS256} // OpenID Connect Core 1.0 section 3.1.3.7, rule 7
	}
	return algs
}
