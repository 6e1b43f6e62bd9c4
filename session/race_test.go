package session_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

func TestS3_SignOutBeatsSlowRequest(t *testing.T) {
	ends := map[string]func(t *testing.T, m *manager, b *browser, id string){
		"Logout": func(t *testing.T, m *manager, b *browser, _ string) {
			require.NoError(t, m.Logout(httptest.NewRecorder(), b.request()))
		},
		"Revoke": func(t *testing.T, m *manager, _ *browser, id string) {
			ended, err := m.Revoke(t.Context(), "u1", id, session.ReasonRevoked)
			require.NoError(t, err)
			require.True(t, ended)
		},
		"RevokeUser": func(t *testing.T, m *manager, _ *browser, _ string) {
			n, err := m.RevokeUser(t.Context(), "u1", session.ReasonPasswordChanged)
			require.NoError(t, err)
			require.Equal(t, 1, n)
		},
	}
	slow := map[string]func(m *manager, w http.ResponseWriter, r *http.Request) error{
		"Update": func(m *manager, _ http.ResponseWriter, r *http.Request) error {
			return m.Update(r.Context(), increment)
		},
		"Renew": func(m *manager, w http.ResponseWriter, r *http.Request) error { return m.Renew(w, r) },
	}
	for how, end := range ends {
		for what, write := range slow {
			t.Run("S3 "+how+" during "+what, func(t *testing.T) {
				m := newManager(t, nil, session.Options{})
				b := newBrowser(m)
				id := b.login(t, "u1").ID()
				before := b.cookie()
				resp := b.do(func(w http.ResponseWriter, r *http.Request) {
					_, err := m.Authenticate(r) // the session is read, and held on to
					require.NoError(t, err)
					end(t, m, b, id)
					if err := write(m, w, r); err != nil {
						w.WriteHeader(session.StatusOf(err))
					}
					_, _ = io.WriteString(w, "secret page")
				})
				require.GreaterOrEqual(t, resp.StatusCode, 400)
				require.Empty(t, resp.Header["Set-Cookie"])
				_, err := b.with(before).who()
				require.ErrorIs(t, err, session.ErrInvalid)
				alive, err := m.Alive(t.Context(), id)
				require.NoError(t, err)
				require.False(t, alive)
				list, err := m.List(t.Context(), "u1")
				require.NoError(t, err)
				require.Empty(t, list)
			})
		}
	}
	t.Run("S3 signing in again is a new session", func(t *testing.T) {
		m := newManager(t, nil, session.Options{})
		b := newBrowser(m)
		old := b.login(t, "u1")
		b.do(func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, m.Update(r.Context(), increment))
			_, err := m.RevokeUser(t.Context(), "u1", session.ReasonRevoked)
			require.NoError(t, err)
			s, err := m.Begin(w, r, session.Start{UserID: "u1"})
			require.NoError(t, err)
			require.NotEqual(t, old.ID(), s.ID())
			require.Zero(t, s.Data().N, "what belonged to the ended session is gone")
		})
		alive, err := m.Alive(t.Context(), old.ID())
		require.NoError(t, err)
		require.False(t, alive)
	})
}

func TestS4_RenewalBeatsSlowRequest(t *testing.T) {
	renewals := map[string]func(m *manager, w http.ResponseWriter, r *http.Request) error{
		"Renew":   func(m *manager, w http.ResponseWriter, r *http.Request) error { return m.Renew(w, r) },
		"sign-in": func(m *manager, w http.ResponseWriter, r *http.Request) error { return m.Login(w, r, "u1") },
	}
	for how, renew := range renewals {
		t.Run("S4 "+how, func(t *testing.T) {
			m := newManager(t, nil, session.Options{})
			b := newBrowser(m)
			b.login(t, "u1")
			old := b.with(b.cookie())
			resp := old.do(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Update(r.Context(), increment))
				b.do(func(w http.ResponseWriter, r *http.Request) { require.NoError(t, renew(m, w, r)) })
			})
			require.Equal(t, http.StatusConflict, resp.StatusCode)
			require.Empty(t, resp.Header["Set-Cookie"])
			_, err := old.who()
			require.ErrorIs(t, err, session.ErrInvalid, "the old token stays dead")
			s, err := b.who()
			require.NoError(t, err)
			require.Zero(t, s.Data().N)
		})
	}
	t.Run("S4 a copied token is not renewed after the owner's renewal", func(t *testing.T) {
		m := newManager(t, nil, session.Options{})
		b := newBrowser(m)
		b.login(t, "u1")
		thief := b.with(b.cookie())
		thief.do(func(w http.ResponseWriter, r *http.Request) {
			_, err := m.Authenticate(r)
			require.NoError(t, err)
			b.do(func(w http.ResponseWriter, r *http.Request) { require.NoError(t, m.Renew(w, r)) })
			require.ErrorIs(t, m.Renew(w, r), session.ErrInvalid)
		})
		_, err := thief.who()
		require.ErrorIs(t, err, session.ErrInvalid)
		_, err = b.who()
		require.NoError(t, err)
	})
}

func TestS5_NoLostUpdate(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	b := newBrowser(m)
	id := b.login(t, "u1").ID()
	const n = 20
	var wg, read sync.WaitGroup
	read.Add(n)
	for i := range n {
		wg.Go(func() {
			w := httptest.NewRecorder()
			m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				err := m.Update(r.Context(), func(d *data) error {
					d.N++
					d.Cart = append(d.Cart, string(rune('a'+i)))
					return nil
				})
				read.Done()
				read.Wait()
				if err != nil {
					w.WriteHeader(http.StatusTeapot)
				}
			})).ServeHTTP(w, b.request())
			if w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
		})
	}
	wg.Wait()
	s, err := m.Session(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, n, s.Data().N)
	require.Len(t, s.Data().Cart, n)

	t.Run("S5 a sign-in keeps what was written meanwhile", func(t *testing.T) {
		b := newBrowser(m)
		b.update(t, increment)
		b.do(func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, m.Update(r.Context(), increment)) // reads
			b.update(t, increment)                               // another tab
			s, err := m.Begin(w, r, session.Start{UserID: "u9"})
			require.NoError(t, err)
			require.Equal(t, 3, s.Data().N)
		})
	})
	t.Run("S5 goroutines of one request", func(t *testing.T) {
		b := newBrowser(m)
		b.do(func(_ http.ResponseWriter, r *http.Request) {
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if err := m.Update(r.Context(), increment); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
		b.do(func(_ http.ResponseWriter, r *http.Request) {
			s, err := m.Get(r.Context())
			require.NoError(t, err)
			require.Equal(t, 10, s.Data().N)
		})
	})
}

// touchHook runs before the store's Touch.
type touchHook struct {
	session.Store
	before func()
}

func (h *touchHook) Touch(ctx context.Context, key session.Key, seen, idle time.Time) error {
	h.before()
	return h.Store.Touch(ctx, key, seen, idle)
}

func TestS8_TouchAfterDelete(t *testing.T) {
	store := &touchHook{Store: session.NewMemoryStore(nil)}
	m := newManager(t, store, session.Options{TouchEvery: time.Millisecond})
	b := newBrowser(m)
	id := b.login(t, "u1").ID()
	touched := false
	store.before = func() {
		touched = true
		_, err := m.RevokeUser(t.Context(), "u1", session.ReasonRevoked)
		require.NoError(t, err)
	}
	time.Sleep(5 * time.Millisecond)
	_, _ = b.who()
	require.True(t, touched)
	_, err := b.who()
	require.ErrorIs(t, err, session.ErrInvalid)
	alive, err := m.Alive(t.Context(), id)
	require.NoError(t, err)
	require.False(t, alive)
}

func TestS22_RevokeOneOthersAll(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	sessions := func() (ids []string) {
		list, err := m.List(t.Context(), "u1")
		require.NoError(t, err)
		for _, info := range list {
			ids = append(ids, info.ID)
		}
		return ids
	}
	var browsers []*browser
	var ids []string
	for range 4 {
		b := newBrowser(m)
		ids = append(ids, b.login(t, "u1").ID())
		browsers = append(browsers, b)
	}
	stranger := newBrowser(m)
	stranger.login(t, "u2")

	ended, err := m.Revoke(t.Context(), "u2", ids[0], session.ReasonRevoked)
	require.NoError(t, err)
	require.False(t, ended, "another user's session")
	ended, err = m.Revoke(t.Context(), "", ids[0], session.ReasonRevoked)
	require.NoError(t, err)
	require.False(t, ended)
	require.Len(t, sessions(), 4)

	ended, err = m.Revoke(t.Context(), "u1", ids[0], session.ReasonRevoked)
	require.NoError(t, err)
	require.True(t, ended)
	require.NotContains(t, sessions(), ids[0])

	var pushed []string
	defer m.OnEnd(func(id, user, reason string) { pushed = append(pushed, id+user+reason) })()
	n, err := m.RevokeOthers(t.Context(), "u1", ids[3], session.ReasonPasswordChanged)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, ids[3:], sessions())
	require.ElementsMatch(t, []string{ids[1] + "u1password changed", ids[2] + "u1password changed"}, pushed)
	_, err = browsers[3].who()
	require.NoError(t, err)
	_, err = browsers[1].who()
	require.ErrorIs(t, err, session.ErrInvalid)

	n, err = m.RevokeUser(t.Context(), "u1", session.ReasonDisabled)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, sessions())
	_, err = stranger.who()
	require.NoError(t, err)

	_, err = m.RevokeUser(t.Context(), "", session.ReasonDisabled)
	require.Error(t, err, "nobody is not a user")

	t.Run("O12 by the provider", func(t *testing.T) {
		origin := session.Origin{Issuer: "https://issuer.example", Subject: "s", SID: "1"}
		begin := func(b *browser, o session.Origin) (id string) {
			b.do(func(w http.ResponseWriter, r *http.Request) {
				s, err := m.Begin(w, r, session.Start{UserID: "u3", Origin: o})
				require.NoError(t, err)
				id = s.ID()
			})
			return id
		}
		renewed, password, other := newBrowser(m), newBrowser(m), newBrowser(m)
		ended := begin(renewed, origin)
		renewed.do(func(w http.ResponseWriter, r *http.Request) { require.NoError(t, m.Renew(w, r)) })
		renewed.update(t, increment)
		kept := begin(password, origin)
		require.Equal(t, kept, begin(password, session.Origin{}), "the same user signs in again, by password")
		begin(other, session.Origin{Issuer: origin.Issuer, Subject: "s", SID: "2"})
		token, tokenSession, err := m.BeginToken(t.Context(), session.Start{UserID: "u3", Origin: origin})
		require.NoError(t, err)
		token, _, err = m.Refresh(t.Context(), token.Reveal())
		require.NoError(t, err)

		for _, o := range []session.Origin{{}, {Issuer: origin.Issuer}, {Subject: "s", SID: "1"}} {
			_, err := m.EndOrigin(t.Context(), o, session.ReasonProvider)
			require.Equal(t, session.ErrOrigin, err, "and not that the store is down")
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		pushed = nil
		n, err := m.EndOrigin(gone, session.Origin{Issuer: origin.Issuer, SID: "1"}, session.ReasonProvider)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.ElementsMatch(t, []string{ended + "u3signed out at the provider", tokenSession.ID() + "u3signed out at the provider"}, pushed)
		_, err = renewed.who()
		require.ErrorIs(t, err, session.ErrInvalid)
		_, _, err = m.Refresh(t.Context(), token.Reveal())
		require.ErrorIs(t, err, session.ErrRefreshInvalid)
		for _, b := range []*browser{password, other} {
			_, err = b.who()
			require.NoError(t, err)
		}
		_, _, err = m.BeginToken(t.Context(), session.Start{UserID: "u3", Origin: session.Origin{Issuer: "i", SID: strings.Repeat("x", 1021)}})
		require.ErrorContains(t, err, "1020")
	})

	t.Run("S22 racing a sign-in", func(t *testing.T) {
		epoch, err := m.Epoch(t.Context(), "u1") // then the password is checked …
		require.NoError(t, err)
		_, err = m.RevokeUser(t.Context(), "u1", session.ReasonPasswordChanged)
		require.NoError(t, err)
		b := newBrowser(m)
		b.update(t, increment) // an anonymous session, to be the user's
		for _, b := range []*browser{b, newBrowser(m)} {
			before := b.cookie()
			b.do(func(w http.ResponseWriter, r *http.Request) {
				_, err := m.Begin(w, r, session.Start{UserID: "u1", Epoch: &epoch})
				require.ErrorIs(t, err, session.ErrEpoch)
			})
			require.Equal(t, before, b.cookie())
		}
		_, _, err = m.BeginToken(t.Context(), session.Start{UserID: "u1", Epoch: &epoch})
		require.ErrorIs(t, err, session.ErrEpoch)
		require.Empty(t, sessions())
	})
	t.Run("S22 what ended can be asked for", func(t *testing.T) {
		_, cursor, err := m.EndedSince(t.Context(), "")
		require.NoError(t, err)
		b := newBrowser(m)
		id := b.login(t, "u1").ID()
		require.NoError(t, m.Logout(httptest.NewRecorder(), b.request()))
		got, next, err := m.EndedSince(t.Context(), cursor)
		require.NoError(t, err)
		require.Equal(t, []string{id}, got)
		got, _, err = m.EndedSince(t.Context(), next)
		require.NoError(t, err)
		require.Empty(t, got)
		_, _, err = m.EndedSince(t.Context(), "of another store")
		lost, ok := err.(interface{ CursorLost() bool })
		require.True(t, ok && lost.CursorLost())
	})
}
