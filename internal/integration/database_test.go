package integration_test

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/pgtest"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// kinds runs f for each kind of database; dsn makes an empty one. The rules do
// not depend on the settings SQLite is opened with.
func kinds(t *testing.T, f func(t *testing.T, dsn func(testing.TB) string)) {
	t.Run("SQLite", func(t *testing.T) {
		f(t, func(t testing.TB) string { return sessionsql.SQLiteDSN(sqliteFile(t)) })
	})
	t.Run("SQLite bare", func(t *testing.T) {
		f(t, func(t testing.TB) string { return bareDSN(sqliteFile(t)) })
	})
	t.Run("PostgreSQL", func(t *testing.T) { f(t, postgresDSN) })
}

// everyDatabase runs f on an empty database of each kind.
func everyDatabase(t *testing.T, f func(t *testing.T, dsn string)) {
	kinds(t, func(t *testing.T, dsn func(testing.TB) string) { f(t, dsn(t)) })
}

// acrossHandles opens an empty database of each kind by two pools.
func acrossHandles(t *testing.T, f func(t *testing.T, a, b *sql.DB)) {
	everyDatabase(t, func(t *testing.T, dsn string) { f(t, openDSN(t, dsn), openDSN(t, dsn)) })
}

func isPostgres(dsn string) bool { return strings.HasPrefix(dsn, "postgres") }

// openDSN opens a pool with the driver that dsn is for.
func openDSN(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	name := "sqlite"
	if isPostgres(dsn) {
		name = "pgx"
	}
	db, err := sql.Open(name, dsn)
	require.NoError(t, err)
	if name == "pgx" { // as a program would
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

// onlyServer is the server all tests of this process share, each in a schema
// of its own; it is started by the first that needs it.
var onlyServer = sync.OnceValues(func() (*pgtest.Server, error) {
	serverStarted.Store(true)
	return pgtest.Start()
})

var (
	serverStarted atomic.Bool
	schemas       atomic.Int64
)

// stopServers ends what tests started.
func stopServers() {
	if serverStarted.Load() {
		if s, err := onlyServer(); err == nil {
			_ = s.Close()
		}
	}
}

// ownServer returns the shared server. Without PostgreSQL it skips the test,
// or fails it under make test.
func ownServer(t testing.TB) *pgtest.Server {
	t.Helper()
	server, err := onlyServer()
	child.Require(t, err)
	return server
}

// postgresDSN returns a connection string for an empty schema, on the server
// of POSTGRES_URL or on our own.
func postgresDSN(t testing.TB) string {
	t.Helper()
	given := os.Getenv("POSTGRES_URL")
	if given == "" {
		given = ownServer(t).URL()
	}
	return newSchema(t, given)
}

func newSchema(t testing.TB, server string) string {
	t.Helper()
	db, err := sql.Open("pgx", server)
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	name := "gatewire_test_" + strconv.Itoa(os.Getpid()) + "_" + strconv.FormatInt(schemas.Add(1), 10)
	_, err = db.Exec(`CREATE SCHEMA ` + name)
	require.NoError(t, err)
	if os.Getenv("POSTGRES_URL") != "" { // one that stays
		t.Cleanup(func() {
			db, err := sql.Open("pgx", server)
			require.NoError(t, err)
			defer func() { _ = db.Close() }()
			_, err = db.ExecContext(context.WithoutCancel(t.Context()), `DROP SCHEMA `+name+` CASCADE`)
			require.NoError(t, err)
		})
	}
	u, err := url.Parse(server)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}
