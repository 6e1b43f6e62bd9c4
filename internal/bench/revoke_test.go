package bench_test

import (
	"context"
	"crypto/sha256"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sqlstore"
)

func keyOf(i int) session.Key { return sha256.Sum256([]byte(strconv.Itoa(i))) }

// create fills a store by its own Create.
func create(t *testing.T, s session.Store, n, workers int) {
	t.Helper()
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := w; i < n; i += workers {
				key := keyOf(i)
				id := strconv.Itoa(10_000_000+i) + "ABCDEFGHIJKLMNOPQR"
				if err := s.Create(context.Background(), record(key, id, i), session.AnyEpoch); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	require.False(t, t.Failed())
}

// TestS5_EndingAUsersSessions ends the ten sessions of a user among many, for
// 50 users on each store. How long that takes is for README.md.
func TestS5_EndingAUsersSessions(t *testing.T) {
	n, _ := rows(t, 10_000)
	t.Run("memory", func(t *testing.T) {
		s := session.NewMemoryStore(&session.MemoryOptions{MaxBytes: 8 << 30})
		create(t, s, n, 2)
		revoke(t, s, n)
	})
	t.Run("SQLite", func(t *testing.T) {
		s, db := sqlStore(t, "sqlite", sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "sessions.db")), sqlstore.SQLite)
		fillSQLite(t, db, n)
		revoke(t, s, n)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		addr, url := postgresDatabase(t)
		s, db := postgresStore(t, url(addr))
		fillPostgres(t, db, 0, n, time.Now().Add(time.Hour))
		revoke(t, s, n)
	})
	t.Run("MariaDB", func(t *testing.T) {
		s, db := mariaStore(t, mariaServer(t).DSN())
		fillMaria(t, db, n)
		revoke(t, s, n)
	})
	t.Run("Redis", func(t *testing.T) {
		// Writes are on the disk before they are answered once it is filled.
		server := redisServer(t, "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
		s := redisStore(t, server.Addr())
		create(t, s, n, 64)
		_, err := server.Do("CONFIG", "SET", "appendfsync", "always")
		require.NoError(t, err)
		revoke(t, s, n)
	})
}

func revoke(t *testing.T, s session.Store, n int) {
	t.Helper()
	m := newManager(t, s, &session.Options{ReapEvery: -1})
	const users = 50
	list := make([]time.Duration, users)
	for i := range users {
		user := userOf(i * (n / users) / 10 * 10)
		start := time.Now()
		ended, err := m.RevokeUser(t.Context(), user, session.ReasonRevoked)
		list[i] = time.Since(start)
		require.NoError(t, err)
		require.Equal(t, 10, ended, user)
	}
	t.Logf("| %s | %v | %v | %v |", t.Name()[len("TestS5_EndingAUsersSessions/"):], short(quantile(list, 0.5)), short(quantile(list, 0.99)), short(list[users-1]))
}
