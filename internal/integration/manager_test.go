package integration_test

import (
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

type nothing struct{}

func managerOn(t *testing.T, store session.Store) *session.Manager[nothing] {
	t.Helper()
	m, err := session.New[nothing](store, &session.Options{ReapEvery: -1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// signIn returns the value of the cookie a browser gets.
func signIn(t *testing.T, m *session.Manager[nothing], userID string) string {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "https://app.example/login", nil)
	r.RemoteAddr = "192.0.2.7:4711"
	r.Header.Set("User-Agent", "Browser/1")
	require.NoError(t, m.Login(w, r, userID))
	cookies := w.Result().Cookies()
	require.Len(t, cookies, 1)
	return cookies[0].Value
}

func withCookie(value string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: value})
	return r
}

// copyOf returns what a thief of the database has: the files of SQLite, or all
// columns of a server, bytes as bytes.
func copyOf(t *testing.T, db *sql.DB) string {
	t.Helper()
	var all []byte
	if onPostgres(db) || onMySQL(db) {
		rows, err := db.Query(`SELECT * FROM gatewire_sessions`)
		require.NoError(t, err)
		defer func() { _ = rows.Close() }()
		names, err := rows.Columns()
		require.NoError(t, err)
		for rows.Next() {
			values, dest := make([]sql.RawBytes, len(names)), make([]any, len(names))
			for i := range values {
				dest[i] = &values[i]
			}
			require.NoError(t, rows.Scan(dest...))
			for _, v := range values {
				all = append(all, v...)
			}
		}
		require.NoError(t, rows.Err())
		return string(all)
	}
	var file string
	require.NoError(t, db.QueryRow(`SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&file))
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(file + suffix)
		if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
		}
		all = append(all, b...)
	}
	return string(all)
}

// What can be found in the database files, write-ahead log included, is not
// what a client presents, and signs in nobody.
func TestS9_ACopyOfTheDatabaseSignsInNobody(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		m := managerOn(t, sessionsOn(t, db))
		ctx := t.Context()
		cookie := signIn(t, m, "u1")
		first, _, err := m.BeginToken(ctx, session.Start{UserID: "u1"})
		require.NoError(t, err)
		second, _, err := m.Refresh(ctx, first.Reveal()) // its successor is kept, sealed
		require.NoError(t, err)
		_, err = m.Authenticate(withCookie(cookie))
		require.NoError(t, err)

		dump := copyOf(t, db)
		require.Contains(t, dump, "Browser/1", "this is where sessions are")
		for _, secret := range []string{cookie, first.Reveal(), second.Reveal()} {
			require.NotContains(t, dump, secret)
			// Nor any half of it, as text or as the bytes it encodes.
			for i := 0; i+16 <= len(secret); i += 4 {
				part := secret[i : i+16]
				require.NotContains(t, dump, part)
				if raw, err := base64.RawURLEncoding.DecodeString(part); err == nil {
					require.NotContains(t, dump, string(raw))
				}
			}
		}

		rows, err := db.Query(`SELECT id, ` + key(db) + `, refresh_secret, refresh_previous, refresh_successor FROM gatewire_sessions`)
		require.NoError(t, err)
		defer func() { _ = rows.Close() }()
		var loot []string
		for rows.Next() {
			var id string
			values := make([][]byte, 4)
			require.NoError(t, rows.Scan(&id, &values[0], &values[1], &values[2], &values[3]))
			loot = append(loot, id)
			for _, v := range values {
				loot = append(loot, hex.EncodeToString(v), base64.RawURLEncoding.EncodeToString(v))
				for _, w := range values { // a locator and a secret side by side
					loot = append(loot, base64.RawURLEncoding.EncodeToString(append(append([]byte{}, v...), w...)))
				}
			}
		}
		require.NoError(t, rows.Err())
		require.Greater(t, len(loot), 40)
		for _, value := range loot {
			_, err := m.Authenticate(withCookie(value))
			require.Error(t, err)
			_, _, err = m.Refresh(ctx, value)
			require.ErrorIs(t, err, session.ErrRefreshInvalid)
		}
		list, err := m.List(ctx, "u1")
		require.NoError(t, err)
		require.Len(t, list, 2, "trying them ended nothing either")
	})
}

func TestS28_TokensAreRandomAndLong(t *testing.T) {
	m := managerOn(t, sessionsOn(t, openSQLite(t, sqliteFile(t))))
	seen := map[string]bool{}
	for range 20 {
		cookie := signIn(t, m, "u1")
		raw, err := base64.RawURLEncoding.DecodeString(cookie)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(raw), 16)
		require.False(t, seen[cookie])
		seen[cookie] = true
	}
}

// Two processes' managers on one file: what one shows and ends is what the
// other shows and learns of.
func TestS30_DevicesAcrossHandles(t *testing.T) {
	acrossHandles(t, func(t *testing.T, a, b *sql.DB) {
		here, there := managerOn(t, sessionsOn(t, a)), managerOn(t, sessionsOn(t, b))
		ctx := t.Context()
		cookies := []string{signIn(t, here, "u1"), signIn(t, here, "u1"), signIn(t, here, "u2")}
		_, cursor, err := there.EndedSince(ctx, "")
		require.NoError(t, err)
		list, err := there.List(ctx, "u1")
		require.NoError(t, err)
		require.Len(t, list, 2)
		for _, device := range list {
			require.Equal(t, "Browser/1", device.UserAgent)
			require.Equal(t, "192.0.2.7", device.IP)
			require.False(t, device.Created.IsZero() || device.Seen.IsZero())
			for _, cookie := range cookies {
				require.NotContains(t, device.ID, cookie)
			}
		}
		mine, err := there.Authenticate(withCookie(cookies[0]))
		require.NoError(t, err)
		other, err := there.Authenticate(withCookie(cookies[1]))
		require.NoError(t, err)

		ok, err := here.Revoke(ctx, "u2", other.ID(), session.ReasonRevoked)
		require.NoError(t, err)
		require.False(t, ok, "not that user's")
		n, err := here.RevokeOthers(ctx, "u1", mine.ID(), session.ReasonRevoked)
		require.NoError(t, err)
		require.Equal(t, 1, n)

		_, err = there.Authenticate(withCookie(cookies[1]))
		require.Error(t, err)
		_, err = there.Authenticate(withCookie(cookies[0]))
		require.NoError(t, err)
		ids, _, err := there.EndedSince(ctx, cursor)
		require.NoError(t, err)
		require.Equal(t, []string{other.ID()}, ids)
		n, err = here.RevokeUser(ctx, "u1", session.ReasonRevoked)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		_, err = there.Authenticate(withCookie(cookies[0]))
		require.Error(t, err)
		_, err = there.Authenticate(withCookie(cookies[2]))
		require.NoError(t, err, "another user's session stays")
	})
}
