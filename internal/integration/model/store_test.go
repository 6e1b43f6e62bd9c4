package model_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/mysqltest"
	"github.com/gatewire/gatewire/internal/pgtest"
	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/redisstore"
	"github.com/gatewire/gatewire/session/sqlstore"
)

// servers are the stores besides the memory store, each with how many runs it
// gets by default.
var servers = []struct {
	name string
	runs int
	open func(t *testing.T) session.Store
}{
	{"SQLite", 100, func(t *testing.T) session.Store {
		return sqlOn(t, "sqlite", sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "model.db")), sqlstore.SQLite)
	}},
	{"PostgreSQL", 100, func(t *testing.T) session.Store { return sqlOn(t, "pgx", postgresDSN(t), sqlstore.PostgreSQL) }},
	{"MariaDB", 80, func(t *testing.T) session.Store { return sqlOn(t, "mysql", mysqlDSN(t), sqlstore.MySQL) }},
	{"Redis", 100, func(t *testing.T) session.Store { return redisOn(t, redisClient(t)) }},
	{"Redis Cluster", 100, func(t *testing.T) session.Store { return redisOn(t, clusterClient(t)) }},
}

func sqlOn(t *testing.T, driver, dsn string, d sqlstore.Dialect) session.Store {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	s, err := sqlstore.New(db, d)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

func redisOn(t *testing.T, c redis.UniversalClient) session.Store {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	s, err := redisstore.New(c, &redisstore.Options{Prefix: "gwmodel-" + rand.Text() + ":"})
	require.NoError(t, err)
	return s
}

// The servers that the tests of this process share; the first that needs one
// starts it.
var (
	postgres = shared(func() (*pgtest.Server, error) { return pgtest.Start() })
	mariadb  = shared(mysqltest.Start)
	single   = shared(func() (*redistest.Server, error) { return redistest.Start() })
	cluster  = shared(func() (*redistest.Cluster, error) { return redistest.StartCluster() })
	closers  []func() error
)

func shared[S interface{ Close() error }](start func() (S, error)) func() (S, error) {
	return sync.OnceValues(func() (S, error) {
		s, err := start()
		if err == nil {
			closers = append(closers, s.Close)
		}
		return s, err
	})
}

func stopServers() (err error) {
	for _, end := range closers {
		err = errors.Join(err, end())
	}
	return err
}

// postgresDSN names a new schema, on the server of POSTGRES_URL or on our own.
func postgresDSN(t *testing.T) string {
	t.Helper()
	server := os.Getenv("POSTGRES_URL")
	if server == "" {
		s, err := postgres()
		child.Require(t, err)
		server = s.URL()
	}
	db, err := sql.Open("pgx", server)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	name := fmt.Sprintf("gatewire_model_%d", os.Getpid())
	_, err = db.Exec(`CREATE SCHEMA ` + name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.WithoutCancel(t.Context()), `DROP SCHEMA `+name+` CASCADE`)
		require.NoError(t, err)
	})
	u, err := url.Parse(server)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}

// mysqlDSN names a new database, on the server of MYSQL_URL or on our own.
func mysqlDSN(t *testing.T) string {
	t.Helper()
	server := os.Getenv("MYSQL_URL")
	if server == "" {
		s, err := mariadb()
		child.Require(t, err)
		server = s.DSN()
	}
	db, err := sql.Open("mysql", server)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	name := fmt.Sprintf("gatewire_model_%d", os.Getpid())
	_, err = db.Exec(`CREATE DATABASE ` + name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.WithoutCancel(t.Context()), `DROP DATABASE `+name)
		require.NoError(t, err)
	})
	config, err := mysql.ParseDSN(server)
	require.NoError(t, err)
	config.DBName = name
	return config.FormatDSN()
}

func redisClient(t *testing.T) redis.UniversalClient {
	t.Helper()
	if given := os.Getenv("REDIS_URL"); given != "" {
		o, err := redis.ParseURL(given)
		require.NoError(t, err)
		o.ContextTimeoutEnabled = true
		return redis.NewClient(o)
	}
	s, err := single()
	child.Require(t, err)
	return redis.NewClient(&redis.Options{Addr: s.Addr(), ContextTimeoutEnabled: true})
}

func clusterClient(t *testing.T) redis.UniversalClient {
	t.Helper()
	s, err := cluster()
	child.Require(t, err)
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Addrs(), ContextTimeoutEnabled: true})
}
