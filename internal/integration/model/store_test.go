package model_test

import (
	"crypto/rand"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/gatewire/gatewire/internal/integration/dbtest"
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
	{"PostgreSQL", 100, func(t *testing.T) session.Store { return sqlOn(t, "pgx", dbtest.PostgresDSN(t), sqlstore.PostgreSQL) }},
	{"MariaDB", 80, func(t *testing.T) session.Store { return sqlOn(t, "mysql", dbtest.MySQLDSN(t), sqlstore.MySQL) }},
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

func redisClient(t *testing.T) redis.UniversalClient {
	t.Helper()
	if given := os.Getenv("REDIS_URL"); given != "" {
		o, err := redis.ParseURL(given)
		require.NoError(t, err)
		o.ContextTimeoutEnabled = true
		return redis.NewClient(o)
	}
	return redis.NewClient(&redis.Options{Addr: dbtest.Redis(t).Addr(), ContextTimeoutEnabled: true})
}

func clusterClient(t *testing.T) redis.UniversalClient {
	t.Helper()
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: dbtest.RedisCluster(t).Addrs(), ContextTimeoutEnabled: true})
}
