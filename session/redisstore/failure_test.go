package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
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

func TestS24_ScriptReload(t *testing.T) {
	server := ownServer(t)
	c := dial(t, server.Addr())
	s := storeOn(t, c)
	require.NoError(t, s.Create(t.Context(), record("one", "ada"), session.AnyEpoch))
	cursor := cursorOf(t, s)
	for name, forget := range map[string]func() error{
		"SCRIPT FLUSH": func() error { _, err := server.Do("SCRIPT", "FLUSH"); return err },
		"restart":      func() error { return errors.Join(server.Stop(), server.Run()) },
	} {
		for verb, call := range verbs(t, s) {
			require.NoError(t, forget(), name)
			require.NoError(t, call(t.Context()), "%s after %s", verb, name)
			if name == "restart" {
				break // once is enough: it is slow
			}
		}
		_, found, err := s.ByID(t.Context(), "one")
		require.NoError(t, err)
		require.True(t, found)
		_, _, err = s.EndedSince(t.Context(), cursor, 10)
		require.NoError(t, err, "the log survives where records do")
	}
	callAll(t, s)
	w := &witness{}
	c.AddHook(w)
	callAll(t, s)
	for _, cmd := range w.take() {
		require.Equal(t, "evalsha", cmd[0], "a script is sent once")
	}
}

// What a part of the store taken away must mean, whichever: everybody is signed
// out, cursors are lost, and no sign-in that was under way gets in.
func TestS24_APartOfTheStoreIsLost(t *testing.T) {
	for part := range 3 {
		for name, lose := range map[string]func(c redis.UniversalClient, key string) error{
			"deleted": func(c redis.UniversalClient, key string) error { return c.Del(t.Context(), key).Err() },
			"expired": func(c redis.UniversalClient, key string) error { return c.PExpire(t.Context(), key, -1).Err() },
		} {
			t.Run(fmt.Sprint(part, " ", name), func(t *testing.T) {
				ctx, c := t.Context(), client(t)
				prefix := newPrefix()
				s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
				require.NoError(t, err)
				rec := record("one", "ada")
				rec.Origin = session.Origin{Issuer: "i", SID: "s"}
				require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
				_, err = s.EndUser(ctx, "bob", "", session.ReasonRevoked, ms())
				require.NoError(t, err)
				cursor := cursorOf(t, s)
				held := map[string]uint64{}
				for _, user := range []string{"ada", "bob"} {
					held[user], err = s.Epoch(ctx, user)
					require.NoError(t, err)
				}
				require.NoError(t, lose(c, keysOf(prefix)[part]))

				gone := func() {
					t.Helper()
					_, found, err := s.Load(ctx, rec.Key)
					require.NoError(t, err)
					require.False(t, found)
					_, found, err = s.ByID(ctx, "one")
					require.NoError(t, err)
					require.False(t, found)
					list, err := s.ListUser(ctx, "ada")
					require.NoError(t, err)
					require.Empty(t, list)
				}
				gone()
				require.ErrorIs(t, s.Replace(ctx, rec.Key, rec, 1), session.ErrNotFound)
				require.NoError(t, s.Touch(ctx, rec.Key, ms(), ms()))
				ended, err := s.End(ctx, "one", session.ReasonRevoked, ms())
				require.NoError(t, err)
				require.False(t, ended)
				for user, epoch := range held {
					require.ErrorIs(t, s.Create(ctx, record("late", user), epoch), session.ErrEpoch, "a sign-in from before gets in")
				}
				_, _, err = s.EndedSince(ctx, cursor, 10)
				require.ErrorIs(t, err, session.ErrCursorLost)
				gone()
				callAll(t, s)
				gone()
			})
		}
	}
}

func TestS24_FlushAll(t *testing.T) {
	server := ownServer(t)
	s := storeOn(t, dial(t, server.Addr()))
	ctx := t.Context()
	cursor := cursorOf(t, s)
	var recs []session.Record
	for i := range 20 {
		rec := record(fmt.Sprint("s", i), "ada")
		require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
		recs = append(recs, rec)
	}
	epoch, err := s.Epoch(ctx, "ada")
	require.NoError(t, err)
	_, err = server.Do("FLUSHALL")
	require.NoError(t, err)

	var revived atomic.Int32
	var wg sync.WaitGroup
	for _, rec := range recs { // all at once, also the making of the new log
		wg.Go(func() {
			if !errors.Is(s.Replace(ctx, rec.Key, rec, 1), session.ErrNotFound) ||
				s.Touch(ctx, rec.Key, ms(), ms().Add(time.Hour)) != nil ||
				!errors.Is(s.Create(ctx, record("late"+rec.ID, "ada"), epoch), session.ErrEpoch) {
				revived.Add(1)
			}
			if _, found, err := s.Load(ctx, rec.Key); found || err != nil {
				revived.Add(1)
			}
		})
	}
	wg.Wait()
	require.Zero(t, revived.Load())
	_, _, err = s.EndedSince(ctx, cursor, 10)
	require.ErrorIs(t, err, session.ErrCursorLost)

	// Whichever call comes first, it works on the new store.
	for name, verb := range verbs(t, s) {
		_, err = server.Do("FLUSHALL")
		require.NoError(t, err)
		if err := verb(ctx); name == "Replace" {
			require.ErrorIs(t, err, session.ErrNotFound)
		} else {
			require.NoError(t, err, name)
		}
	}
	require.NoError(t, s.Create(ctx, record("new", "ada"), session.AnyEpoch))
	cursor = cursorOf(t, s)
	_, err = s.End(ctx, "new", session.ReasonRevoked, ms())
	require.NoError(t, err)
	require.Len(t, endedAfter(t, s, cursor), 1)
}

// Where memory is short and everything may be evicted at any time, answers are
// true or errors: who is found is whole, who ended stays dead, and a reader of
// the log misses nobody without being told.
func TestS24_Eviction(t *testing.T) {
	server := ownServer(t, "--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "1")
	c := dial(t, server.Addr())
	s := storeOn(t, c)
	const workers, rounds = 4, 250
	var lost, found, failed atomic.Int32
	wrong := make(chan error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			wrong <- func() error {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				user := fmt.Sprint("user", w)
				for i := range rounds {
					// Somebody else's keys, that push ours out.
					if err := c.Set(ctx, fmt.Sprintf("other-%d-%d", w, i), strings.Repeat("x", 20_000), 0).Err(); err != nil {
						failed.Add(1)
					}
					rec := record(fmt.Sprintf("s-%d-%d", w, i), user)
					rec.Data = []byte(strings.Repeat("d", 2000))
					_, cursor, err := s.EndedSince(ctx, "", 1)
					if err != nil {
						failed.Add(1)
						continue
					}
					epoch, err := s.Epoch(ctx, user)
					if err != nil {
						failed.Add(1)
						continue
					}
					switch err := s.Create(ctx, rec, epoch); {
					case errors.Is(err, session.ErrEpoch): // the epoch went meanwhile
						lost.Add(1)
						continue
					case errors.Is(err, session.ErrExists):
						return fmt.Errorf("%s: %w", rec.ID, err)
					case err != nil:
						failed.Add(1)
						continue
					}
					got, ok, err := s.Load(ctx, rec.Key)
					switch {
					case err != nil:
						failed.Add(1)
					case ok && (got.ID != rec.ID || string(got.Data) != string(rec.Data) || got.UserID != user):
						return fmt.Errorf("half a record: %+v", got)
					case ok:
						found.Add(1)
					default:
						lost.Add(1)
					}
					var was bool
					if i%2 == 0 {
						was, err = s.End(ctx, rec.ID, session.ReasonRevoked, ms())
					} else {
						var ended []session.Ended
						ended, err = s.EndUser(ctx, user, "", session.ReasonRevoked, ms())
						for _, e := range ended {
							was = was || e.ID == rec.ID
						}
					}
					if err != nil {
						failed.Add(1)
						continue
					}
					if _, ok, err := s.Load(ctx, rec.Key); ok && err == nil {
						return fmt.Errorf("%s is alive after its end", rec.ID)
					}
					if _, ok, err := s.ByID(ctx, rec.ID); ok && err == nil {
						return fmt.Errorf("%s is alive after its end", rec.ID)
					}
					told := false
					for {
						list, next, err := s.EndedSince(ctx, cursor, 100)
						told = told || errors.Is(err, session.ErrCursorLost)
						for _, e := range list {
							told = told || e.ID == rec.ID
						}
						if err != nil || len(list) == 0 {
							told = told || err != nil
							break
						}
						cursor = next
					}
					if was && !told {
						return fmt.Errorf("%s ended, and the log neither has it nor is lost", rec.ID)
					}
				}
				return nil
			}()
		})
	}
	wg.Wait()
	close(wrong)
	for err := range wrong {
		require.NoError(t, err)
	}
	info, err := server.Do("INFO", "stats")
	require.NoError(t, err)
	require.NotContains(t, info, "evicted_keys:0\r", "nothing was evicted")
	require.NotZero(t, lost.Load(), "the sessions were never evicted")
	require.NotZero(t, found.Load(), "no session was ever there")
	t.Logf("found %d, lost %d, %d calls without an answer", found.Load(), lost.Load(), failed.Load())
}

// A full server that evicts nothing refuses what is new; who is signed in goes
// on, and can sign out.
func TestS24_FullMemory(t *testing.T) {
	server := ownServer(t, "--maxmemory-policy", "noeviction")
	c := dial(t, server.Addr())
	s := storeOn(t, c)
	ctx := t.Context()
	one, two := record("one", "ada"), record("two", "ada")
	one.Origin = session.Origin{Issuer: "i", SID: "s"}
	require.NoError(t, s.Create(ctx, one, session.AnyEpoch))
	require.NoError(t, s.Create(ctx, two, session.AnyEpoch))
	cursor := cursorOf(t, s)
	_, err := server.Do("CONFIG", "SET", "maxmemory", "100kb") // more is in use already
	require.NoError(t, err)
	require.ErrorContains(t, s.Create(ctx, record("three", "ada"), session.AnyEpoch), "OOM")
	_, found, err := s.ByID(ctx, "three")
	require.NoError(t, err)
	require.False(t, found)
	require.ErrorContains(t, s.Replace(ctx, two.Key, two, 1), "OOM")
	got, found, err := s.Load(ctx, two.Key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, two, got)
	require.NoError(t, s.Touch(ctx, one.Key, ms().Add(time.Minute), ms().Add(time.Hour)))
	list, err := s.ListUser(ctx, "ada")
	require.NoError(t, err)
	require.Len(t, list, 2)
	ended, err := s.EndOrigin(ctx, one.Origin, session.ReasonSignedOut, ms())
	require.NoError(t, err)
	require.Len(t, ended, 1)
	ended, err = s.EndUser(ctx, "ada", "", session.ReasonRevoked, ms())
	require.NoError(t, err)
	require.Len(t, ended, 1)
	require.Len(t, endedAfter(t, s, cursor), 2)
	_, err = s.Reap(ctx, ms(), 10)
	require.NoError(t, err)
}

// Entries of an index whose record has vanished, by whatever hand, are passed
// over and go.
func TestS24_OrphanIndexEntries(t *testing.T) {
	ctx, c := t.Context(), client(t)
	prefix := newPrefix()
	s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	keys := keysOf(prefix)
	origin := session.Origin{Issuer: "i", Subject: "s", SID: "x"}
	vanish := func(n int) {
		t.Helper()
		for i := range n {
			rec := record(fmt.Sprint("gone-", prefixes.Add(1), i), "ada")
			rec.Origin = origin
			rec.IdleExpires = ms().Add(-time.Minute)
			require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
			require.NoError(t, c.HDel(ctx, keys[0], "h"+rec.ID, "d"+rec.ID).Err())
			_, found, err := s.Load(ctx, rec.Key)
			require.NoError(t, err)
			require.False(t, found)
			require.NoError(t, s.Touch(ctx, rec.Key, ms(), ms().Add(time.Hour)))
			require.ErrorIs(t, s.Replace(ctx, rec.Key, rec, 1), session.ErrNotFound)
		}
	}
	left := func(key string, want int64) {
		t.Helper()
		n, err := c.ZCard(ctx, key).Result()
		require.NoError(t, err)
		require.Equal(t, want, n-1, "entries of %s, without the empty one", key)
	}
	keep := record("keep", "ada")
	keep.Origin = origin
	require.NoError(t, s.Create(ctx, keep, session.AnyEpoch))
	cursor := cursorOf(t, s)

	vanish(3)
	left(keys[1], 3+3*3)
	list, err := s.ListUser(ctx, "ada")
	require.NoError(t, err)
	require.Len(t, list, 1)
	left(keys[1], 3+3*2)
	reaped, err := s.Reap(ctx, ms(), 2)
	require.NoError(t, err)
	require.Empty(t, reaped)
	left(keys[2], 1)
	ended, err := s.EndOrigin(ctx, session.Origin{Issuer: "i", SID: "none"}, session.ReasonRevoked, ms())
	require.NoError(t, err)
	require.Empty(t, ended)
	ended, err = s.EndOrigin(ctx, session.Origin{Issuer: "i", SID: "x", Subject: "other"}, session.ReasonRevoked, ms())
	require.NoError(t, err)
	require.Empty(t, ended)
	left(keys[1], 3+3)
	vanish(2)
	ended, err = s.EndUser(ctx, "ada", "", session.ReasonRevoked, ms())
	require.NoError(t, err)
	require.Len(t, ended, 1)
	require.Len(t, endedAfter(t, s, cursor), 1)
	ended, err = s.EndOrigin(ctx, session.Origin{Issuer: "i", Subject: "s"}, session.ReasonRevoked, ms())
	require.NoError(t, err)
	require.Empty(t, ended)
	_, err = s.EndOrigin(ctx, session.Origin{Issuer: "i", SID: "x"}, session.ReasonRevoked, ms())
	require.NoError(t, err)
	left(keys[1], 0)
}

// What a later version wrote is neither read nor removed.
func TestALaterVersionIsAnError(t *testing.T) {
	ctx, c := t.Context(), client(t)
	prefix := newPrefix()
	s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	require.NoError(t, s.Create(ctx, record("one", "ada"), session.AnyEpoch))
	all := verbs(t, s)
	require.NoError(t, c.HSet(ctx, keysOf(prefix)[0], ".v", "2").Err())
	for name, verb := range all {
		require.ErrorContains(t, verb(ctx), "later version", name)
	}
	require.NoError(t, c.HSet(ctx, keysOf(prefix)[0], ".v", "1").Err())
	_, found, err := s.ByID(ctx, "one")
	require.NoError(t, err)
	require.True(t, found)
}

func managerOn(t testing.TB, s session.Store) *session.Manager[struct{}] {
	t.Helper()
	m, err := session.New[struct{}](s, &session.Options{ReapEvery: -1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func signIn(t testing.TB, m *session.Manager[struct{}], user string) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := m.Begin(w, r, session.Start{UserID: user})
		require.NoError(t, err)
	})).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://app.example/", nil))
	require.Len(t, w.Result().Cookies(), 1)
	return w.Result().Cookies()[0]
}

func withCookie(ctx context.Context, c *http.Cookie) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "https://app.example/", nil)
	r.AddCookie(c)
	return r
}

func unavailable(t testing.TB, err error) {
	t.Helper()
	var refusal interface{ AuthError() string }
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "unavailable", refusal.AuthError(), "neither signed in nor signed out")
}

// A server that does not answer: every call is an error within its context's
// time, and the same client goes on when the server does.
func TestS24_PausedServer(t *testing.T) {
	server := ownServer(t)
	s := storeOn(t, dial(t, server.Addr()))
	m := managerOn(t, s)
	cookie := signIn(t, m, "ada")
	callAll(t, s)
	all := verbs(t, s)
	require.NoError(t, server.Pause())
	var wg sync.WaitGroup
	results := make(chan error, len(all))
	const limit, patience = 500 * time.Millisecond, 4 * time.Second
	for name, verb := range all {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			start := time.Now()
			err := verb(ctx)
			switch took := time.Since(start); {
			case err == nil:
				results <- fmt.Errorf("%s has an answer", name)
			case took > patience:
				results <- fmt.Errorf("%s took %v: %w", name, took, err)
			case !errors.Is(err, context.DeadlineExceeded):
				results <- fmt.Errorf("%s does not say why: %w", name, err)
			}
		})
	}
	wg.Wait()
	close(results)
	for err := range results {
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := m.Authenticate(withCookie(ctx, cookie))
	unavailable(t, err)

	require.NoError(t, server.Resume())
	require.Eventually(t, func() bool {
		_, err := m.Authenticate(withCookie(t.Context(), cookie))
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	callAll(t, s)
}

// Neither a primary that has lost its replicas nor a replica answers: they may
// not know who was signed out.
func TestS24_StalePrimaryAndReplica(t *testing.T) {
	server := ownServer(t)
	s := storeOn(t, dial(t, server.Addr()))
	callAll(t, s)
	all := verbs(t, s)
	_, err := server.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	require.NoError(t, err)
	for name, verb := range all {
		require.ErrorContains(t, verb(t.Context()), "NOREPLICAS", name)
	}
	host, port, err := net.SplitHostPort(server.Addr())
	require.NoError(t, err)
	replica := ownServer(t, "--replicaof", host, port)
	// The replica knows of the link before the primary counts on it.
	require.Eventually(t, func() bool {
		info, err := server.Do("INFO", "replication")
		return err == nil && strings.Contains(info, "min_slaves_good_slaves:1")
	}, 60*time.Second, 20*time.Millisecond)
	c := redis.NewClient(&redis.Options{Addr: replica.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	stale, err := redisstore.New(c, nil)
	require.NoError(t, err)
	_, _, err = stale.Load(t.Context(), session.Key{})
	require.ErrorContains(t, err, "READONLY")
	require.NoError(t, verbs(t, s)["Load"](t.Context()), "with its replica the primary answers")
}

// The node of a cluster that carries the store goes down and comes back.
func TestS24_ClusterNodeKilled(t *testing.T) {
	cluster, err := redistest.StartCluster()
	child.Require(t, err)
	t.Cleanup(func() { _ = cluster.Close() })
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	prefix := newPrefix()
	s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	require.NoError(t, s.Create(t.Context(), record("stays", "ada"), session.AnyEpoch))
	require.NoError(t, s.Create(t.Context(), record("ended", "ada"), session.AnyEpoch))
	cursor := cursorOf(t, s)
	_, err = s.End(t.Context(), "ended", session.ReasonRevoked, ms())
	require.NoError(t, err)
	callAll(t, s)
	all := verbs(t, s)

	owner, err := c.MasterForKey(t.Context(), keysOf(prefix)[0])
	require.NoError(t, err)
	var node *redistest.Server
	for _, n := range cluster.Nodes {
		if n.Addr() == owner.Options().Addr {
			node = n
		}
	}
	require.NotNil(t, node)
	require.NoError(t, node.Kill())
	for name, verb := range all {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := verb(ctx)
		cancel()
		require.Error(t, err, name)
		for _, answer := range []error{session.ErrExists, session.ErrNotFound, session.ErrConflict, session.ErrEpoch, session.ErrCursorLost} {
			require.NotErrorIs(t, err, answer, name)
		}
	}
	require.NoError(t, node.Run())
	require.NoError(t, cluster.Ready())
	require.Eventually(t, func() bool {
		_, found, err := s.ByID(t.Context(), "stays")
		return err == nil && found
	}, 60*time.Second, 20*time.Millisecond)
	_, found, err := s.ByID(t.Context(), "ended")
	require.NoError(t, err)
	require.False(t, found)
	require.Equal(t, "ended", endedAfter(t, s, cursor)[0].ID)
	callAll(t, s)
}
