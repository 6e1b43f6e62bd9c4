package integration_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// hanging never ends a user's sessions, and says when it is asked to.
type hanging struct{ *sessionsql.Store }

func (hanging) EndUserAt(ctx context.Context, _, _ string, _ uint64, _ session.Reason, _ time.Time) ([]session.Ended, error) {
	said("stored")
	select {} // until it is killed
}

type signedIn struct{ user, session string }

func (s signedIn) UserID() string                 { return s.user }
func (s signedIn) SessionID() string              { return s.session }
func (signedIn) AuthTime() time.Time              { return time.Now() }
func (signedIn) ExpiresAt() time.Time             { return time.Now().Add(time.Hour) }
func (signedIn) Grants() (scopes, roles []string) { return nil, nil }

// childChanges changes the password of a user, and hangs between the new hash and
// the end of the sessions.
func childChanges(t *testing.T, userID, dsn string) {
	db := openDSN(t, dsn)
	users := accountsOn(t, db)
	store, err := newSessions(db)
	require.NoError(t, err)
	sessions, err := session.New[struct{}](hanging{store}, nil)
	require.NoError(t, err)
	hasher, err := password.New(nil)
	require.NoError(t, err)
	sealing, err := jwt.ParseSealingKeys("k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	require.NoError(t, err)
	ring, err := jwt.NewRing(users, sealing, nil)
	require.NoError(t, err)
	service, err := accounts.New(sessions, accounts.Config{BaseURL: "http://127.0.0.1", Users: users, Passwords: hasher, Ring: ring}, &accounts.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	list, err := service.Devices(t.Context(), userID)
	require.NoError(t, err)
	_ = service.ChangePassword(t.Context(), auth.NewIdentity(signedIn{userID, list[0].ID}), goodPassword, "another good password", accounts.Client{})
	t.Error("nobody killed this process")
}

// A process is killed when it has stored a new password and not yet ended the
// sessions. The nodes that are left end them.
func TestA14_AKilledProcessOwesAndOthersSettle(t *testing.T) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) {
		nodes := []*node{newNode(t, openDSN(t, dsn)), newNode(t, openDSN(t, dsn))}
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		client := &http.Client{Jar: jar, Timeout: time.Minute}
		send := func(method, path, body string) int {
			r, err := http.NewRequest(method, nodes[0].base+path, strings.NewReader(body))
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			res, err := client.Do(r)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			return res.StatusCode
		}
		require.Equal(t, 201, send("POST", "/auth/register", `{"email":"al@example.com","password":"`+goodPassword+`"}`))
		u, found, err := nodes[0].users.UserByEmail(t.Context(), "al@example.com")
		require.NoError(t, err)
		require.True(t, found)

		c := startChild(t, "change", u.ID, dsn)
		words, ok := c.next()
		require.True(t, ok)
		require.Equal(t, []string{"stored"}, words)
		require.NoError(t, c.cmd.Process.Kill()) // SIGKILL
		_ = c.cmd.Wait()
		killed := time.Now()
		require.Equal(t, 200, send("GET", "/auth/me", ""), "nobody has ended it yet")
		require.Eventually(t, func() bool { return send("GET", "/auth/me", "") == 401 }, time.Minute, 50*time.Millisecond)
		t.Logf("ended %v after the process was killed", time.Since(killed))
		for _, n := range nodes {
			require.Equal(t, 401, n.login(t, "192.0.2.1", "al@example.com", goodPassword))
			require.Equal(t, 200, n.login(t, "192.0.2.1", "al@example.com", "another good password"))
		}
		u, _, err = nodes[0].users.UserByID(t.Context(), u.ID)
		require.NoError(t, err)
		require.Nil(t, u.Ending)
	})
}
