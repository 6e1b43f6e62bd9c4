package accounts_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc/oidctest"
)

// Who was signed in at the provider since yesterday and only passed through it
// has not proved themselves now: a route that asks for a recent proof must not
// be fooled by that.
func TestS30_AuthTimeIsTheProviders(t *testing.T) {
	change, op := withProvider(t, oidctest.User{Subject: "s1", Email: "ada@example.org"})
	w := newWorld(t, change)
	op.AllowRedirect(w.base + "/auth/dev/callback")
	b := w.browser()

	require.Equal(t, 303, b.signIn(t, "/auth/dev/login").StatusCode)
	require.WithinDuration(t, time.Now(), b.authTime(t), time.Minute)

	op.Inject(oidctest.StaleAuthTime)
	require.Equal(t, 303, b.signIn(t, "/auth/dev/login").StatusCode)
	require.WithinDuration(t, time.Now().Add(-24*time.Hour), b.authTime(t), time.Minute)
}

func (b *browser) authTime(t *testing.T) time.Time {
	t.Helper()
	sess, _ := b.do("GET", "/auth/me", nil).json(t)["session"].(map[string]any)
	text, _ := sess["auth_time"].(string)
	at, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return at
}
