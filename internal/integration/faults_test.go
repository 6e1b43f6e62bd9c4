package integration_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/mysqltest"
	"github.com/gatewire/gatewire/internal/pgtest"
	"github.com/gatewire/gatewire/internal/proxy"
	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/internal/sessionload"
	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/redisstore"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// breakable is a server whose end and stop can be asked for.
type breakable interface {
	Addr() string
	Run() error
	Kill() error
	Stop() error
	Pause() error
	Resume() error
	Close() error
}

// servers are the stores behind a network. open returns another node's store on
// the server, which it reaches at addr.
var servers = map[string]func(t *testing.T) (server breakable, open func(addr string) session.Store){
	"PostgreSQL": func(t *testing.T) (breakable, func(string) session.Store) {
		server, err := pgtest.Start()
		child.Require(t, err)
		return server, func(addr string) session.Store {
			// A transaction whose node has vanished keeps the head of the log.
			return sessionsOn(t, openDSN(t, with(server.Via(addr), "idle_in_transaction_session_timeout", "2000")))
		}
	},
	"MariaDB": func(t *testing.T) (breakable, func(string) session.Store) {
		server, err := mysqltest.Start()
		child.Require(t, err)
		return server, func(addr string) session.Store {
			return sessionsOn(t, openDSN(t, with(server.Via(addr), "idle_transaction_timeout", "2")))
		}
	},
	"Redis": func(t *testing.T) (breakable, func(string) session.Store) {
		server, err := redistest.Start()
		child.Require(t, err)
		return server, func(addr string) session.Store {
			c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
			t.Cleanup(func() { _ = c.Close() })
			s, err := redisstore.New(c, nil)
			require.NoError(t, err)
			return s
		}
	},
}

// recovery is how long the same processes may take to serve everybody again, on
// a machine that is busy with other tests: half of the clients give up after 300 ms.
const recovery = time.Minute

// fault is something that befalls a store.
type fault struct {
	name       string
	lasts      time.Duration
	begin, end func() error
	mild       bool // it may pass unnoticed
}

// befall makes all faults happen to two nodes under load, one after the other.
// What was acknowledged stays, who has ended stays ended, nobody waits past
// their deadline, and the same processes go on when it is over.
func befall(t *testing.T, nodes []session.Store, faults []fault) {
	t.Helper()
	l, err := sessionload.Start(t.Context(), nodes, sessionload.Options{Impatience: 300 * time.Millisecond, Session: loaded()})
	require.NoError(t, err)
	stopped := false
	t.Cleanup(func() {
		if !stopped { // something has failed, and the load would go on
			_ = l.Stop(context.Background())
		}
	})
	_, err = l.Healed(recovery)
	require.NoError(t, err)
	for _, f := range faults {
		before := l.Unanswered()
		require.NoError(t, f.begin(), f.name)
		asked := l.Requests()
		time.Sleep(f.lasts)
		during, goroutines := l.Requests()-asked, runtime.NumGoroutine()
		require.NoError(t, f.end(), f.name)
		took, err := l.Healed(recovery)
		require.NoError(t, err, f.name)
		unanswered := l.Unanswered() - before
		if !f.mild {
			require.NotZero(t, unanswered, "%s: nobody noticed", f.name)
		}
		require.Less(t, goroutines, 1500, "%s: they pile up", f.name)
		t.Logf("%s: %d requests, %d in all not answered, everybody served again after %v, %d goroutines", f.name, during, unanswered,
			took.Round(time.Millisecond), goroutines)
	}
	t.Logf("%d requests, the longest handled for %v", l.Requests(), l.Longest().Round(time.Millisecond))
	stopped = true
	require.NoError(t, l.Stop(t.Context()))
	require.Zero(t, l.Running())
}

// loaded are the options of managers under load: what happens now and then
// happens all the time.
func loaded() session.Options {
	return session.Options{TouchEvery: 20 * time.Millisecond, ReapEvery: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
}

func TestS17_StoreFailsUnderLoad(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("stores", func(t *testing.T) {
		for name, start := range servers {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				serverFails(t, start)
			})
		}
		t.Run("SQLite", func(t *testing.T) {
			t.Parallel()
			fileFails(t)
		})
	})
	// What pgx sends after a connection it has given up takes 15 seconds at most.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 30*time.Second, 20*time.Millisecond, "goroutines are left")
}

func serverFails(t *testing.T, start func(*testing.T) (breakable, func(string) session.Store)) {
	server, open := start(t)
	t.Cleanup(func() { _ = server.Close() })
	between, err := proxy.New(server.Addr(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = between.Close() })
	set := func(f func()) func() error {
		return func() error { f(); return nil }
	}
	slow := func(d time.Duration) func() error { return set(func() { between.Delay(d) }) }
	befall(t, []session.Store{open(between.Addr()), open(between.Addr())}, []fault{
		{"killed", time.Second / 2, server.Kill, server.Run, false},
		{"stopped in order", time.Second / 2, server.Stop, server.Run, false},
		// Longer than whoever waits for its end may take.
		{"paused", 6 * time.Second, server.Pause, server.Resume, false},
		{"slow", time.Second, slow(30 * time.Millisecond), slow(0), true},
		{"slower than the deadline", 2 * time.Second, slow(600 * time.Millisecond), slow(0), false},
		{"answers lost", 2 * time.Second, set(func() { between.Cut(5) }), set(func() { between.Cut(0) }), false},
		{"network lost", 3 * time.Second, set(func() { between.Vanish(true) }), set(func() { between.Vanish(false) }), false},
	})
	require.NotZero(t, between.Cuts())
}

// childLocks keeps the database to itself until it is killed.
func childLocks(t *testing.T, dsn string) {
	_, err := openDSN(t, dsn).Exec(`BEGIN IMMEDIATE`)
	require.NoError(t, err)
	said("locked")
	select {}
}

func fileFails(t *testing.T) {
	const connections = 4
	dsn := sessionsql.SQLiteDSN(sqliteFile(t))
	pools := []*sql.DB{openDSN(t, dsn), openDSN(t, dsn)}
	var nodes []session.Store
	for _, db := range pools {
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		nodes = append(nodes, sessionsOn(t, db))
	}
	// A pragma is one connection's.
	everywhere := func(pragma string) func() error {
		return func() error {
			for _, db := range pools {
				for range connections {
					c, err := db.Conn(t.Context())
					if err != nil {
						return err
					}
					defer func() { _ = c.Close() }()
					if _, err := c.ExecContext(t.Context(), pragma); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	full := func() error {
		var pages int
		if err := pools[0].QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
			return err
		}
		return everywhere(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))()
	}
	var other *childProcess
	befall(t, nodes, []fault{
		{"locked by another process", 6 * time.Second, func() error {
			other = startChild(t, "lock", "other", dsn)
			if words, ok := other.next(); !ok {
				return fmt.Errorf("the other process said %v", words)
			}
			return nil
		}, func() error {
			err := other.cmd.Process.Kill()
			_ = other.cmd.Wait()
			return err
		}, false},
		{"disk full", 2 * time.Second, full, everywhere(`PRAGMA max_page_count = 1073741823`), false},
		{"read-only", time.Second, everywhere(`PRAGMA query_only = ON`), everywhere(`PRAGMA query_only = OFF`), false},
	})
}
