package session_test

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

func TestS6_IdleAndAbsolute(t *testing.T) {
	t.Run("S6 idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, nil, session.Options{ReapEvery: -1})
			b := newBrowser(m)
			id := b.login(t, "u1").ID()
			for range 3 { // used, it lives
				time.Sleep(29 * time.Minute)
				_, err := b.who()
				require.NoError(t, err)
			}
			time.Sleep(30*time.Minute - time.Millisecond)
			alive, err := m.Alive(t.Context(), id) // asking is not using
			require.NoError(t, err)
			require.True(t, alive)
			time.Sleep(time.Millisecond)
			_, err = b.who()
			require.ErrorIs(t, err, session.ErrInvalid)
			alive, err = m.Alive(t.Context(), id)
			require.NoError(t, err)
			require.False(t, alive, "also while the record is not reaped")
			_, err = m.Session(t.Context(), id)
			require.ErrorIs(t, err, session.ErrNotFound)
			list, err := m.List(t.Context(), "u1")
			require.NoError(t, err)
			require.Empty(t, list)
			require.ErrorIs(t, m.Renew(nil, b.request()), session.ErrInvalid)
		})
	})
	t.Run("S6 idle, kept alive by its id", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, nil, session.Options{ReapEvery: -1})
			s := newBrowser(m).login(t, "u1")
			alive := func() bool {
				alive, err := m.Alive(t.Context(), s.ID())
				require.NoError(t, err)
				return alive
			}
			for time.Until(s.ExpiresAt()) > 30*time.Minute {
				time.Sleep(30*time.Minute - time.Millisecond)
				require.True(t, alive())
				require.NoError(t, m.KeepAlive(t.Context(), s.ID()))
			}
			time.Sleep(time.Until(s.ExpiresAt()))
			require.False(t, alive(), "use doesn't move the absolute end")
			require.NoError(t, m.KeepAlive(t.Context(), s.ID()))
			require.False(t, alive())

			s = newBrowser(m).login(t, "u1")
			time.Sleep(30 * time.Minute)
			require.NoError(t, m.KeepAlive(t.Context(), s.ID()))
			require.False(t, alive(), "what is over stays over")

			_, s, err := m.BeginToken(t.Context(), session.Start{UserID: "u1"})
			require.NoError(t, err)
			time.Sleep(14*24*time.Hour - time.Minute)
			require.NoError(t, m.KeepAlive(t.Context(), s.ID()))
			time.Sleep(time.Minute)
			require.False(t, alive(), "a token session is kept by refreshing it")
		})
	})
	t.Run("S6 absolute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, nil, session.Options{})
			b := newBrowser(m)
			s := b.login(t, "u1")
			end := time.Now().Add(12 * time.Hour)
			require.WithinDuration(t, end, s.ExpiresAt(), time.Millisecond)
			for time.Until(end) > 10*time.Minute {
				_, err := b.who()
				require.NoError(t, err)
				b.do(func(w http.ResponseWriter, r *http.Request) {
					require.NoError(t, m.Update(r.Context(), increment))
					require.NoError(t, m.Renew(w, r))
				})
				time.Sleep(10 * time.Minute)
			}
			time.Sleep(time.Until(end))
			_, err := b.who()
			require.ErrorIs(t, err, session.ErrInvalid)
		})
	})
	t.Run("S6 an expired session is not signed in to", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, nil, session.Options{ReapEvery: -1})
			b := newBrowser(m)
			old := b.login(t, "u1")
			b.update(t, increment)
			time.Sleep(time.Hour)
			s := b.login(t, "u1")
			require.NotEqual(t, old.ID(), s.ID())
			require.Zero(t, s.Data().N)
		})
	})
	t.Run("S6 expiring during a slow request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, nil, session.Options{})
			b := newBrowser(m)
			id := b.login(t, "u1").ID()
			resp := b.do(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Update(r.Context(), increment))
				time.Sleep(time.Hour)
			})
			require.Equal(t, http.StatusConflict, resp.StatusCode)
			alive, err := m.Alive(t.Context(), id)
			require.NoError(t, err)
			require.False(t, alive)
		})
	})
	// The reaper has not been there yet, so the record still is.
	for name, step := range map[string]func(t *testing.T, m *manager, w http.ResponseWriter, r *http.Request, id string){
		"Authenticate": func(t *testing.T, m *manager, _ http.ResponseWriter, r *http.Request, _ string) {
			_, err := m.Authenticate(r)
			require.ErrorIs(t, err, session.ErrInvalid)
		},
		"Renew": func(t *testing.T, m *manager, w http.ResponseWriter, r *http.Request, _ string) {
			require.ErrorIs(t, m.Renew(w, r), session.ErrInvalid)
		},
		"Begin": func(t *testing.T, m *manager, w http.ResponseWriter, r *http.Request, id string) {
			s, err := m.Begin(w, r, session.Start{UserID: "u1"})
			require.NoError(t, err)
			require.NotEqual(t, id, s.ID())
		},
	} {
		t.Run("S6 expired within the request, then "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, nil, session.Options{ReapEvery: -1})
				b := newBrowser(m)
				id := b.login(t, "u1").ID()
				b.do(func(w http.ResponseWriter, r *http.Request) {
					_, err := m.Authenticate(r)
					require.NoError(t, err)
					time.Sleep(time.Hour)
					step(t, m, w, r, id)
				})
				alive, err := m.Alive(t.Context(), id)
				require.NoError(t, err)
				require.False(t, alive)
			})
		})
	}
	t.Run("S6 expired before a change is run again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := session.NewMemoryStore(nil)
			m := newManager(t, store, session.Options{ReapEvery: -1})
			b := newBrowser(m)
			id := b.login(t, "u1").ID()
			resp := b.do(func(_ http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Update(r.Context(), increment))
				rec, _, err := store.ByID(r.Context(), id)
				require.NoError(t, err)
				require.NoError(t, store.Replace(r.Context(), rec.Key, rec, rec.Rev))
				time.Sleep(time.Hour)
			})
			require.Equal(t, http.StatusConflict, resp.StatusCode)
			rec, _, err := store.ByID(t.Context(), id)
			require.NoError(t, err)
			require.Empty(t, rec.Data)
		})
	})
	t.Run("S6 clock stepped back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newFaulty()
			m := newManager(t, store, session.Options{})
			b := newBrowser(m)
			b.login(t, "u1")
			list, err := store.ListUser(t.Context(), "u1")
			require.NoError(t, err)
			// As a node would have left it whose clock is 20 minutes ahead.
			ahead := list[0]
			require.NoError(t, store.Touch(t.Context(), ahead.Key, ahead.Seen.Add(20*time.Minute), ahead.IdleExpires.Add(20*time.Minute)))
			_, err = b.who()
			require.NoError(t, err)
			time.Sleep(10 * time.Minute)
			_, err = b.who()
			require.NoError(t, err)
			list, err = store.ListUser(t.Context(), "u1")
			require.NoError(t, err)
			require.Equal(t, ahead.Seen.Add(20*time.Minute), list[0].Seen, "nothing moves backwards")
			time.Sleep(41 * time.Minute)
			_, err = b.who()
			require.ErrorIs(t, err, session.ErrInvalid, "and it ends all the same")
		})
	})
}

func TestS7_TouchIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFaulty()
		m := newManager(t, store, session.Options{ReapEvery: -1})
		b := newBrowser(m)
		b.login(t, "u1")
		b.update(t, increment)
		written := store.count("Replace")
		for range 120 { // ten minutes of a request every five seconds
			time.Sleep(5 * time.Second)
			_, err := b.who()
			require.NoError(t, err)
		}
		require.Equal(t, 10, store.count("Touch"))
		require.Equal(t, written, store.count("Replace"), "reading writes no data")
		list, err := store.ListUser(t.Context(), "u1")
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), list[0].Seen, time.Minute)

		store.set("Touch", true)
		time.Sleep(2 * time.Minute)
		_, err = b.who()
		require.NoError(t, err, "a failed touch costs an earlier end, not the request")
	})
}

func TestS26_Reaper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemoryStore(nil)
		m, err := session.New[data](store, nil)
		require.NoError(t, err)
		b := newBrowser(m)
		id := b.login(t, "u1").ID()
		var pushed []string
		cancel := m.OnEnd(func(id, _, reason string) { pushed = append(pushed, id+" "+reason) })
		_, cursor, err := m.EndedSince(t.Context(), "")
		require.NoError(t, err)

		time.Sleep(32 * time.Minute)
		synctest.Wait()
		require.Equal(t, []string{id + " expired"}, pushed, "what hangs on an idle session learns that it is over")
		_, reasons, _, err := m.EndedReasons(t.Context(), cursor)
		require.NoError(t, err)
		require.Equal(t, []string{string(session.ReasonExpired)}, reasons)
		ids, _, err := m.EndedSince(t.Context(), cursor)
		require.NoError(t, err)
		require.Equal(t, []string{id}, ids)
		cancel()
		cancel()

		b.login(t, "u1")
		require.NoError(t, m.Close()) // a goroutine left would fail the bubble
		require.NoError(t, m.Close())
		time.Sleep(2 * time.Hour)
		require.Len(t, pushed, 1)
		_, err = b.who()
		require.ErrorIs(t, err, session.ErrInvalid, "expiry does not depend on the reaper")
	})
}

func TestMemoryStoreForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := session.NewMemoryStore(nil)
		m := newManager(t, s, session.Options{})
		_, old, err := m.EndedSince(t.Context(), "")
		require.NoError(t, err)
		b := newBrowser(m)
		b.login(t, "u1")
		_, err = m.RevokeUser(t.Context(), "u1", session.ReasonRevoked)
		require.NoError(t, err)
		before, err := m.Epoch(t.Context(), "u1")
		require.NoError(t, err)
		time.Sleep(16 * time.Minute)
		ids, _, err := m.EndedSince(t.Context(), old)
		require.NoError(t, err)
		require.Len(t, ids, 1, "the log reaches back 15 minutes")
		time.Sleep(10 * time.Minute)
		_, _, err = m.EndedSince(t.Context(), old)
		require.ErrorIs(t, err, session.ErrCursorLost)
		time.Sleep(3 * time.Hour)
		_, err = m.RevokeUser(t.Context(), "u1", session.ReasonRevoked)
		require.NoError(t, err)
		after, err := m.Epoch(t.Context(), "u1")
		require.NoError(t, err)
		require.NotEqual(t, before, after)
	})
}

func TestMemoryStoreIsBounded(t *testing.T) {
	s := session.NewMemoryStore(&session.MemoryOptions{MaxBytes: 20_000})
	now := time.Now().UTC()
	create := func(userID string, idle time.Duration) (string, error) {
		rec := session.Record{
			ID: rand.Text(), Kind: session.KindCookie, UserID: userID, Created: now, Seen: now,
			IdleExpires: now.Add(idle), Expires: now.Add(24 * time.Hour), Data: make([]byte, 400),
		}
		_, _ = rand.Read(rec.Key[:])
		return rec.ID, s.Create(t.Context(), rec, session.AnyEpoch)
	}
	has := func(id string) bool {
		_, found, err := s.ByID(t.Context(), id)
		require.NoError(t, err)
		return found
	}
	expired, err := create("u1", -time.Minute)
	require.NoError(t, err)
	user, err := create("u1", time.Minute)
	require.NoError(t, err)
	oldest, err := create("", 2*time.Minute)
	require.NoError(t, err)
	for range 15 {
		_, err := create("", 3*time.Minute)
		require.NoError(t, err)
	}
	require.True(t, has(oldest))
	for range 100 { // a flood of visitors
		_, err := create("", 3*time.Minute)
		require.NoError(t, err)
	}
	require.False(t, has(expired))
	require.False(t, has(oldest))
	require.True(t, has(user), "a signed-in session is never evicted")
	for range 50 {
		_, err = create("u2", time.Hour)
	}
	require.ErrorContains(t, err, "MaxBytes", "full of signed-in sessions, it refuses new ones")
	require.True(t, has(user))
	_, err = create("", time.Hour)
	require.Error(t, err)
}

// What is the next to be evicted can still grow: a sign-in makes room elsewhere.
func TestMemoryStoreGrowsWhatIsOldest(t *testing.T) {
	s := session.NewMemoryStore(&session.MemoryOptions{MaxBytes: 20_000})
	now := time.Now().UTC()
	var first session.Record
	for n := range 100 {
		rec := session.Record{
			ID: rand.Text(), Kind: session.KindCookie, Created: now, Seen: now,
			IdleExpires: now.Add(time.Hour + time.Duration(n)*time.Second), Expires: now.Add(24 * time.Hour),
		}
		_, _ = rand.Read(rec.Key[:])
		require.NoError(t, s.Create(t.Context(), rec, session.AnyEpoch))
		_, next, err := s.EndedSince(t.Context(), "", 1)
		require.NoError(t, err)
		if n == 0 || !strings.HasSuffix(next, ".0") { // full, and the oldest went
			first, first.Expires = rec, now.Add(time.Minute)
		}
		if !strings.HasSuffix(next, ".0") {
			break
		}
	}
	first.Rev = 1
	require.NoError(t, s.Replace(t.Context(), first.Key, first, 1), "now it is the next to expire")
	first.UserID, first.UserAgent = "u1", strings.Repeat("x", 900)
	require.NoError(t, s.Replace(t.Context(), first.Key, first, 2))
	rec, found, err := s.Load(t.Context(), first.Key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "u1", rec.UserID)
}
