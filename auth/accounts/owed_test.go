package accounts_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

const newPassword = "another good password"

// member registers somebody, who has a second browser, and returns their id.
func (w *world) member(t *testing.T) (id string, here, there *browser) {
	t.Helper()
	here, there = w.browser(), w.browser()
	id = here.register(mail).json(t)["user"].(map[string]any)["id"].(string)
	require.Equal(t, 200, there.login(mail, goodPassword).StatusCode)
	return id, here, there
}

func (b *browser) changePassword() answer {
	b.w.t.Helper()
	return b.do("POST", "/auth/password", object{"current": goodPassword, "new": newPassword})
}

// crashed is what a process leaves that stored a new password and died.
func (w *world) crashed(t *testing.T, id string, due time.Duration) {
	t.Helper()
	u, found, err := w.users.UserByID(t.Context(), id)
	require.NoError(t, err)
	require.True(t, found)
	hasher, err := password.New(nil)
	require.NoError(t, err)
	hash, err := hasher.Hash(t.Context(), newPassword)
	require.NoError(t, err)
	now := time.Now()
	require.NoError(t, w.users.Store.SetPassword(t.Context(), id, u.Password, hash,
		&accounts.Ending{Mark: "dead", Reason: session.ReasonPasswordChanged, Since: now, Due: now.Add(due)}))
}

func (w *world) owes(t *testing.T, id string) bool {
	t.Helper()
	u, _, err := w.users.UserByID(t.Context(), id)
	require.NoError(t, err)
	return u.Ending != nil
}

func eventually(t *testing.T, f func() bool, what string) {
	t.Helper()
	require.Eventually(t, f, 30*time.Second, 20*time.Millisecond, what)
}

// The session store goes away when the hash is stored: the answer says that the
// password is changed, and all sessions end once it is back.
func TestA14_PasswordChangeWithoutTheSessionStore(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		w := newWorld(t, func(o *worldOptions) { o.wrapped = wrapped })
		id, here, there := w.member(t)
		w.users.onOwed = func() error { w.store.down.Store(true); return nil }
		a := here.changePassword()
		require.Equal(t, 202, a.StatusCode, a.body)
		require.Equal(t, true, a.json(t)["password_changed"])
		require.Nil(t, here.cookie(), "the cookie is deleted")
		require.Contains(t, w.kinds(), accounts.EventPasswordChanged)
		require.Contains(t, w.kinds(), accounts.EventEndingOwed)
		require.Equal(t, 503, there.me().StatusCode)
		require.Equal(t, 503, w.browser().login(mail, newPassword).StatusCode)
		w.store.down.Store(false)
		eventually(t, func() bool { return there.me().StatusCode == 401 }, "the other session lives on")
		eventually(t, func() bool { return !w.owes(t, id) }, "what was done stays on record")
		require.Contains(t, w.kinds(), accounts.EventSessionsEndedLate)
		require.Equal(t, 200, here.login(mail, newPassword).StatusCode)
		require.Equal(t, 401, w.browser().login(mail, goodPassword).StatusCode)
		require.NotContains(t, w.logged.String(), mail)
	}
}

// Who changes the password is spared for good only with a new secret: a copy of
// the old cookie would be as good.
func TestA14_TheCallersSessionEndsWhenItCannotBeRenewed(t *testing.T) {
	w := newWorld(t)
	id, here, _ := w.member(t)
	old := here.cookie()
	w.store.noReplace.Store(true)
	require.Equal(t, 202, here.changePassword().StatusCode)
	w.store.noReplace.Store(false)
	eventually(t, func() bool { return !w.owes(t, id) }, "nobody repeats it")
	require.Equal(t, 401, w.browser().me("Cookie", old.Name+"="+old.Value).StatusCode)
}

// The answer of the store of users is lost, and the hash is there.
func TestA14_ALostAnswerIsFoundOut(t *testing.T) {
	w := newWorld(t)
	id, here, there := w.member(t)
	w.users.onOwed = func() error { return errDown }
	require.Equal(t, 204, here.changePassword().StatusCode)
	require.False(t, w.owes(t, id))
	require.Equal(t, 200, here.me().StatusCode)
	require.Equal(t, 401, there.me().StatusCode)

	// Nobody can tell: the answer doesn't say that nothing happened.
	w.users.onOwed = func() error { w.users.down.Store(true); return errDown }
	a := here.do("POST", "/auth/password", object{"current": newPassword, "new": goodPassword})
	require.Equal(t, 503, a.StatusCode)
	require.Contains(t, a.json(t)["detail"], "may have been changed")
	w.users.down.Store(false)
	eventually(t, func() bool { return here.me().StatusCode == 401 && !w.owes(t, id) }, "it was changed, and nothing ended")
}

func TestA14_ACrashBetweenHashAndSessions(t *testing.T) {
	w := newWorld(t)
	id, here, there := w.member(t)
	access, refresh := w.browser().tokens(mail)
	w.crashed(t, id, 0)
	eventually(t, func() bool { return here.me().StatusCode == 401 && there.me().StatusCode == 401 }, "sessions outlive the password")
	require.Equal(t, 401, w.browser().me(bearer(access)...).StatusCode)
	a := w.browser().do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	require.Equal(t, "invalid_grant", a.json(t)["error"])
}

// The clock of the process that died was wrong, or is set right afterwards: that
// it had the ending in hand until some hour to come is nothing to wait for.
func TestA14_ACrashWithAWrongClock(t *testing.T) {
	w := newWorld(t)
	id, here, there := w.member(t)
	_, refresh := w.browser().tokens(mail)
	w.crashed(t, id, time.Hour)
	a := w.browser().do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	require.Equal(t, "invalid_grant", a.json(t)["error"])
	require.Equal(t, 401, here.me().StatusCode)
	w = newWorld(t)
	id, here, there = w.member(t)
	w.crashed(t, id, time.Hour)
	eventually(t, func() bool { return here.me().StatusCode == 401 && there.me().StatusCode == 401 }, "sessions outlive the password")
}

// Without anybody who repeats: whoever signs in settles it first, by any way.
func TestA14_ASignInSettlesFirst(t *testing.T) {
	for _, mode := range []string{"cookie", "token"} {
		w := newWorld(t)
		w.users.nobodyOwes.Store(true)
		id, here, there := w.member(t)
		w.crashed(t, id, 0)
		require.Equal(t, 401, there.login(mail, goodPassword).StatusCode)
		require.True(t, w.owes(t, id), "a wrong password settled it")
		signIn := func() answer {
			return there.do("POST", "/auth/login", object{"email": mail, "password": newPassword, "mode": mode})
		}
		fails := errors.New("down")
		w.users.onSwap = func(*accounts.Ending) error { return fails }
		require.Equal(t, 503, signIn().StatusCode)
		w.users.onSwap = nil
		a := signIn()
		require.Equal(t, 200, a.StatusCode, a.body)
		require.False(t, w.owes(t, id))
		require.Equal(t, 401, here.me().StatusCode)
		if mode == "token" {
			require.Equal(t, 200, w.browser().me(bearer(a.json(t)["access_token"].(string))...).StatusCode)
		} else {
			require.Equal(t, 200, there.me().StatusCode)
		}
	}
}

// Who has just changed the password and is about to confirm the end of the other
// sessions is waited for: a sign-in that took over would end the one they spare.
func TestA14_ASignInWaitsForWhoIsAtWork(t *testing.T) {
	w := newWorld(t)
	w.users.nobodyOwes.Store(true)
	id, here, there := w.member(t)
	w.crashed(t, id, 30*time.Second)
	struck := make(chan error)
	go func() {
		time.Sleep(300 * time.Millisecond)
		struck <- w.users.Store.SwapEnding(context.Background(), id, "dead", nil)
	}()
	require.Equal(t, 200, there.login(mail, newPassword).StatusCode)
	require.NoError(t, <-struck)
	require.Equal(t, 200, here.me().StatusCode)
	require.Equal(t, 200, there.me().StatusCode)
}

func TestA14_AProviderSignInSettlesFirst(t *testing.T) {
	w := newWorld(t)
	w.users.nobodyOwes.Store(true)
	ctx := t.Context()
	in, err := w.service.LoginWith(ctx, profile(), accounts.Client{})
	require.NoError(t, err)
	before, err := in.Tokens(ctx)
	require.NoError(t, err)
	w.crashed(t, in.User().ID, 0)
	in, err = w.service.LoginWith(ctx, profile(), accounts.Client{})
	require.NoError(t, err)
	after, err := in.Tokens(ctx)
	require.NoError(t, err)
	require.Equal(t, 401, w.browser().me(bearer(before.Access.Reveal())...).StatusCode)
	require.Equal(t, 200, w.browser().me(bearer(after.Access.Reveal())...).StatusCode)
	require.False(t, w.owes(t, in.User().ID))
}

func TestA14_RefreshDoesNotOutliveWhatIsOwed(t *testing.T) {
	w := newWorld(t)
	w.users.nobodyOwes.Store(true)
	id, here, _ := w.member(t)
	_, refresh := w.browser().tokens(mail)
	w.crashed(t, id, 0)
	a := w.browser().do("POST", "/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	require.Equal(t, "invalid_grant", a.json(t)["error"])
	require.Equal(t, 401, here.me().StatusCode)
}

// One node is about to repeat an ending, and hangs. Meanwhile the user signs in
// at another, which settles it. What then comes of the first one must not end the
// new session.
func TestS22_ALateRepeatSparesWhoSignedInSince(t *testing.T) {
	w := newWorld(t)
	id, _, there := w.member(t)
	reached, released := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	calls := 0
	w.store.onEndUserAt = func() {
		if calls++; calls == 1 { // the second one is the sign-in's, while the first waits
			close(reached)
			<-released
		}
	}
	w.crashed(t, id, 0)
	select {
	case <-reached:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody repeats what is owed")
	}
	require.Equal(t, 200, there.login(mail, newPassword).StatusCode)
	require.False(t, w.owes(t, id))
	release()
	time.Sleep(200 * time.Millisecond) // for the one that is late
	require.Equal(t, 200, there.me().StatusCode, "a late repeat ended a session that began properly")
}

func TestA6_DisablingWithoutTheSessionStore(t *testing.T) {
	w := newWorld(t)
	id, here, there := w.member(t)
	w.store.down.Store(true)
	require.ErrorIs(t, w.service.SetDisabled(t.Context(), id, true), accounts.ErrEndingOwed)
	u, _, err := w.users.UserByID(t.Context(), id)
	require.NoError(t, err)
	require.True(t, u.Disabled)
	w.store.down.Store(false)
	eventually(t, func() bool { return here.me().StatusCode == 401 && there.me().StatusCode == 401 }, "sessions of a disabled account live on")
	require.Equal(t, 403, here.login(mail, goodPassword).StatusCode)
	eventually(t, func() bool { return !w.owes(t, id) }, "")
	require.NoError(t, w.service.SetDisabled(t.Context(), id, true))
	require.False(t, w.owes(t, id))
}

// The account is disabled while its user changes the password: the end of all
// sessions, theirs too, is not struck off by who wanted to spare one.
func TestA6_DisablingDuringAPasswordChange(t *testing.T) {
	w := newWorld(t)
	id, here, _ := w.member(t)
	w.users.nobodyOwes.Store(true)
	w.users.onOwed = func() error {
		return w.users.Store.SetDisabled(context.Background(), id, true, &accounts.Ending{Mark: "admin", Reason: session.ReasonDisabled, Since: time.Now(), Due: time.Now()})
	}
	require.Equal(t, 202, here.changePassword().StatusCode)
	require.True(t, w.owes(t, id))
	w.users.nobodyOwes.Store(false)
	eventually(t, func() bool { return here.me().StatusCode == 401 || !w.owes(t, id) }, "")
	eventually(t, func() bool { return !w.owes(t, id) }, "")
	infos, err := w.service.Devices(t.Context(), id)
	require.NoError(t, err)
	require.Empty(t, infos)
}

// A caller whose own session is to end changes nothing.
func TestA14_WhoIsToEndCannotChangeThePassword(t *testing.T) {
	w := newWorld(t)
	w.users.nobodyOwes.Store(true)
	id, here, _ := w.member(t)
	w.crashed(t, id, 0)
	a := here.do("POST", "/auth/password", object{"current": newPassword, "new": "a third good password"})
	require.Equal(t, 401, a.StatusCode, a.body)
	require.False(t, w.owes(t, id))
	require.Equal(t, 200, w.browser().login(mail, newPassword).StatusCode)
}

// While the session store is down there are few tries, and soon after it is back
// the sessions end. Close ends the goroutine, or the bubble would not end.
func TestS26_RepeatsBackOffAndEndWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sessionStore{Store: session.NewMemoryStore(nil)}
		users := accounts.NewMemoryStore()
		quiet := slog.New(slog.DiscardHandler)
		sessions, err := session.New[struct{}](store, &session.Options{Logger: quiet})
		require.NoError(t, err)
		defer func() { _ = sessions.Close() }()
		hasher, err := password.New(nil)
		require.NoError(t, err)
		keys, _, err := jwt.GenerateSealingKeys("test")
		require.NoError(t, err)
		ring, err := jwt.NewRing(jwt.NewMemoryKeyStore(), keys, &jwt.RingOptions{Logger: quiet})
		require.NoError(t, err)
		service, err := accounts.New(sessions, accounts.Config{BaseURL: "https://app.example", Users: users, Passwords: hasher, Ring: ring}, &accounts.Options{Logger: quiet})
		require.NoError(t, err)
		defer func() { _ = service.Close() }()
		ctx := t.Context()
		require.NoError(t, users.CreateUser(ctx, accounts.User{ID: "u1", Created: time.Now()}, nil))
		_, sess, err := sessions.BeginToken(ctx, session.Start{UserID: "u1"})
		require.NoError(t, err)

		time.Sleep(time.Hour)
		require.Zero(t, store.epochs.Load(), "with nothing owed the sessions are left alone")
		store.down.Store(true)
		require.ErrorIs(t, service.SetDisabled(ctx, "u1", true), accounts.ErrEndingOwed)
		time.Sleep(10 * time.Minute)
		require.Less(t, store.epochs.Load(), int64(150))
		require.Greater(t, store.epochs.Load(), int64(30))
		store.down.Store(false)
		time.Sleep(16 * time.Second)
		_, err = sessions.Session(ctx, sess.SessionID())
		require.ErrorIs(t, err, session.ErrNotFound)

		// A node that dies half-way: about three seconds, whoever is left.
		_, sess, err = sessions.BeginToken(ctx, session.Start{UserID: "u1"})
		require.NoError(t, err)
		now := time.Now()
		require.NoError(t, users.SetDisabled(ctx, "u1", true, &accounts.Ending{Mark: "dead", Reason: session.ReasonDisabled, Since: now, Due: now.Add(3 * time.Second)}))
		time.Sleep(2900 * time.Millisecond)
		_, err = sessions.Session(ctx, sess.SessionID())
		require.NoError(t, err, "others wait for who has it in hand")
		time.Sleep(1700 * time.Millisecond)
		_, err = sessions.Session(ctx, sess.SessionID())
		require.ErrorIs(t, err, session.ErrNotFound)
	})
}

// A route that asks for a recent proof: the challenge of RFC 9470, and a sign-in
// that answers it, in the same session for a cookie and in a new one for tokens.
func TestS30_StepUp(t *testing.T) {
	w := newWorld(t)
	w.mux.Handle("POST /danger", auth.Require(auth.AuthenticatorFunc(w.service.Authenticate), auth.Fresh(2*time.Second))(
		http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(204) })))
	b := w.browser()
	b.register(mail)
	id := b.me().json(t)["session"].(map[string]any)["id"]
	access, _ := w.browser().tokens(mail)
	time.Sleep(2200 * time.Millisecond)
	for _, header := range [][]string{nil, bearer(access)} {
		who := b
		if header != nil {
			who = w.browser()
		}
		a := who.do("POST", "/danger", nil, header...)
		require.Equal(t, 401, a.StatusCode)
		require.Equal(t, "step-up-required", a.problem(t))
		require.Contains(t, a.Header.Get("WWW-Authenticate"), `error="insufficient_user_authentication"`)
		require.Contains(t, a.Header.Get("WWW-Authenticate"), `max_age="2"`)
	}
	require.Equal(t, 401, b.login(mail, "wrong").StatusCode)
	require.Equal(t, 401, b.do("POST", "/danger", nil).StatusCode)
	require.Equal(t, 200, b.login(mail, goodPassword).StatusCode)
	require.Equal(t, 204, b.do("POST", "/danger", nil).StatusCode)
	require.Equal(t, id, b.me().json(t)["session"].(map[string]any)["id"], "sockets stay")
	access, _ = w.browser().tokens(mail)
	require.Equal(t, 204, w.browser().do("POST", "/danger", nil, bearer(access)...).StatusCode)
}
