package main

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc/oidctest"
)

// An app whose provider is down starts, says so to whoever signs in with it,
// and goes on by itself once the provider is back.
func TestProviderDownHeals(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	issuer := "http://" + addr

	p := start(t, "OIDC_ISSUER="+issuer, "OIDC_CLIENT_ID=app", "OIDC_CLIENT_SECRET=a-client-secret-of-some-length")
	c := browser(t)
	res := send(t, noRedirect(c), "GET", p.url+"/auth/oidc/login", "")
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	res = send(t, noRedirect(c), "GET", p.url+"/auth/dev/login", "")
	require.Equal(t, http.StatusNotFound, res.StatusCode, "no development provider beside a real one")

	op, err := oidctest.New(issuer, &oidctest.Options{
		ClientID: "app", ClientSecret: "a-client-secret-of-some-length", AutoPick: true,
		RedirectURIs: []string{p.url + "/auth/oidc/callback"},
		Users:        []oidctest.User{{Email: "ada@example.org", Name: "Ada"}},
	})
	require.NoError(t, err)
	listener, err = net.Listen("tcp", addr)
	require.NoError(t, err)
	server := &http.Server{Handler: op, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	require.Eventually(t, func() bool {
		res := send(t, c, "GET", p.url+"/auth/oidc/login?return_to=/app/config.json", "")
		body, err := io.ReadAll(res.Body)
		return err == nil && res.StatusCode == http.StatusOK && strings.Contains(string(body), "Single sign-on")
	}, 30*time.Second, 500*time.Millisecond)
	status, me := call(t, c, "GET", p.url+"/auth/me", nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "Ada", me["user"].(object)["name"])

	// The same address with a password: the account is the provider's.
	status, _ = call(t, browser(t), "POST", p.url+"/auth/register", object{"email": "ada@example.org", "password": goodPassword})
	require.Equal(t, http.StatusConflict, status)
	for _, try := range []string{"", "null", goodPassword} {
		status, _ = call(t, browser(t), "POST", p.url+"/auth/login", object{"email": "ada@example.org", "password": try})
		require.GreaterOrEqual(t, status, 400)
		require.Less(t, status, 500)
	}
}

// Somebody whose address has an account cannot reach it through a provider.
func TestProviderDoesNotReachAnAccountByEmail(t *testing.T) {
	p := start(t)
	c := browser(t)
	signUp(t, c, p.url, "victim@example.org")
	thief := browser(t)
	res := send(t, thief, "GET", p.url+"/auth/dev/login", "")
	page, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	form := url.Values{"pick": {"new"}, "email": {"victim@example.org"}, "verified": {"1"}, "name": {"Victim"}}
	for _, field := range strings.Split(string(page), `type="hidden" name="`)[1:] {
		name, rest, _ := strings.Cut(field, `" value="`)
		value, _, _ := strings.Cut(rest, `"`)
		form.Set(name, value)
	}
	res = send(t, thief, "POST", res.Request.URL.Scheme+"://"+res.Request.URL.Host+devPath+"/authorize", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusConflict, res.StatusCode, "%s", body)
	require.Contains(t, string(body), "Sign in the way you did before")
	status, _ := call(t, thief, "GET", p.url+"/auth/me", nil)
	require.Equal(t, http.StatusUnauthorized, status)
}
