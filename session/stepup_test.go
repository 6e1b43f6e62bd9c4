package session_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// What asks for a recent proof goes by when the user proved themselves, which
// may be before the sign-in here: at a provider, or in the session of another
// library.
func TestS30_AuthTimeIsThatOfTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, nil, session.Options{MaxPerUser: 2})
		begin := func(proved time.Time) *session.Session[data] {
			s, err := m.Begin(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil), session.Start{UserID: "ada", AuthTime: proved})
			require.NoError(t, err)
			return s
		}
		now := time.Now().UTC()
		require.Equal(t, now, begin(time.Time{}).AuthTime(), "just now, unless told otherwise")
		require.Equal(t, now, begin(now.Add(time.Hour)).AuthTime(), "nothing is proved in the future")
		time.Sleep(time.Second)
		old := begin(now.Add(-time.Hour).Local())
		require.Equal(t, now.Add(-time.Hour), old.AuthTime())
		require.Equal(t, now.Add(time.Second+12*time.Hour), old.ExpiresAt(), "the lifetime begins here")

		// There are more than MaxPerUser now: it is not the old proof that
		// makes a session the one to end.
		alive, err := m.Alive(context.Background(), old.ID())
		require.NoError(t, err)
		require.True(t, alive)

		_, s, err := m.BeginToken(t.Context(), session.Start{UserID: "ada", AuthTime: now.Add(-time.Minute)})
		require.NoError(t, err)
		require.Equal(t, now.Add(-time.Minute), s.AuthTime())
	})
}
