package main

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc/oidctest"
)

// A logout that the provider's server posts ends what hangs on the session: its
// cookie, its access tokens and its sockets, and nobody else's.
func TestO12_BackchannelLogoutClosesSockets(t *testing.T) {
	op := oidctest.NewServer(t, &oidctest.Options{
		ClientID: "app", ClientSecret: "a-client-secret-of-some-length", AutoPick: true,
		Users: []oidctest.User{{Subject: "ada", Email: "ada@example.org", Name: "Ada"}},
	})
	p := start(t, "OIDC_ISSUER="+op.Issuer(), "OIDC_CLIENT_ID=app", "OIDC_CLIENT_SECRET=a-client-secret-of-some-length")
	op.AllowRedirect(p.url + "/auth/oidc/callback")
	op.SendLogoutTo(p.url + "/auth/oidc/backchannel")

	ada, bob := browser(t), browser(t)
	require.Equal(t, 200, send(t, ada, "GET", p.url+"/auth/oidc/login", "").StatusCode)
	signUp(t, bob, p.url, "bob@example.org")
	status, out := call(t, ada, "POST", p.url+"/auth/session/token", nil)
	require.Equal(t, 200, status, "%v", out)
	bearer := []string{"Authorization", "Bearer " + out["access_token"].(string)}
	require.Equal(t, 200, send(t, &http.Client{}, "GET", p.url+"/auth/me", "", bearer...).StatusCode)
	byCookie, byToken, another := dial(t, p, ada), dial(t, p, &http.Client{}), dial(t, p, bob)
	require.Contains(t, byCookie.command("connect", object{}), "connect")
	require.Contains(t, byToken.command("connect", object{"token": out["access_token"]}), "connect")
	require.Contains(t, another.command("connect", object{}), "connect")

	status, err := op.Logout(t.Context(), oidctest.Logout{Subject: "ada"})
	require.NoError(t, err)
	require.Equal(t, 200, status)
	for _, s := range []*socket{byCookie, byToken} {
		code, reason := s.closed()
		require.Equal(t, websocket.StatusCode(4501), code, reason)
		require.Contains(t, reason, "at the provider")
	}
	status, _ = call(t, ada, "GET", p.url+"/auth/me", nil)
	require.Equal(t, 401, status)
	require.Equal(t, 401, send(t, &http.Client{}, "GET", p.url+"/auth/me", "", bearer...).StatusCode)
	require.Contains(t, another.command("rpc", object{"method": "echo", "data": 1}), "rpc")

	op.Inject(oidctest.LogoutReplayed)
	status, err = op.Logout(t.Context(), oidctest.Logout{Subject: "ada"})
	require.NoError(t, err)
	require.Equal(t, 400, status)
}

var (
	hiddenField = regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`)
	formType    = []string{"Content-Type", "application/x-www-form-urlencoded"}
)

// devSignIn picks the development provider's first user.
func devSignIn(t *testing.T, p *process, c *http.Client) {
	t.Helper()
	page, err := io.ReadAll(send(t, c, "GET", p.url+"/auth/dev/login", "").Body)
	require.NoError(t, err)
	form := url.Values{"pick": {"0"}}
	for _, m := range hiddenField.FindAllStringSubmatch(string(page), -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	require.Equal(t, 200, send(t, c, "POST", p.url+devPath+"/authorize", form.Encode(), formType...).StatusCode)
	status, _ := call(t, c, "GET", p.url+"/auth/me", nil)
	require.Equal(t, 200, status)
}

// The development provider has a page of its sessions. To end one there ends the
// app's by back-channel logout.
func TestO12_SigningOutAtTheDevelopmentProvider(t *testing.T) {
	p := start(t)
	c := browser(t)
	devSignIn(t, p, c)
	s := dial(t, p, c)
	require.Contains(t, s.command("connect", object{}), "connect")

	page, err := io.ReadAll(send(t, browser(t), "GET", p.url+devPath+"/sessions", "").Body)
	require.NoError(t, err)
	require.Contains(t, string(page), "Sign out Alice Adams")
	sid := hiddenField.FindStringSubmatch(string(page))
	require.NotNil(t, sid, "%s", page)
	res := send(t, browser(t), "POST", p.url+devPath+"/sessions", url.Values{"sid": {sid[2]}}.Encode(), append(formType, "Origin", p.url)...)
	page, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Contains(t, string(page), "Signed out.")
	require.Contains(t, string(page), "Nobody")

	code, reason := s.closed()
	require.Equal(t, websocket.StatusCode(4501), code, reason)
	status, _ := call(t, c, "GET", p.url+"/auth/me", nil)
	require.Equal(t, 401, status)
}

func TestO13_SigningOutAtTheProviderToo(t *testing.T) {
	p := start(t)
	c := browser(t)
	canSignOut := func() any {
		t.Helper()
		status, config := call(t, c, "GET", p.url+"/app/config.json", nil)
		require.Equal(t, 200, status)
		return config["provider_sign_out"]
	}
	require.Nil(t, canSignOut())
	devSignIn(t, p, c)
	require.Equal(t, object{"name": "dev", "label": "Development provider"}, canSignOut())
	require.Equal(t, http.StatusForbidden, send(t, c, "POST", p.url+"/auth/dev/logout", "", "Origin", "https://evil.example").StatusCode)
	require.NotNil(t, canSignOut())

	res := send(t, c, "POST", p.url+"/auth/dev/logout", "", "Origin", p.url)
	require.Equal(t, 200, res.StatusCode)
	require.True(t, strings.HasPrefix(res.Request.URL.String(), p.url+"/auth/dev/logged-out?state="), res.Request.URL)
	require.Nil(t, canSignOut())
	status, _ := call(t, c, "GET", p.url+"/auth/me", nil)
	require.Equal(t, 401, status)
	page, err := io.ReadAll(send(t, c, "GET", p.url+devPath+"/sessions", "").Body)
	require.NoError(t, err)
	require.Contains(t, string(page), "Nobody", "signed out there too")

	signUp(t, c, p.url, "ada@example.org")
	require.Nil(t, canSignOut(), "a password's session is at no provider")
}

// The provider posts its logout token to whichever node; all of them act on it,
// and none takes it twice.
func TestO12_BackchannelLogoutReachesEveryNode(t *testing.T) {
	op := oidctest.NewServer(t, &oidctest.Options{
		ClientID: "app", ClientSecret: "a-client-secret-of-some-length", AutoPick: true,
		Users: []oidctest.User{{Subject: "ada", Email: "ada@example.org", Name: "Ada"}},
	})
	env := []string{
		"DATABASE_URL=" + postgres(t).URL(), secretKeys,
		"OIDC_ISSUER=" + op.Issuer(), "OIDC_CLIENT_ID=app", "OIDC_CLIENT_SECRET=a-client-secret-of-some-length",
	}
	one, two := start(t, env...), start(t, env...)
	op.AllowRedirect(one.url + "/auth/oidc/callback")
	ada := browser(t)
	require.Equal(t, 200, send(t, ada, "GET", one.url+"/auth/oidc/login", "").StatusCode)
	s := dial(t, one, ada)
	require.Contains(t, s.command("connect", object{}), "connect")

	op.SendLogoutTo(two.url + "/auth/oidc/backchannel")
	status, err := op.Logout(t.Context(), oidctest.Logout{Subject: "ada"})
	require.NoError(t, err)
	require.Equal(t, 200, status)
	code, reason := s.closed()
	require.Equal(t, websocket.StatusCode(4501), code, reason)
	status, _ = call(t, ada, "GET", one.url+"/auth/me", nil)
	require.Equal(t, 401, status)

	require.Equal(t, 200, send(t, ada, "GET", one.url+"/auth/oidc/login", "").StatusCode)
	op.Inject(oidctest.LogoutReplayed)
	op.SendLogoutTo(one.url + "/auth/oidc/backchannel")
	status, err = op.Logout(t.Context(), oidctest.Logout{Subject: "ada"})
	require.NoError(t, err)
	require.Equal(t, 400, status, "used up at the other node")
	status, _ = call(t, ada, "GET", one.url+"/auth/me", nil)
	require.Equal(t, 200, status)
}
