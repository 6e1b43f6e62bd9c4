package oidc

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// A Provider says with whom users sign in, and as which client. [Google] and
// [Generic] make one; set its fields before passing it to [NewLogin], which
// keeps a copy. Making one needs no network. It prints without its secret.
type Provider struct {
	// Name is a short name of letters, digits and dashes for logs and
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
