package integration_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/auth/accounts/accountstest"
	"github.com/gatewire/gatewire/internal/integration/dbtest"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// turns is a limiter and a memory of what happened once that is another node
// with every call.
type turns struct {
	limiters []accounts.Limiter
	onces    []accounts.Once
	n        atomic.Int64
}

func (s *turns) next() int { return int(s.n.Add(1)) % 2 }

type turnsLimiter struct{ *turns }

func (s turnsLimiter) Take(ctx context.Context, key string, l accounts.Limit) (time.Duration, error) {
	return s.limiters[s.next()].Take(ctx, key, l)
}

func (s turnsLimiter) Give(ctx context.Context, key string, l accounts.Limit) error {
	return s.limiters[s.next()].Give(ctx, key, l)
}

type turnsOnce struct{ *turns }

func (s turnsOnce) Take(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	return s.onces[s.next()].Take(ctx, key, ttl)
}

func (s turnsOnce) Taken(ctx context.Context, key string) (time.Time, bool, error) {
	return s.onces[s.next()].Taken(ctx, key)
}

func twoNodes(t *testing.T, dsn string) *turns {
	a, b := accountsOn(t, openDSN(t, dsn)), accountsOn(t, openDSN(t, dsn))
	return &turns{limiters: []accounts.Limiter{a.Limiter(), b.Limiter()}, onces: []accounts.Once{a.Once(), b.Once()}}
}

func TestA2_LimiterContract(t *testing.T) {
	accountKinds(t, func(t *testing.T, dsn func(testing.TB) string) {
		accountstest.RunLimiter(t, func(t *testing.T) accounts.Limiter { return accountsOn(t, openDSN(t, dsn(t))).Limiter() })
		t.Run("two nodes", func(t *testing.T) {
			accountstest.RunLimiter(t, func(t *testing.T) accounts.Limiter { return turnsLimiter{twoNodes(t, dsn(t))} })
		})
	})
}

func TestO12_OnceContract(t *testing.T) {
	accountKinds(t, func(t *testing.T, dsn func(testing.TB) string) {
		accountstest.RunOnce(t, func(t *testing.T) accounts.Once { return accountsOn(t, openDSN(t, dsn(t))).Once() })
		t.Run("two nodes", func(t *testing.T) {
			accountstest.RunOnce(t, func(t *testing.T) accounts.Once { return turnsOnce{twoNodes(t, dsn(t))} })
		})
	})
}

// What is over leaves the database by use alone, and what counts stays.
func TestA2_WhatIsOverIsRemoved(t *testing.T) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s := accountsOn(t, db)
		ctx := t.Context()
		l, o := s.Limiter(), s.Once()
		slow := accounts.Limit{Burst: 3, Every: time.Hour}
		for i := range 3 {
			_, err := l.Take(ctx, "counts", slow)
			require.NoError(t, err)
			_, err = o.Take(ctx, fmt.Sprint("counts", i), time.Hour)
			require.NoError(t, err)
		}
		long := time.Now().Add(-time.Hour).UnixMicro()
		rows := `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 3000) `
		for _, q := range []string{
			fmt.Sprintf(`INSERT INTO gatewire_limits (key, full_at) %s SELECT 'over' || i, %d FROM n`, rows, long),
			fmt.Sprintf(`INSERT INTO gatewire_once (key, taken, expires, times) %s SELECT 'over' || i, %d, %d, 1 FROM n`, rows, long, long),
		} {
			_, err := db.Exec(q)
			require.NoError(t, err)
		}
		for i := range 400 {
			key := fmt.Sprint("used", i%5)
			if _, err := l.Take(ctx, key, accounts.Limit{Burst: 1000, Every: time.Second}); err != nil {
				t.Fatal(err)
			}
			if _, err := o.Take(ctx, key, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		for table, want := range map[string]int{"gatewire_limits": 1 + 5, "gatewire_once": 3 + 5} {
			var n int
			require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM `+table).Scan(&n))
			require.Equal(t, want, n, table)
		}
		wait, err := l.Take(ctx, "counts", slow)
		require.NoError(t, err)
		require.Positive(t, wait)
		first, err := o.Take(ctx, "counts0", time.Hour)
		require.NoError(t, err)
		require.False(t, first)
	})
}

// A try that is refused is not written.
func TestA2_WhatIsRefusedWritesNothing(t *testing.T) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) {
		watch, db := openSpy(t, dsn)
		l := accountsOn(t, db).Limiter()
		limit := accounts.Limit{Burst: 1, Every: time.Hour}
		_, err := l.Take(t.Context(), "key", limit)
		require.NoError(t, err)
		for _, st := range watch.during(func() {
			wait, err := l.Take(t.Context(), "key", limit)
			require.NoError(t, err)
			require.Positive(t, wait)
		}) {
			require.Regexp(t, `^SELECT `, st.query)
		}
	})
}

// Counting tries does not make anything else on the connection less durable.
func TestA2_PostgresSettingStaysWithItsStatement(t *testing.T) {
	db := openDSN(t, dbtest.PostgresDSN(t))
	db.SetMaxOpenConns(1)
	l := accountsOn(t, db).Limiter()
	limit := accounts.Limit{Burst: 9, Every: time.Hour}
	for range 2 {
		_, err := l.Take(t.Context(), "key", limit)
		require.NoError(t, err)
		require.NoError(t, l.Give(t.Context(), "key", limit))
	}
	var setting string
	require.NoError(t, db.QueryRow(`SHOW synchronous_commit`).Scan(&setting))
	require.Equal(t, "on", setting)
}

// node is one of several that serve the same accounts from one database.
type node struct {
	base    string
	db      *sql.DB
	service *accounts.Service
	users   accounts.Store
}

const goodPassword = "correct horse battery staple"

func newNode(t testing.TB, db *sql.DB, change ...func(*accounts.Options)) *node {
	t.Helper()
	users := accountsOn(t, db)
	sessions, err := session.New[struct{}](sessionsOn(t, db), &session.Options{Cookie: session.Cookie{Insecure: true}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = sessions.Close() })
	hasher, err := password.New(&password.Options{MaxWait: time.Minute})
	require.NoError(t, err)
	sealing, err := jwt.ParseSealingKeys("k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	require.NoError(t, err)
	ring, err := jwt.NewRing(users, sealing, nil)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(nil)
	o := &accounts.Options{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Limiter:        users.Limiter(), Once: users.Once(), Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(o)
	}
	n := &node{base: "http://" + srv.Listener.Addr().String(), db: db, users: users}
	n.service, err = accounts.New(sessions, accounts.Config{BaseURL: n.base, Users: users, Passwords: hasher, Ring: ring}, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.service.Close() })
	mux := http.NewServeMux()
	n.service.Mount(mux)
	srv.Config.Handler = mux
	srv.Start()
	t.Cleanup(srv.Close)
	return n
}

// post sends a request from an address and returns the status, Retry-After and
// the type of the problem.
func (n *node) post(path, ip, email, pw string) (status int, retry, problem string, err error) {
	body, err := json.Marshal(map[string]string{"email": email, "password": pw})
	if err != nil {
		return 0, "", "", err
	}
	r, err := http.NewRequest(http.MethodPost, n.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Forwarded-For", ip)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	var p struct{ Type string }
	_ = json.Unmarshal(text, &p)
	return res.StatusCode, res.Header.Get("Retry-After"), p.Type, err
}

func (n *node) login(t *testing.T, ip, email, pw string) int {
	t.Helper()
	status, _, _, err := n.post("/auth/login", ip, email, pw)
	require.NoError(t, err)
	return status
}

// Guesses at two nodes count together, also those under way at once; the right
// password from elsewhere still works at both.
func TestA2_NodesCountGuessesTogether(t *testing.T) {
	acrossAccountHandles(t, func(t *testing.T, a, b *sql.DB) {
		nodes := []*node{newNode(t, a), newNode(t, b)}
		status, _, _, err := nodes[0].post("/auth/register", "192.0.2.1", "al@example.com", goodPassword)
		require.NoError(t, err)
		require.Equal(t, 201, status)

		refused := make([]string, 40)
		for _, err := range atOnce(len(refused), func(i int) error {
			status, retry, problem, err := nodes[i%2].post("/auth/login", "203.0.113.7", "al@example.com", fmt.Sprint("guess ", i))
			switch {
			case err != nil:
			case status == http.StatusTooManyRequests && retry != "":
				refused[i] = problem
			case status != http.StatusUnauthorized:
				err = fmt.Errorf("status %d", status)
			}
			return err
		}) {
			require.NoError(t, err)
		}
		n := 0
		for _, problem := range refused {
			if problem != "" {
				require.Equal(t, "too-many-attempts", problem)
				n++
			}
		}
		require.Equal(t, 10, n, "30 guesses together")
		for _, node := range nodes {
			require.Equal(t, 429, node.login(t, "203.0.113.7", "al@example.com", goodPassword), "the same network")
			require.Equal(t, 200, node.login(t, "198.51.100.9", "al@example.com", goodPassword), "the owner, elsewhere")
			require.Equal(t, 401, node.login(t, "203.0.113.7", "bo@example.com", goodPassword), "another account")
		}
		for range 40 { // what is right costs no tries
			require.Equal(t, 200, nodes[1].login(t, "198.51.100.9", "al@example.com", goodPassword))
		}
	})
}

// One address may make 100 accounts and fail 50 sign-ins a minute.
func TestA2_SharedLimitsLeaveRoom(t *testing.T) {
	acrossAccountHandles(t, func(t *testing.T, a, b *sql.DB) {
		l := []accounts.Limiter{accountsOn(t, a).Limiter(), accountsOn(t, b).Limiter()}
		d := accounts.DefaultLimits()
		for key, c := range map[string]struct {
			limit accounts.Limit
			n     int
		}{"sign-ups": {d.SignUps, 100}, "failed sign-ins": {d.PerNetwork, 50}} {
			for _, err := range atOnce(c.n, func(i int) error {
				wait, err := l[i%2].Take(context.WithoutCancel(t.Context()), key, c.limit)
				if err == nil && wait > 0 {
					err = errors.New("refused")
				}
				return err
			}) {
				require.NoError(t, err, key)
			}
		}
	})
}

// While tries can't be counted nobody is let in, and nobody is told that the
// password is wrong.
func TestA2_LimiterDownIs503(t *testing.T) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) {
		watch, db := openSpy(t, dsn)
		n := newNode(t, db)
		status, _, _, err := n.post("/auth/register", "192.0.2.1", "al@example.com", goodPassword)
		require.NoError(t, err)
		require.Equal(t, 201, status)
		watch.setFail(func(query string) error {
			if bytes.Contains([]byte(query), []byte("gatewire_limits")) {
				return errors.New("disk I/O error")
			}
			return nil
		})
		for _, pw := range []string{goodPassword, "wrong"} {
			require.Equal(t, 503, n.login(t, "192.0.2.1", "al@example.com", pw))
		}
		status, _, problem, err := n.post("/auth/register", "192.0.2.1", "bo@example.com", goodPassword)
		require.NoError(t, err)
		require.Equal(t, 503, status)
		require.Equal(t, "unavailable", problem)
		watch.setFail(nil)
		require.Equal(t, 200, n.login(t, "192.0.2.1", "al@example.com", goodPassword))
	})
}

// Of a burst of guesses one at a time waits for SQLite's only writer: the rest
// hold no connection meanwhile, and leave when their client does.
func TestA2_SQLiteGuessesQueueOutsideTheDatabase(t *testing.T) {
	dsn := sessionsql.SQLiteDSN(sqliteFile(t))
	db := openDSN(t, dsn)
	l := accountsOn(t, db).Limiter()
	limit := accounts.Limit{Burst: 9, Every: time.Hour}
	writer, err := openDSN(t, dsn).Begin()
	require.NoError(t, err)
	_, err = writer.Exec(`UPDATE gatewire_accounts_schema SET applied = applied`)
	require.NoError(t, err)
	burst := background(func() []error {
		return atOnce(30, func(i int) error {
			_, err := l.Take(context.WithoutCancel(t.Context()), fmt.Sprint("key", i), limit)
			return err
		})
	})
	waits(t, burst, "a try was taken past the writer")
	require.LessOrEqual(t, db.Stats().InUse, 1)
	gone, cancel := context.WithCancel(t.Context())
	cancelled := background(func() error {
		_, err := l.Take(gone, "key", limit)
		return err
	})
	time.Sleep(50 * time.Millisecond)
	cancel()
	require.ErrorIs(t, <-cancelled, context.Canceled)
	require.NoError(t, writer.Rollback())
	for _, err := range <-burst {
		require.NoError(t, err)
	}
}
