package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc/oidctest"
)

// through sends what is for the public origin to a node, as a load balancer does.
type through struct{ node *process }

func (b through) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme+"://"+r.URL.Host == publicOrigin {
		r = r.Clone(r.Context())
		r.URL.Host = strings.TrimPrefix(b.node.url, "http://")
	}
	return http.DefaultTransport.RoundTrip(r)
}

// With sessions in Redis, too: whom the provider signs out, by telling one node,
// is signed out at the other, at once for requests and soon for sockets. A logout
// token counts once, whichever node gets it.
func TestO12_BackchannelLogoutReachesEveryNodeOnRedis(t *testing.T) {
	const secret = "a-client-secret-of-some-length"
	op := oidctest.NewServer(t, &oidctest.Options{
		ClientID: "app", ClientSecret: secret, AutoPick: true,
		RedirectURIs: []string{publicOrigin + "/auth/oidc/callback"},
		Users:        []oidctest.User{{Subject: "ada-at-the-provider", Email: "ada@example.org", Name: "Ada"}},
	})
	n := startNodes(t, startRedis(t), "OIDC_ISSUER="+op.Issuer(), "OIDC_CLIENT_ID=app", "OIDC_CLIENT_SECRET="+secret)
	bob := browser(t)
	moveIn(t, bob, n.a.url, "bob@example.org")
	ada := browser(t)
	ada.Transport = through{n.a}
	res := send(t, ada, "GET", publicOrigin+"/auth/oidc/login?return_to=/app/config.json", "")
	require.Equal(t, http.StatusOK, res.StatusCode)
	at := follow(t, ada, "", "", n.b).joined(t)
	other := follow(t, bob, "", "", n.b).joined(t)

	token, err := op.LogoutToken(oidctest.Logout{Subject: "ada-at-the-provider"})
	require.NoError(t, err)
	tell := func(p *process) int {
		form := url.Values{"logout_token": {token}}.Encode()
		return send(t, &http.Client{}, "POST", p.url+"/auth/oidc/backchannel", form, "Content-Type", "application/x-www-form-urlencoded").StatusCode
	}
	require.Equal(t, http.StatusOK, tell(n.a))
	told := time.Now()
	require.Equal(t, http.StatusUnauthorized, send(t, ada, "GET", n.b.url+"/auth/me", "").StatusCode)
	require.Equal(t, http.StatusBadRequest, tell(n.b), "replayed")
	end := at.ended(t)
	require.Equal(t, websocket.StatusCode(4501), end.code, end.reason)
	t.Logf("O12 told A; socket at B closed after %v", end.at.Sub(told))
	require.True(t, other.alive(), "nobody else's")
	require.Equal(t, http.StatusOK, send(t, bob, "GET", n.b.url+"/auth/me", "").StatusCode)
}
