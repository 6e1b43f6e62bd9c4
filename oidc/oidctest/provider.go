// Package oidctest is a complete OpenID Connect provider for tests and for
// development: a real code flow with PKCE, and every fault on request.
package oidctest

import (
	"errors"
	"net/http"
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

// Options of [New]. Nil and the zero value make a provider with a few users and
// one client with the id "app" and a random secret.
type Options struct {
	// ClientID and ClientSecret are the one client's. Default to "app" and a
	// random secret; see [Provider.ClientSecret].
	ClientID     string
	ClientSecret string
	// RedirectURIs are the client's, matched exactly. Add more with
	// [Provider.AllowRedirect].
	RedirectURIs []string
	// Users to pick from. Defaults to three.
	Users []User
	// AutoPick signs in the first user, or the one named by login_hint, without
	// showing the page.
	AutoPick bool
}

// Provider is the provider, an http.Handler for everything under its issuer.
type Provider struct{}

// New returns a provider. issuer is the URL at which it is mounted, as its
// client and the browser see it; it may have a path.
func New(issuer string, o *Options) (*Provider, error) { return nil, errors.New("oidctest: not yet") }

// ServeHTTP serves discovery, keys, authorize, token, userinfo and end_session
// under the issuer's path.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {}

// Issuer is the provider's issuer identifier.
func (p *Provider) Issuer() string { return "" }

// ClientID is the registered client's id.
func (p *Provider) ClientID() string { return "" }

// ClientSecret is the registered client's secret.
func (p *Provider) ClientSecret() string { return "" }

// AllowRedirect registers another redirect URI.
func (p *Provider) AllowRedirect(uri string) {}

// TB is the part of testing.TB that [NewServer] needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// NewServer runs a provider on a loopback port until the test ends. Its users
// are picked without a page (AutoPick) unless o says otherwise.
func NewServer(t TB, o *Options) *Provider { return nil }
