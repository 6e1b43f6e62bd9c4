package integration_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/integration/dbtest"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// kinds runs f for each kind of database; dsn makes an empty one. The rules do
// not depend on the settings SQLite is opened with.
func kinds(t *testing.T, f func(t *testing.T, dsn func(testing.TB) string)) {
	accountKinds(t, f)
	t.Run("MariaDB", func(t *testing.T) { f(t, dbtest.MySQLDSN) })
}

// accountKinds is kinds for those that keep accounts too.
func accountKinds(t *testing.T, f func(t *testing.T, dsn func(testing.TB) string)) {
	t.Run("SQLite", func(t *testing.T) {
		f(t, func(t testing.TB) string { return sessionsql.SQLiteDSN(sqliteFile(t)) })
	})
	t.Run("SQLite bare", func(t *testing.T) {
		f(t, func(t testing.TB) string { return bareDSN(sqliteFile(t)) })
	})
	t.Run("PostgreSQL", func(t *testing.T) { f(t, dbtest.PostgresDSN) })
}

// everyDatabase runs f on an empty database of each kind.
func everyDatabase(t *testing.T, f func(t *testing.T, dsn string)) {
	kinds(t, func(t *testing.T, dsn func(testing.TB) string) { f(t, dsn(t)) })
}

func everyAccountDatabase(t *testing.T, f func(t *testing.T, dsn string)) {
	accountKinds(t, func(t *testing.T, dsn func(testing.TB) string) { f(t, dsn(t)) })
}

// acrossHandles opens an empty database of each kind by two pools.
func acrossHandles(t *testing.T, f func(t *testing.T, a, b *sql.DB)) {
	everyDatabase(t, func(t *testing.T, dsn string) { f(t, openDSN(t, dsn), openDSN(t, dsn)) })
}

func acrossAccountHandles(t *testing.T, f func(t *testing.T, a, b *sql.DB)) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) { f(t, openDSN(t, dsn), openDSN(t, dsn)) })
}

func isPostgres(dsn string) bool { return strings.HasPrefix(dsn, "postgres") }

func isMySQL(dsn string) bool { return strings.Contains(dsn, "@tcp(") }

// openDSN opens a pool with the driver that dsn is for.
func openDSN(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	name := "sqlite"
	switch {
	case isPostgres(dsn):
		name = "pgx"
	case isMySQL(dsn):
		name = "mysql"
	}
	db, err := sql.Open(name, dsn)
	require.NoError(t, err)
	if name != "sqlite" { // as a program would
		db.SetMaxOpenConns(16)
		db.SetMaxIdleConns(16)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// onPostgres reports whether db is PostgreSQL, seen through a spy or not.
func onPostgres(db *sql.DB) bool {
	_, ok := db.Driver().(*stdlib.Driver)
	return ok
}

// onMySQL reports whether db is MariaDB or MySQL.
func onMySQL(db *sql.DB) bool {
	_, ok := db.Driver().(*mysql.MySQLDriver)
	return ok
}

// key is the column of that name, which MySQL wants quoted.
func key(db *sql.DB) string {
	if onMySQL(db) {
		return "`key`"
	}
	return "key"
}
