package integration_test

import (
	"context"
	"database/sql"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/mysqltest"
	"github.com/gatewire/gatewire/internal/pgtest"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// kinds runs f for each kind of database; dsn makes an empty one. The rules do
// not depend on the settings SQLite is opened with.
func kinds(t *testing.T, f func(t *testing.T, dsn func(testing.TB) string)) {
	accountKinds(t, f)
	t.Run("MariaDB", func(t *testing.T) { f(t, mysqlDSN) })
}

// accountKinds is kinds for those that keep accounts too.
func accountKinds(t *testing.T, f func(t *testing.T, dsn func(testing.TB) string)) {
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

// onlyServer is the server all tests of this process share, each in a schema
// of its own; it is started by the first that needs it. onlyMySQL likewise.
var (
	onlyServer = sync.OnceValues(func() (*pgtest.Server, error) {
		s, err := pgtest.Start()
		return s, started(s, err)
	})
	onlyMySQL = sync.OnceValues(func() (*mysqltest.Server, error) {
		s, err := mysqltest.Start()
		return s, started(s, err)
	})
)

var (
	running struct {
		sync.Mutex
		list []io.Closer
	}
	schemas atomic.Int64
)

// started notes a server that is to be stopped at the end.
func started(s io.Closer, err error) error {
	running.Lock()
	defer running.Unlock()
	if err == nil {
		running.list = append(running.list, s)
	}
	return err
}

// stopServers ends what tests started.
func stopServers() {
	running.Lock()
	defer running.Unlock()
	for _, s := range running.list {
		_ = s.Close()
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

// ownMySQL returns the shared MariaDB server, as ownServer.
func ownMySQL(t testing.TB) *mysqltest.Server {
	t.Helper()
	server, err := onlyMySQL()
	child.Require(t, err)
	return server
}

// mysqlDSN returns a data source name for an empty database, on the server of
// MYSQL_URL or on our own.
func mysqlDSN(t testing.TB) string {
	t.Helper()
	given := os.Getenv("MYSQL_URL")
	if given == "" {
		given = ownMySQL(t).DSN()
	}
	config, err := mysql.ParseDSN(given)
	require.NoError(t, err)
	db, err := sql.Open("mysql", given)
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	config.DBName = "gatewire_test_" + strconv.Itoa(os.Getpid()) + "_" + strconv.FormatInt(schemas.Add(1), 10)
	_, err = db.Exec(`CREATE DATABASE ` + config.DBName)
	require.NoError(t, err)
	if os.Getenv("MYSQL_URL") != "" { // one that stays
		t.Cleanup(func() {
			db, err := sql.Open("mysql", given)
			require.NoError(t, err)
			defer func() { _ = db.Close() }()
			_, err = db.ExecContext(context.WithoutCancel(t.Context()), `DROP DATABASE `+config.DBName)
			require.NoError(t, err)
		})
	}
	return config.FormatDSN()
}
