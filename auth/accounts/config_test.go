package accounts_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

func TestNewRefusesMistakes(t *testing.T) {
	sessions, err := session.New[struct{}](session.NewMemoryStore(nil), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sessions.Close() })
	hasher, err := password.New(nil)
	require.NoError(t, err)
	sealing, _, err := jwt.GenerateSealingKeys("k")
	require.NoError(t, err)
	ring, err := jwt.NewRing(jwt.NewMemoryKeyStore(), sealing, nil)
	require.NoError(t, err)
	issuer, err := jwt.NewIssuer(jwt.AccessToken("https://app.example", "api"), ring, 0)
	require.NoError(t, err)
	named := func(name string) *oidc.Provider {
		p := oidc.Generic("https://issuer.example", "id", "a secret of some length")
		p.Name = name
		return p
	}
	for name, c := range map[string]struct {
		change func(*accounts.Config, *accounts.Options)
		want   string // empty: fine
	}{
		"defaults":             {func(*accounts.Config, *accounts.Options) {}, ""},
		"loopback":             {func(c *accounts.Config, _ *accounts.Options) { c.BaseURL = "http://127.0.0.1:8080" }, ""},
		"a slash at the end":   {func(c *accounts.Config, _ *accounts.Options) { c.BaseURL = "https://app.example/" }, ""},
		"a provider":           {func(_ *accounts.Config, o *accounts.Options) { o.Providers = []*oidc.Provider{named("my-idp2")} }, ""},
		"no base":              {func(c *accounts.Config, _ *accounts.Options) { c.BaseURL = "" }, "BaseURL"},
		"http":                 {func(c *accounts.Config, _ *accounts.Options) { c.BaseURL = "http://app.example" }, "use https"},
		"a path":               {func(c *accounts.Config, _ *accounts.Options) { c.BaseURL = "https://app.example/x" }, "scheme and host alone"},
		"a user":               {func(c *accounts.Config, _ *accounts.Options) { c.BaseURL = "https://u@app.example" }, "scheme and host alone"},
		"a query":              {func(c *accounts.Config, _ *accounts.Options) { c.BaseURL = "https://app.example?x" }, "scheme and host alone"},
		"issuer alone":         {func(c *accounts.Config, _ *accounts.Options) { c.Issuer = issuer }, "both of"},
		"an origin's path":     {func(_ *accounts.Config, o *accounts.Options) { o.AllowedOrigins = []string{"https://spa.example/x"} }, "spa.example"},
		"any origin":           {func(_ *accounts.Config, o *accounts.Options) { o.AllowedOrigins = []string{"*"} }, "AllowedOrigins"},
		"a zero prefix":        {func(_ *accounts.Config, o *accounts.Options) { o.TrustedProxies = []netip.Prefix{{}} }, "TrustedProxies"},
		"a limit half set":     {func(_ *accounts.Config, o *accounts.Options) { o.Limits.SignUps.Burst = 3 }, "Limits.SignUps"},
		"a provider's name":    {func(_ *accounts.Config, o *accounts.Options) { o.Providers = []*oidc.Provider{named("a/b")} }, "Providers[0]"},
		"a name that is taken": {func(_ *accounts.Config, o *accounts.Options) { o.Providers = []*oidc.Provider{named("sessions")} }, "Providers[0]"},
		"a name twice":         {func(_ *accounts.Config, o *accounts.Options) { o.Providers = []*oidc.Provider{named("a"), named("a")} }, "Providers[1]"},
		"a nil provider":       {func(_ *accounts.Config, o *accounts.Options) { o.Providers = []*oidc.Provider{nil} }, "Providers[0]"},
	} {
		config := accounts.Config{BaseURL: "https://app.example", Users: accounts.NewMemoryStore(), Passwords: hasher, Ring: ring}
		var o accounts.Options
		c.change(&config, &o)
		service, err := accounts.New(sessions, config, &o)
		if c.want == "" {
			require.NoError(t, err, name)
			require.NoError(t, service.Close())
		} else {
			require.ErrorContains(t, err, c.want, name)
		}
	}
}
