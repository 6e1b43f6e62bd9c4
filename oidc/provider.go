package oidc

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
)

// A Provider says with whom users sign in, and as which client. [Google] and
// [Generic] make one; set its fields before passing it to [NewLogin], which
// keeps a copy. Making one needs no network. It prints without its secret.
type Provider struct {
	// Name is a short name of lower-case letters, digits and dashes for logs and
	// [Profile].Provider. Defaults to "google" or "oidc".
	Name string
	// Issuer is the provider's issuer identifier, exactly as in its metadata.
	// https, or http on loopback.
	Issuer string
	// ClientID is what the provider calls this application.
	ClientID string

	// Scopes asked for. "openid" is always added. Defaults to openid, email
	// and profile.
	Scopes []string
	// MaxAge asks that the user has proved themselves to the provider within
	// this time (max_age, whole seconds, rounded down: a nanosecond asks for a
	// proof now), and refuses an ID token that doesn't say so. Zero asks nothing.
	// Google says so to verified applications alone, whose "Session age claims"
	// are switched on in its console, and never asks a user again.
	MaxAge time.Duration
	// ACRValues asks for one of these authentication context classes, and
	// refuses an ID token that names none of them.
	ACRValues []string
	// Prompt is sent as it is, for example "login" or "select_account".
	Prompt string
	// Offline asks for a refresh token, in the way this provider wants it.
	Offline bool
	// FormPost asks the provider to answer with response_mode=form_post.
	FormPost bool

	// HostedDomain admits only users of this Google Workspace domain, or with
	// "*" of any: the claim is checked, not only asked for. Google only.
	HostedDomain string
	// EmailDomains are the domains for whose mailboxes this provider is the
	// authority, such as a company's own provider for the company's domain: see
	// [Profile].EmailAuthoritative. Lower case, exact.
	EmailDomains []string
	// TrustedAudiences may stand in an ID token's audience beside ClientID.
	// Every other extra audience is refused.
	TrustedAudiences []string

	secret string
	google bool
}

const googleIssuer = "https://accounts.google.com"

// Google is "Sign in with Google". Register the login's callback URL
// ([Login.RedirectURL]) in the Google Cloud console.
func Google(clientID, clientSecret string) *Provider {
	p := Generic(googleIssuer, clientID, clientSecret)
	p.Name, p.google = "google", true
	return p
}

// Generic is any OpenID Connect provider with discovery. An empty clientSecret
// makes a public client, protected by PKCE alone.
func Generic(issuer, clientID, clientSecret string) *Provider {
	return &Provider{
		Name:     "oidc",
		Issuer:   issuer,
		ClientID: clientID,
		Scopes:   []string{"openid", "email", "profile"},
		secret:   clientSecret,
	}
}

func (p *Provider) clone() *Provider {
	c := *p
	c.Scopes = slices.Clone(p.Scopes)
	c.ACRValues = slices.Clone(p.ACRValues)
	c.EmailDomains = slices.Clone(p.EmailDomains)
	c.TrustedAudiences = slices.Clone(p.TrustedAudiences)
	return &c
}

// scopes are what is asked for.
func (p *Provider) scopes() []string {
	scopes := slices.Clone(p.Scopes)
	if !slices.Contains(scopes, gooidc.ScopeOpenID) {
		scopes = append([]string{gooidc.ScopeOpenID}, scopes...)
	}
	if p.Offline && !p.google && !slices.Contains(scopes, gooidc.ScopeOfflineAccess) {
		scopes = append(scopes, gooidc.ScopeOfflineAccess)
	}
	return scopes
}

// validate reports every mistake.
func (p *Provider) validate() error {
	var mistakes []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			mistakes = append(mistakes, fmt.Errorf(format, args...))
		}
	}
	wrong(!isName(p.Name), "provider name %q: use 1 to 32 lower-case letters, digits and dashes", p.Name)
	u, err := parseEndpoint(p.Issuer)
	wrong(err != nil, "issuer %q: %w", p.Issuer, err)
	wrong(err == nil && (u.RawQuery != "" || u.ForceQuery), "issuer %q: must not have a query", p.Issuer)
	wrong(p.ClientID == "", "no client ID: register the application at the provider")
	wrong(strings.TrimSpace(p.ClientID) != p.ClientID, "client ID: has blanks or a newline around it")
	wrong(strings.TrimSpace(p.secret) != p.secret, "client secret: has blanks or a newline around it")
	wrong(p.google && p.Issuer != googleIssuer, "issuer %q: use oidc.Generic for what is not Google", p.Issuer)
	wrong(p.google && p.secret == "", "no client secret: Google gives web applications one")
	wrong(p.MaxAge < 0, "MaxAge %v: use zero to ask for nothing", p.MaxAge)
	wrong(p.HostedDomain != "" && !p.google, "HostedDomain is a claim of Google alone: check Profile.Claims in the LoginFunc instead")
	if _, ascii := lowerASCII(p.HostedDomain); p.HostedDomain != "*" {
		wrong(!ascii || strings.ContainsAny(p.HostedDomain, "@*/ "), "hosted domain %q: write it as in example.com", p.HostedDomain)
	}
	for _, s := range p.Scopes {
		wrong(s == "" || strings.ContainsAny(s, " \"\\"), "scope %q: one scope an entry, without spaces", s)
	}
	for _, s := range p.ACRValues {
		wrong(s == "" || strings.Contains(s, " "), "ACR value %q: one value an entry, without spaces", s)
	}
	for _, d := range p.EmailDomains {
		lower, ascii := lowerASCII(d)
		wrong(d == "" || d != lower || !ascii || strings.ContainsAny(d, "@* "), "email domain %q: write it as in example.com", d)
	}
	for _, a := range p.TrustedAudiences {
		wrong(a == "", "an empty trusted audience")
	}
	return errors.Join(mistakes...)
}

func isName(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Format keeps the client secret out of every fmt verb.
func (p Provider) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "oidc provider %s (issuer %s, client %s)", p.Name, p.Issuer, p.ClientID)
}

// LogValue keeps the client secret out of slog.
func (p Provider) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", p.Name), slog.String("issuer", p.Issuer), slog.String("client_id", p.ClientID))
}

// IDToken is a raw ID token that was verified. It prints as REDACTED; convert
// it with string(t) to send it as an id_token_hint.
type IDToken string

// Format keeps the token out of every fmt verb.
func (IDToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "REDACTED") }

// LogValue keeps the token out of slog.
func (IDToken) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// MarshalText keeps the token out of JSON and other encodings.
func (IDToken) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }
