package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []session.Event
}

func (r *recorder) add(_ context.Context, e session.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) kinds() (kinds []session.EventKind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func TestJ14_RefreshRotation(t *testing.T) {
	type world struct {
		m     *manager
		id    string
		first string
		rec   *recorder
	}
	// in runs f with a fresh session, in fake time.
	in := func(name string, o session.Options, f func(t *testing.T, w world)) {
		t.Run("J14 "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world{rec: &recorder{}}
				o.Events = w.rec.add
				w.m = newManager(t, nil, o)
				token, s, err := w.m.BeginToken(t.Context(), session.Start{UserID: "u1"})
				require.NoError(t, err)
				w.first, w.id = token.Reveal(), s.ID()
				f(t, w)
			})
		})
	}
	refresh := func(t *testing.T, w world, token string) string {
		t.Helper()
		next, s, err := w.m.Refresh(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, w.id, s.ID())
		require.Equal(t, "u1", s.UserID())
		return next.Reveal()
	}
	refused := func(t *testing.T, w world, token string) {
		t.Helper()
		_, _, err := w.m.Refresh(t.Context(), token)
		require.ErrorIs(t, err, session.ErrRefreshInvalid)
	}
	alive := func(t *testing.T, w world) bool {
		t.Helper()
		alive, err := w.m.Alive(t.Context(), w.id)
		require.NoError(t, err)
		return alive
	}
	default_ := session.Options{}

	in("every use rotates", default_, func(t *testing.T, w world) {
		seen := map[string]bool{w.first: true}
		token := w.first
		for range 20 {
			token = refresh(t, w, token)
			require.False(t, seen[token])
			seen[token] = true
		}
	})
	in("a repeat within the grace gets the same successor", default_, func(t *testing.T, w world) {
		second := refresh(t, w, w.first)
		for range 10 {
			require.Equal(t, second, refresh(t, w, w.first))
			time.Sleep(time.Second)
		}
		require.Equal(t, second, refresh(t, w, w.first), "ten seconds are within ten seconds")
		refresh(t, w, second)
	})
	in("a repeat after the grace ends the session", default_, func(t *testing.T, w world) {
		second := refresh(t, w, w.first)
		time.Sleep(10*time.Second + time.Millisecond)
		var pushed string
		w.m.OnEnd(func(id, user, reason string) { pushed = id + " " + user + " " + reason })
		refused(t, w, w.first)
		require.False(t, alive(t, w))
		require.Equal(t, w.id+" u1 refresh token reused", pushed)
		require.Equal(t, []session.EventKind{session.EventBegun, session.EventRefreshed, session.EventReused, session.EventEnded}, w.rec.kinds())
		refused(t, w, second)
	})
	in("a repeat whose successor was used ends the session", default_, func(t *testing.T, w world) {
		third := refresh(t, w, refresh(t, w, w.first))
		refused(t, w, w.first)
		require.False(t, alive(t, w))
		refused(t, w, third)
	})
	in("an old token ends the session", default_, func(t *testing.T, w world) {
		token := w.first
		for range 5 {
			token = refresh(t, w, token)
			time.Sleep(time.Minute)
		}
		refused(t, w, w.first)
		require.False(t, alive(t, w))
	})
	in("no grace", session.Options{Grace: -1}, func(t *testing.T, w world) {
		refresh(t, w, w.first)
		refused(t, w, w.first)
		require.False(t, alive(t, w))
	})
	in("idle expiry", default_, func(t *testing.T, w world) {
		token := w.first
		for range 3 {
			time.Sleep(14*24*time.Hour - time.Second)
			token = refresh(t, w, token)
		}
		time.Sleep(14 * 24 * time.Hour)
		refused(t, w, token)
		require.NotContains(t, w.rec.kinds(), session.EventReused)
	})
	in("absolute expiry", default_, func(t *testing.T, w world) {
		token := w.first
		for range 8 {
			time.Sleep(10 * 24 * time.Hour)
			token = refresh(t, w, token)
		}
		time.Sleep(10*24*time.Hour - time.Second)
		token = refresh(t, w, token)
		time.Sleep(time.Second)
		refused(t, w, token)
		require.False(t, alive(t, w))
	})
	in("what is known to nobody ends nothing", default_, func(t *testing.T, w world) {
		locator, secret, _ := strings.Cut(w.first, ".")
		other := strings.Repeat("A", 22)
		for _, token := range []string{
			"", ".", w.id, w.id + "." + secret, other + "." + secret, secret, locator, locator + ".", w.first + ".", w.first + "=",
			locator + "." + secret[:42], locator + "." + secret + "A", " " + w.first, w.first + "\n", strings.Repeat("A", 1<<20),
		} {
			refused(t, w, token)
			require.NoError(t, w.m.EndByRefresh(t.Context(), token))
		}
		require.True(t, alive(t, w))
		refresh(t, w, w.first)
	})
	in("revoked by a refresh token", default_, func(t *testing.T, w world) {
		require.NoError(t, w.m.EndByRefresh(t.Context(), w.first))
		require.False(t, alive(t, w))
		refused(t, w, w.first)
		require.NoError(t, w.m.EndByRefresh(t.Context(), w.first))
	})
	in("a hundred at once", default_, func(t *testing.T, w world) {
		var mu sync.Mutex
		got := make(map[string]int)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				next, _, err := w.m.Refresh(context.Background(), w.first)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					got["error "+err.Error()]++
					return
				}
				got[next.Reveal()]++
			})
		}
		wg.Wait()
		require.Len(t, got, 1)
		list, err := w.m.List(t.Context(), "u1")
		require.NoError(t, err)
		require.Len(t, list, 1)
		for next := range got {
			refresh(t, w, next)
		}
	})
	in("a cookie is no refresh token", default_, func(t *testing.T, w world) {
		b := newBrowser(w.m)
		b.login(t, "u1")
		refused(t, w, b.cookie())
		locator, secret, _ := strings.Cut(w.first, ".")
		for _, value := range []string{w.first, locator, secret} {
			_, err := b.with(value).who()
			require.ErrorIs(t, err, session.ErrInvalid)
		}
	})

	t.Run("J14 store down", func(t *testing.T) {
		store := newFaulty()
		m := newManager(t, store, session.Options{})
		token, s, err := m.BeginToken(t.Context(), session.Start{UserID: "u1"})
		require.NoError(t, err)
		for _, method := range []string{"Load", "Replace"} {
			store.set(method, true)
			_, _, err := m.Refresh(t.Context(), token.Reveal())
			require.ErrorIs(t, err, errDown)
			require.NotErrorIs(t, err, session.ErrRefreshInvalid, "the client must not take it for a sign-out")
			store.set(method, false)
		}
		second, _, err := m.Refresh(t.Context(), token.Reveal())
		require.NoError(t, err)
		_, _, err = m.Refresh(t.Context(), second.Reveal())
		require.NoError(t, err)
		store.set("End", true)
		_, _, err = m.Refresh(t.Context(), token.Reveal())
		require.ErrorIs(t, err, errDown, "a reuse that could not be acted upon is not forgotten")
		require.ErrorIs(t, m.EndByRefresh(t.Context(), second.Reveal()), errDown)
		store.set("End", false)
		_, _, err = m.Refresh(t.Context(), token.Reveal())
		require.ErrorIs(t, err, session.ErrRefreshInvalid)
		alive, err := m.Alive(t.Context(), s.ID())
		require.NoError(t, err)
		require.False(t, alive)
	})
}

func TestS18_UndecodableTokenSession(t *testing.T) {
	store := session.NewMemoryStore(nil)
	m := newManager(t, store, session.Options{})
	token, s, err := m.BeginToken(t.Context(), session.Start{UserID: "u1"})
	require.NoError(t, err)
	rec, _, err := store.ByID(t.Context(), s.ID())
	require.NoError(t, err)
	rec.Data = []byte("?")
	require.NoError(t, store.Replace(t.Context(), rec.Key, rec, rec.Rev))
	for range 2 {
		_, _, err = m.Refresh(t.Context(), token.Reveal())
		require.ErrorIs(t, err, session.ErrRefreshInvalid)
	}
	after, found, err := store.ByID(t.Context(), s.ID())
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, rec.Refresh, after.Refresh, "it is not rotated in vain")
}

func TestJ14_GraceHasAnEndWhateverTheClock(t *testing.T) {
	store := session.NewMemoryStore(nil)
	m := newManager(t, store, session.Options{})
	token, s, err := m.BeginToken(t.Context(), session.Start{UserID: "u1"})
	require.NoError(t, err)
	_, _, err = m.Refresh(t.Context(), token.Reveal())
	require.NoError(t, err)
	rec, _, err := store.ByID(t.Context(), s.ID())
	require.NoError(t, err)
	rec.Refresh.RotatedAt = rec.Refresh.RotatedAt.Add(time.Hour) // a node whose clock was ahead
	require.NoError(t, store.Replace(t.Context(), rec.Key, rec, rec.Rev))
	_, _, err = m.Refresh(t.Context(), token.Reveal())
	require.ErrorIs(t, err, session.ErrRefreshInvalid)
	alive, err := m.Alive(t.Context(), s.ID())
	require.NoError(t, err)
	require.False(t, alive)
}

func TestRefreshTokenIsRedacted(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	token, _, err := m.BeginToken(t.Context(), session.Start{UserID: "u1"})
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", token)
	text, err := json.Marshal(map[string]any{"token": token})
	require.NoError(t, err)
	host := struct{ token session.RefreshToken }{token} // fmt calls no methods of what is unexported
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", host, host, host, host), token.Reveal()[:10])
	for _, out := range []string{fmt.Sprint(token), fmt.Sprintf("%s %v %+v %#v %q %x", token, token, token, token, token, token), log.String(), string(text)} {
		require.Contains(t, out, "REDACTED")
		require.NotContains(t, out, token.Reveal()[:10])
	}
	require.Empty(t, session.RefreshToken{}.Reveal())
}

func FuzzJ14_RefreshToken(f *testing.F) {
	m, err := session.New[data](session.NewMemoryStore(nil), &session.Options{ReapEvery: -1, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f, err)
	token, s, err := m.BeginToken(context.Background(), session.Start{UserID: "u1"})
	require.NoError(f, err)
	locator, secret, _ := strings.Cut(token.Reveal(), ".")
	for _, seed := range []string{"", ".", locator, secret, locator + "." + secret[1:], locator + "\n." + secret, s.ID(), "a.b.c", "é.ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, locator+".") {
			t.Skip("knows the locator")
		}
		_, _, err := m.Refresh(t.Context(), text)
		require.ErrorIs(t, err, session.ErrRefreshInvalid)
		require.NoError(t, m.EndByRefresh(t.Context(), text))
		alive, err := m.Alive(t.Context(), s.ID())
		require.NoError(t, err)
		require.True(t, alive)
	})
}

func FuzzS1_Cookie(f *testing.F) {
	m, err := session.New[data](session.NewMemoryStore(nil), &session.Options{ReapEvery: -1, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f, err)
	for _, seed := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", "a; __Host-session=b", "\"", "=", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := newBrowser(m).request()
		r.Header.Set("Cookie", cookieName+"="+header)
		_, err := m.Authenticate(r)
		require.Error(t, err)
		require.Contains(t, []string{"none", "invalid_token"}, authError(err))
	})
}
