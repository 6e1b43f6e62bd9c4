// Package dbtest has the servers that the tests of a process share. The first
// test that needs one starts it; where the program is missing the test is
// skipped, or fails under make test.
package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/mysqltest"
	"github.com/gatewire/gatewire/internal/pgtest"
	"github.com/gatewire/gatewire/internal/redistest"
)

// The servers.
var (
	Postgres     = shared(func() (*pgtest.Server, error) { return pgtest.Start() })
	MySQL        = shared(mysqltest.Start)
	Redis        = shared(func() (*redistest.Server, error) { return redistest.Start() })
	RedisCluster = shared(func() (*redistest.Cluster, error) { return redistest.StartCluster() })
)

var (
	running struct {
		sync.Mutex
		stop []func() error
	}
	databases atomic.Int64
)

func shared[S interface{ Close() error }](start func() (S, error)) func(testing.TB) S {
	once := sync.OnceValues(func() (S, error) {
		s, err := start()
		if err == nil {
			running.Lock()
			defer running.Unlock()
			running.stop = append(running.stop, s.Close)
		}
		return s, err
	})
	return func(t testing.TB) S {
		t.Helper()
		s, err := once()
		child.Require(t, err)
		return s
	}
}

// Run runs the tests and ends the servers that they started.
func Run(m *testing.M) (code int) {
	code = m.Run()
	running.Lock()
	defer running.Unlock()
	for _, stop := range running.stop {
		if err := stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// PostgresDSN is a connection string for an empty schema, on the server of
// POSTGRES_URL or on the shared one.
func PostgresDSN(t testing.TB) string {
	t.Helper()
	server := os.Getenv("POSTGRES_URL")
	if server == "" {
		server = Postgres(t).URL()
	}
	return PostgresSchema(t, server)
}

// PostgresSchema is a connection string for an empty schema on a PostgreSQL server.
func PostgresSchema(t testing.TB, server string) string {
	t.Helper()
	name := fresh(t, "pgx", server, `CREATE SCHEMA %s`, `DROP SCHEMA %s CASCADE`, os.Getenv("POSTGRES_URL") != "")
	u, err := url.Parse(server)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}

// MySQLDSN is a data source name for an empty database, on the server of
// MYSQL_URL or on the shared one.
func MySQLDSN(t testing.TB) string {
	t.Helper()
	server := os.Getenv("MYSQL_URL")
	stays := server != ""
	if !stays {
		server = MySQL(t).DSN()
	}
	config, err := mysql.ParseDSN(server)
	require.NoError(t, err)
	config.DBName = fresh(t, "mysql", server, `CREATE DATABASE %s`, `DROP DATABASE %s`, stays)
	return config.FormatDSN()
}

// fresh runs create with a new name, and drop with it after the test where the
// server stays.
func fresh(t testing.TB, driver, server, create, drop string, stays bool) (name string) {
	t.Helper()
	name = fmt.Sprintf("gatewire_test_%d_%d", os.Getpid(), databases.Add(1))
	run := func(statement string) {
		db, err := sql.Open(driver, server)
		require.NoError(t, err)
		defer func() { _ = db.Close() }()
		_, err = db.ExecContext(context.WithoutCancel(t.Context()), fmt.Sprintf(statement, name))
		require.NoError(t, err)
	}
	run(create)
	if stays {
		t.Cleanup(func() { run(drop) })
	}
	return name
}
