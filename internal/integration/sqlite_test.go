package integration_test

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/gatewire/gatewire/auth/accounts"
	accountsql "github.com/gatewire/gatewire/auth/accounts/sqlstore"
	"github.com/gatewire/gatewire/session"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// sqliteFile names a database file that does not exist yet.
func sqliteFile(t testing.TB) string { return filepath.Join(t.TempDir(), "app data?#%.db") }

// openSQLite opens file as the package comment advises.
func openSQLite(t testing.TB, file string) *sql.DB { return openDSN(t, sessionsql.SQLiteDSN(file)) }

// bareDSN opens a file with none of the advised settings.
func bareDSN(file string) string {
	dsn := sessionsql.SQLiteDSN(file)
	for i := range dsn {
		if dsn[i] == '?' {
			return dsn[:i]
		}
	}
	return dsn
}

func dialectOf(db *sql.DB) sessionsql.Dialect {
	switch {
	case onPostgres(db):
		return sessionsql.PostgreSQL
	case onMySQL(db):
		return sessionsql.MySQL
	}
	return sessionsql.SQLite
}

func newSessions(db *sql.DB) (*sessionsql.Store, error) {
	return sessionsql.New(db, dialectOf(db))
}

func newAccounts(db *sql.DB) (*accountsql.Store, error) {
	if onPostgres(db) {
		return accountsql.New(db, accountsql.PostgreSQL)
	}
	return accountsql.New(db, accountsql.SQLite)
}

// sessionsOn returns a migrated session store.
func sessionsOn(t testing.TB, db *sql.DB) *sessionsql.Store {
	t.Helper()
	s := sessionsOnMigrated(t, db)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// sessionsOnMigrated returns a session store on a database that was migrated.
func sessionsOnMigrated(t testing.TB, db *sql.DB) *sessionsql.Store {
	t.Helper()
	s, err := newSessions(db)
	require.NoError(t, err)
	return s
}

// accountsOn returns a migrated account store, nil on a database that keeps
// sessions alone.
func accountsOn(t testing.TB, db *sql.DB) *accountsql.Store {
	t.Helper()
	if onMySQL(db) {
		return nil
	}
	s := accountsOnMigrated(t, db)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// accountsOnMigrated returns an account store on a database that was migrated.
func accountsOnMigrated(t testing.TB, db *sql.DB) *accountsql.Store {
	t.Helper()
	s, err := newAccounts(db)
	require.NoError(t, err)
	return s
}

func keyOf(s string) session.Key { return sha256.Sum256([]byte(s)) }

// record returns a session of user that lives for an hour.
func record(id, user string) session.Record {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return session.Record{
		Key: keyOf(id), ID: id, Kind: session.KindCookie, UserID: user,
		AuthTime: now, Created: now, Seen: now, IdleExpires: now.Add(30 * time.Minute), Expires: now.Add(time.Hour),
		Data: []byte("{}"),
	}
}

func user(n int) accounts.User {
	return accounts.User{
		ID: fmt.Sprintf("user-%d", n), Email: fmt.Sprintf("U%d@example.com", n), Name: "Ada", Password: "hash-0",
		Created: time.Now().UTC().Truncate(time.Microsecond),
	}
}

// cursorOf is the cursor of now.
func cursorOf(t testing.TB, s session.Store) string {
	t.Helper()
	ended, cursor, err := s.EndedSince(t.Context(), "", 100)
	require.NoError(t, err)
	require.Empty(t, ended)
	return cursor
}
