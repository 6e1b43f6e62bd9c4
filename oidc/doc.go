// Package oidc is "Log in with …": the whole OpenID Connect relying party as
// one http.Handler.
package oidc
