package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/redisstore"
)

// The server and the cluster that tests of this process share, each test under
// a prefix of its own. The first that needs one starts it.
var (
	sharedServer  = shared(redistest.Start)
	sharedCluster = shared(redistest.StartCluster)
	closers       []func() error
	prefixes      atomic.Int64
)

func shared[S interface{ Close() error }](start func(...string) (S, error)) func() (S, error) {
	return sync.OnceValues(func() (S, error) {
		s, err := start()
		if err == nil {
			closers = append(closers, s.Close)
		}
		return s, err
	})
}

// quiet is where go-redis tells of every connection it does not get.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	code := m.Run()
	for _, end := range closers {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// ownServer starts a server for this test alone.
func ownServer(t testing.TB, config ...string) *redistest.Server {
	t.Helper()
	s, err := redistest.Start(config...)
	child.Require(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// dial returns a client as a program would have it.
func dial(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// client is one of the shared server, or of REDIS_URL.
func client(t testing.TB) redis.UniversalClient {
	t.Helper()
	if given := os.Getenv("REDIS_URL"); given != "" {
		o, err := redis.ParseURL(given)
		require.NoError(t, err)
		o.ContextTimeoutEnabled = true
		c := redis.NewClient(o)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	s, err := sharedServer()
	child.Require(t, err)
	return dial(t, s.Addr())
}

func clusterClient(t testing.TB) *redis.ClusterClient {
	t.Helper()
	s, err := sharedCluster()
	child.Require(t, err)
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Addrs(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// storeOn returns an empty store.
func storeOn(t testing.TB, c redis.UniversalClient) *redisstore.Store {
	t.Helper()
	prefix := newPrefix()
	s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	if os.Getenv("REDIS_URL") != "" { // one that stays
		t.Cleanup(func() { c.Del(context.WithoutCancel(t.Context()), keysOf(prefix)...) })
	}
	return s
}

// keysOf are the names of a store's keys.
func keysOf(prefix string) []string {
	return []string{"{" + prefix + "sessions}:all", "{" + prefix + "sessions}:index", "{" + prefix + "sessions}:dies"}
}

func newPrefix() string { return fmt.Sprintf("gwtest-%d-%d:", os.Getpid(), prefixes.Add(1)) }

// ms is now as a store keeps it.
func ms() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func keyOf(id string) (k session.Key) {
	copy(k[:], id)
	k[31] = 1
	return k
}

// record is a signed-in session, found under keyOf(id).
func record(id, user string) session.Record {
	at := ms()
	return session.Record{
		Key: keyOf(id), ID: id, Kind: session.KindCookie, Rev: 1, UserID: user, AuthTime: at,
		Scopes: []string{"orders:read"}, Created: at, Seen: at, IdleExpires: at.Add(30 * time.Minute), Expires: at.Add(12 * time.Hour),
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0", IP: "192.0.2.7",
		Data: []byte("\x01{\"theme\":\"dark\",\"cart\":[1,2,3]}"),
	}
}

func cursorOf(t testing.TB, s session.Store) string {
	t.Helper()
	_, cursor, err := s.EndedSince(t.Context(), "", 1)
	require.NoError(t, err)
	return cursor
}

// endedAfter reads the log to its end.
func endedAfter(t testing.TB, s session.Store, cursor string) (all []session.Ended) {
	t.Helper()
	for {
		list, next, err := s.EndedSince(t.Context(), cursor, 500)
		require.NoError(t, err)
		if len(list) == 0 {
			return all
		}
		all, cursor = append(all, list...), next
	}
}
