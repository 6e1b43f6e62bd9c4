package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
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

// rows is how many sessions a test is about: GATEWIRE_BENCH_ROWS, or few.
func rows(t testing.TB, few int) (n int, full bool) {
	t.Helper()
	given := os.Getenv("GATEWIRE_BENCH_ROWS")
	if given == "" {
		return few, false
	}
	n, err := strconv.Atoi(given)
	require.NoError(t, err, "GATEWIRE_BENCH_ROWS")
	require.GreaterOrEqual(t, n, few, "GATEWIRE_BENCH_ROWS")
	return n, true
}

// onlyServer is what all tests share, each in a database of its own. It writes
// to the disk before it answers.
var onlyServer = sync.OnceValues(func() (*pgtest.Server, error) {
	s, err := pgtest.Start("fsync=on")
	if err == nil {
		closeServer = s.Close
	}
	return s, err
})

var closeServer = func() error { return nil }

func TestMain(m *testing.M) {
	code := m.Run()
	if err := closeServer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// postgresDatabase makes an empty database; url is a connection string of it,
// for a server at any address.
func postgresDatabase(t testing.TB) (addr string, url func(addr string) string) {
	t.Helper()
	server, err := onlyServer()
	child.Require(t, err)
	name := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "_"))
	_, err = open(t, "pgx", server.URL()).ExecContext(t.Context(), `CREATE DATABASE `+name)
	require.NoError(t, err)
	return server.Addr(), func(addr string) string { return strings.Replace(server.Via(addr), "/postgres?", "/"+name+"?", 1) }
}

// mariaServer starts a server that writes to the disk before it answers.
func mariaServer(t testing.TB) *mysqltest.Server {
	t.Helper()
	s, err := mysqltest.Start()
	child.Require(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	root := open(t, "mysql", s.DSN())
	_, err = root.ExecContext(t.Context(), `SET GLOBAL innodb_flush_log_at_trx_commit = 1`)
	require.NoError(t, err)
	return s
}

func redisServer(t testing.TB, config ...string) *redistest.Server {
	t.Helper()
	s, err := redistest.Start(config...)
	child.Require(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// open opens a pool as the package comment of sqlstore asks for.
func open(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	if driver != "sqlite" {
		db.SetMaxOpenConns(20)
		db.SetMaxIdleConns(20)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func sqlStore(t testing.TB, driver, dsn string, d sqlstore.Dialect) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := open(t, driver, dsn)
	s, err := sqlstore.New(db, d)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	return s, db
}

func mariaStore(t testing.TB, dsn string) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	return sqlStore(t, "mysql", dsn, sqlstore.MySQL)
}

func postgresStore(t testing.TB, url string) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	return sqlStore(t, "pgx", url, sqlstore.PostgreSQL)
}

func redisStore(t testing.TB, addr string) *redisstore.Store {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	s, err := redisstore.New(c, nil)
	require.NoError(t, err)
	return s
}

const userAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"

// record is session i of those fillPostgres makes, ten of which are a user's.
func record(key session.Key, id string, i int) session.Record {
	at := time.Now().UTC().Truncate(time.Millisecond)
	return session.Record{
		Key: key, ID: id, Kind: session.KindCookie, UserID: userOf(i), AuthTime: at, Created: at, Seen: at,
		IdleExpires: at.Add(30 * time.Minute), Expires: at.Add(12 * time.Hour),
		UserAgent: userAgent, IP: "192.0.2.7", Data: []byte("\x01{}"),
	}
}

func userOf(i int) string { return fmt.Sprintf("user-%d", i/10) }

// sessionColumns are what the fill functions set, after id, key and
// user_id.
const sessionColumns = `(id, key, user_id, kind, rev, scopes, roles, auth_time, created, seen, idle_expires, expires, user_agent, ip,
	origin_issuer, origin_subject, origin_sid, refresh_rotated, data)`

// fillPostgres writes sessions from..to-1 as the store would, whose time is
// over at dies.
func fillPostgres(t testing.TB, db *sql.DB, from, to int, dies time.Time) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), `INSERT INTO gatewire_sessions `+sessionColumns+`
		SELECT upper(substr(md5(i::text), 1, 26)), sha256(i::text::bytea), 'user-' || (i / 10), 'cookie', 1, 'null', 'null', $3, $3, $3, $4, $5, $6,
			'192.0.2.7', '', '', '', $7, '\x017b7d'::bytea FROM generate_series($1::int, $2::int - 1) AS i`, from, to,
		dies.Add(-30*time.Minute).UnixMicro(), dies.UnixMicro(), dies.Add(12*time.Hour).UnixMicro(), userAgent, time.Time{}.UnixMicro())
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `VACUUM ANALYZE gatewire_sessions`)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `CHECKPOINT`)
	require.NoError(t, err)
}

// fillMaria writes n sessions as the store would.
func fillMaria(t testing.TB, db *sql.DB, n int) {
	t.Helper()
	const batch = 100_000 // what one transaction keeps to be undone
	now := time.Now()
	for from := 0; from < n; from += batch {
		_, err := db.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO gatewire_sessions "+strings.Replace(sessionColumns, "key", "`key`", 1)+`
			SELECT upper(substr(md5(seq), 1, 26)), unhex(sha2(seq, 256)), concat('user-', seq div 10), 'cookie', 1, 'null', 'null', %[3]d, %[3]d, %[3]d, %[4]d, %[5]d, '%[6]s',
				'192.0.2.7', '', '', '', %[7]d, x'017b7d' FROM seq_%[1]d_to_%[2]d`, from, min(from+batch, n)-1,
			now.UnixMicro(), now.Add(30*time.Minute).UnixMicro(), now.Add(12*time.Hour).UnixMicro(), userAgent, time.Time{}.UnixMicro()))
		require.NoError(t, err)
	}
	_, err := db.ExecContext(t.Context(), `ANALYZE TABLE gatewire_sessions`)
	require.NoError(t, err)
}

// fillSQLite writes n sessions as the store would.
func fillSQLite(t testing.TB, db *sql.DB, n int) {
	t.Helper()
	c, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	now := time.Now()
	for _, statement := range []string{`PRAGMA cache_size = -500000`, `INSERT INTO gatewire_sessions ` + sessionColumns + `
		WITH RECURSIVE one (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM one WHERE i + 1 < ?1)
		SELECT hex(randomblob(13)), randomblob(32), 'user-' || (i / 10), 'cookie', 1, 'null', 'null', ?2, ?2, ?2, ?3, ?4, ?5,
			'192.0.2.7', '', '', '', ?6, CAST(char(1) || '{}' AS BLOB) FROM one`, `PRAGMA wal_checkpoint(TRUNCATE)`, `PRAGMA cache_size = -2000`} {
		var args []any
		if statement[0] == 'I' {
			args = []any{n, now.UnixMicro(), now.Add(30 * time.Minute).UnixMicro(), now.Add(12 * time.Hour).UnixMicro(), userAgent, time.Time{}.UnixMicro()}
		}
		_, err := c.ExecContext(t.Context(), statement, args...)
		require.NoError(t, err)
	}
}

// quantile sorts list.
func quantile(list []time.Duration, q float64) time.Duration {
	slices.Sort(list)
	return list[min(int(q*float64(len(list))), len(list)-1)]
}

func newManager(t testing.TB, s session.Store, o *session.Options) *session.Manager[data] {
	t.Helper()
	m, err := session.New[data](s, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

type data struct{ N int }

// everyEnded reads a log to its end.
func everyEnded(t testing.TB, m *session.Manager[data], cursor string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for {
		ids, next, err := m.EndedSince(context.WithoutCancel(t.Context()), cursor)
		require.NoError(t, err)
		if len(ids) == 0 {
			return all
		}
		for _, id := range ids {
			all[id]++
		}
		cursor = next
	}
}

// short is d with some three digits.
func short(d time.Duration) time.Duration {
	for unit := time.Nanosecond; ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
}
