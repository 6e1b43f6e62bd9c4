package redisbroker_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
	"github.com/gatewire/gatewire/realtime/redisbroker"
)

func start[S interface{ Close() error }](t testing.TB, begin func(...string) (S, error)) S {
	t.Helper()
	s, err := begin()
	child.Require(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func client(t testing.TB, s *redistest.Server) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func clusterClient(t testing.TB, s *redistest.Cluster) *redis.ClusterClient {
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Addrs(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func broker(t testing.TB, c redis.UniversalClient) *redisbroker.Broker {
	t.Helper()
	b, err := redisbroker.New(c, &redisbroker.Options{Logger: quiet})
	require.NoError(t, err)
	return b
}

func newBroker(c redis.UniversalClient, prefix string) (*redisbroker.Broker, error) {
	return redisbroker.New(c, &redisbroker.Options{Prefix: prefix, Logger: quiet})
}

func TestContract(t *testing.T) {
	s := start(t, redistest.Start)
	realtimetest.Run(t, func(t *testing.T) realtimetest.System {
		lose := func() {
			_, err := s.Do("FLUSHALL")
			require.NoError(t, err)
		}
		lose()
		return realtimetest.System{Open: func() realtime.Broker { return broker(t, client(t, s)) }, Lose: lose}
	}, nil)
}

func TestContractOnCluster(t *testing.T) {
	s := start(t, redistest.StartCluster)
	realtimetest.Run(t, func(t *testing.T) realtimetest.System {
		lose := func() {
			for _, n := range s.Nodes {
				_, err := n.Do("FLUSHALL")
				require.NoError(t, err)
			}
		}
		lose()
		return realtimetest.System{Open: func() realtime.Broker { return broker(t, clusterClient(t, s)) }, Lose: lose}
	}, nil)
}

func TestNew(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	_, err := redisbroker.New(ring, nil)
	require.ErrorContains(t, err, "redis.Ring")
	_, err = redisbroker.New(nil, &redisbroker.Options{Prefix: "a{b}"})
	require.ErrorContains(t, err, "client is <nil>")
	require.ErrorContains(t, err, "brace")
	var none *redis.Client
	_, err = redisbroker.New(none, nil)
	require.ErrorContains(t, err, "nil")
	var noCluster *redis.ClusterClient
	_, err = redisbroker.New(noCluster, nil)
	require.ErrorContains(t, err, "nil")
	replicas := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ReadOnly: true, ContextTimeoutEnabled: true})
	defer replicas.Close()
	_, err = redisbroker.New(replicas, nil)
	require.ErrorContains(t, err, "ReadOnly")

	// A call that outlives its context is not to be had.
	deaf := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer deaf.Close()
	_, err = redisbroker.New(deaf, nil)
	require.ErrorContains(t, err, "set ContextTimeoutEnabled")
	deafCluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer deafCluster.Close()
	_, err = redisbroker.New(deafCluster, nil)
	require.ErrorContains(t, err, "set ContextTimeoutEnabled")

	// Nothing is dialled, and nobody is waited for.
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true})
	defer nowhere.Close()
	b := broker(t, nowhere)
	l, err := b.Attach(&tape{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Error(t, l.Subscribe(ctx, "room"))
	require.Error(t, b.Publish(t.Context(), "room", publication("x")))
	_, err = b.Attach(nil)
	require.Error(t, err)
	require.NoError(t, l.Close())
}

// tape is a handler that writes down what it gets.
type tape struct {
	mu       sync.Mutex
	events   []realtime.Event
	gaps     []time.Time
	channels [][]string
	controls []string
}

func (t *tape) Deliver(_ string, e realtime.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

func (t *tape) Gap(channels []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gaps = append(t.gaps, time.Now())
	t.channels = append(t.channels, channels)
}

func (t *tape) Control(message []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.controls = append(t.controls, string(message))
}

// times says how often a text has come, in whatever way.
func (t *tape) times(text string) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.events {
		if string(e.Publication.Data) == `"`+text+`"` {
			n++
		}
	}
	for _, c := range t.controls {
		if c == text {
			n++
		}
	}
	return n
}

func (t *tape) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events, t.controls = nil, nil
}

func (t *tape) got() []realtime.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.events)
}

func (t *tape) gapsTold() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.gaps)
}

func publication(text string) realtime.Event {
	return realtime.Event{Kind: realtime.EventPublication, Publication: realtime.Publication{Data: []byte(`"` + text + `"`), Time: time.Now()}}
}

func within(t testing.TB, d time.Duration, done func() bool, what string) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > d {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

const patience = 40 * time.Second

// heals waits until what is published arrives again.
func heals(t testing.TB, b *redisbroker.Broker, x *tape, channel string) {
	t.Helper()
	mark := fmt.Sprint("mark ", time.Now().UnixNano())
	within(t, patience, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = b.Publish(ctx, channel, publication(mark))
		time.Sleep(20 * time.Millisecond)
		return slices.ContainsFunc(x.got(), func(e realtime.Event) bool { return string(e.Publication.Data) == `"`+mark+`"` })
	}, "events arrive again")
}

var keep = realtime.Keep{Size: 100_000, TTL: time.Hour}

// subscriber follows a channel as a hub does for its clients: after a gap it
// reads what it hasn't got.
type subscriber struct {
	tape
	broker *redisbroker.Broker
	at     realtime.Position
	got    []realtime.Publication
}

// follow takes what has come, and recovers if a gap was told.
func (s *subscriber) follow(t *testing.T, channel string) {
	t.Helper()
	within(t, patience, func() bool {
		pubs, top, err := s.broker.Read(t.Context(), channel, realtime.ReadFilter{Since: &s.at, Limit: 100_000, Keep: keep})
		if err != nil {
			return false
		}
		require.Equal(t, s.at.Epoch, top.Epoch)
		for _, p := range pubs {
			s.take(t, p)
		}
		return s.at == top
	}, "recovered")
}

func (s *subscriber) take(t *testing.T, p realtime.Publication) {
	t.Helper()
	require.Equal(t, s.at.Offset+1, p.Offset)
	s.at.Offset, s.at.Epoch = p.Offset, p.Epoch
	s.got = append(s.got, p)
}

func TestR15_KilledAndRestartedUnderAPublisher(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	s := &subscriber{broker: broker(t, client(t, server))}
	l, err := s.broker.Attach(s)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))

	type written struct {
		text string
		at   realtime.Position
	}
	var acknowledged []written
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			text := fmt.Sprint(i)
			at, err := b.Append(ctx, "room", publication(text).Publication, keep)
			cancel()
			if err == nil {
				acknowledged = append(acknowledged, written{`"` + text + `"`, at})
			}
		}
	}()
	for round := range 3 {
		within(t, patience, func() bool { return len(s.tape.got()) > 100*(round+1) }, "events arrive")
		gaps := s.gapsTold()
		require.NoError(t, server.Kill())
		time.Sleep(200 * time.Millisecond)
		require.NoError(t, server.Run())
		within(t, patience, func() bool { return s.gapsTold() > gaps }, "a gap is told")
		before := len(s.tape.got())
		within(t, patience, func() bool { return len(s.tape.got()) > before+20 }, "events arrive again")
	}
	close(stop)
	<-ended

	// What was delivered is in order, none doubled, and agrees with what is kept.
	var live uint64
	delivered := map[uint64]string{}
	for _, e := range s.tape.got() {
		require.Greater(t, e.Publication.Offset, live)
		live = e.Publication.Offset
		delivered[live] = string(e.Publication.Data)
	}
	s.at = realtime.Position{Epoch: acknowledged[0].at.Epoch}
	s.follow(t, "room")
	seen := map[string]bool{}
	for _, p := range s.got {
		require.False(t, seen[string(p.Data)], "%s is stored twice", p.Data)
		seen[string(p.Data)] = true
		if d, ok := delivered[p.Offset]; ok {
			require.Equal(t, d, string(p.Data))
		}
	}
	for _, w := range acknowledged {
		require.Equal(t, w.at.Epoch, s.at.Epoch)
		require.Equal(t, w.text, string(s.got[w.at.Offset-1].Data), "what was acknowledged is lost")
	}
}

func TestR15_Paused(t *testing.T) {
	t.Parallel()
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	heals(t, b, x, "room")
	require.NoError(t, b.Enter(t.Context(), "n", "room", realtime.ClientInfo{Client: "c"}, time.Hour))
	kept, err := b.Append(t.Context(), "room", publication("kept").Publication, keep)
	require.NoError(t, err)

	require.NoError(t, server.Pause())
	paused := time.Now()
	for name, call := range map[string]func(ctx context.Context) error{
		"Publish": func(ctx context.Context) error { return b.Publish(ctx, "room", publication("x")) },
		"Append": func(ctx context.Context) error {
			_, err := b.Append(ctx, "room", publication("y").Publication, keep)
			return err
		},
		"Read": func(ctx context.Context) error { _, _, err := b.Read(ctx, "room", realtime.ReadFilter{}); return err },
		"Enter": func(ctx context.Context) error {
			return b.Enter(ctx, "n", "room", realtime.ClientInfo{Client: "late"}, time.Hour)
		},
		"Leave":     func(ctx context.Context) error { return b.Leave(ctx, "n", "room", "nobody") },
		"Beat":      func(ctx context.Context) error { return b.Beat(ctx, "n", time.Hour) },
		"List":      func(ctx context.Context) error { _, err := b.List(ctx, "room", 1); return err },
		"Stats":     func(ctx context.Context) error { _, _, err := b.Stats(ctx, "room"); return err },
		"Broadcast": func(ctx context.Context) error { return b.Broadcast(ctx, nil) },
		"Subscribe": func(ctx context.Context) error { return l.Subscribe(ctx, "other") },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		begin := time.Now()
		require.ErrorIs(t, call(ctx), context.DeadlineExceeded, name)
		require.Less(t, time.Since(begin), 2*time.Second, name)
		cancel()
	}
	within(t, patience, func() bool { return x.gapsTold() > 0 }, "a gap is told while Redis is silent")
	require.Less(t, time.Since(paused), 8*time.Second)
	// Without a deadline of the caller's, the client's own ends it.
	_, err = b.Append(context.Background(), "room", publication("z").Publication, keep)
	require.Error(t, err)
	require.Equal(t, 1, x.gapsTold(), "one gap while there is no connection")

	require.NoError(t, server.Resume())
	heals(t, b, x, "room")
	within(t, patience, func() bool { return x.gapsTold() == 2 }, "a gap is told once all is well")
	require.NoError(t, l.Subscribe(t.Context(), "other"))
	heals(t, b, x, "other")

	// What was given up may have been done, once.
	pubs, top, err := b.Read(t.Context(), "room", realtime.ReadFilter{Since: &kept, Limit: 10, Keep: keep})
	require.NoError(t, err)
	require.Equal(t, kept.Epoch, top.Epoch)
	require.LessOrEqual(t, len(pubs), 2, "an Append that timed out was sent again")
	list, err := b.List(t.Context(), "room", 10)
	require.NoError(t, err)
	require.Equal(t, []realtime.ClientInfo{{Client: "c"}}, list, "who gave up entering is not in")
}

func TestR15_RestartedEmpty(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	old, err := b.Append(t.Context(), "room", publication("1").Publication, keep)
	require.NoError(t, err)
	_, err = server.Do("FLUSHALL")
	require.NoError(t, err)
	require.NoError(t, server.Kill())
	require.NoError(t, server.Run())
	within(t, patience, func() bool { return x.gapsTold() > 0 }, "a gap is told")
	pubs, top, err := b.Read(t.Context(), "room", realtime.ReadFilter{Since: &old, Limit: 10, Keep: keep})
	require.NoError(t, err)
	require.Empty(t, pubs)
	require.NotEqual(t, old.Epoch, top.Epoch)
	require.Zero(t, top.Offset)
	heals(t, b, x, "room")
}

func TestR15_ScriptsFlushed(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	for i := range 3 {
		at, err := b.Append(t.Context(), "room", publication("1").Publication, keep)
		require.NoError(t, err)
		require.EqualValues(t, i+1, at.Offset)
		_, err = server.Do("SCRIPT", "FLUSH")
		require.NoError(t, err)
		pubs, _, err := b.Read(t.Context(), "room", realtime.ReadFilter{Limit: 10, Keep: keep})
		require.NoError(t, err)
		require.Len(t, pubs, i+1)
		_, err = server.Do("SCRIPT", "FLUSH")
		require.NoError(t, err)
		require.NoError(t, b.Enter(t.Context(), "n", "room", realtime.ClientInfo{Client: "c"}, time.Hour))
		clients, _, err := b.Stats(t.Context(), "room")
		require.NoError(t, err)
		require.Equal(t, 1, clients)
	}
}

func TestR10_NoGhosts(t *testing.T) {
	server := start(t, redistest.Start)
	dies, lives := broker(t, client(t, server)), broker(t, client(t, server))
	const ttl = time.Second
	for i := range 50 {
		require.NoError(t, dies.Enter(t.Context(), "dies", fmt.Sprint("room:", i%5), realtime.ClientInfo{Client: fmt.Sprint(i)}, ttl))
	}
	died := time.Now()
	within(t, patience, func() bool {
		n := 0
		for i := range 5 {
			clients, _, err := lives.Stats(t.Context(), fmt.Sprint("room:", i))
			require.NoError(t, err)
			n += clients
		}
		require.True(t, n == 0 || time.Since(died) < ttl+2*time.Second)
		return n == 0
	}, "the dead are gone")
	// And nothing of them stays in Redis, if anybody lives.
	const short = 100 * time.Millisecond
	within(t, patience, func() bool {
		require.NoError(t, lives.Beat(t.Context(), "lives", short))
		keys, err := server.Do("KEYS", "*")
		require.NoError(t, err)
		return keys == "gatewire:{10}nodes"
	}, "the entries of the dead are cleared away, and the dead node is forgotten")
	n, err := server.Do("ZCARD", "gatewire:{10}nodes")
	require.NoError(t, err)
	require.Equal(t, "1", n)
}

// A node that has left everything leaves no key behind.
func TestPresenceKeys(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	require.NoError(t, b.Enter(t.Context(), "n", "room", realtime.ClientInfo{Client: "c"}, time.Hour))
	require.NoError(t, b.Leave(t.Context(), "n", "room", "c"))
	keys, err := server.Do("KEYS", "*")
	require.NoError(t, err)
	require.Equal(t, "gatewire:{10}nodes", keys)
}

// All a history keeps expires.
func TestHistoryExpires(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	_, err := b.Append(t.Context(), "room", publication("1").Publication, realtime.Keep{Size: 10, TTL: time.Minute})
	require.NoError(t, err)
	keys, err := server.Do("KEYS", "*")
	require.NoError(t, err)
	for _, key := range strings.Split(keys, "\n") {
		ttl, err := server.Do("TTL", key)
		require.NoError(t, err)
		require.NotEqual(t, "-1", ttl, key)
	}
}

// One connection for events a hub, whatever the number of channels; on a
// cluster at most one for each lane.
func TestConnections(t *testing.T) {
	count := func(t *testing.T, servers ...*redistest.Server) (n int) {
		for _, s := range servers {
			list, err := s.Do("CLIENT", "LIST", "TYPE", "pubsub")
			require.NoError(t, err)
			n += strings.Count(list, "id=")
		}
		return n
	}
	subscribe := func(t *testing.T, b *redisbroker.Broker) {
		l, err := b.Attach(&tape{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.Close()) })
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() {
				if err := l.Subscribe(t.Context(), fmt.Sprint("room:", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	t.Run("server", func(t *testing.T) {
		s := start(t, redistest.Start)
		subscribe(t, broker(t, client(t, s)))
		require.Equal(t, 1, count(t, s))
	})
	t.Run("cluster", func(t *testing.T) {
		s := start(t, redistest.StartCluster)
		subscribe(t, broker(t, clusterClient(t, s)))
		require.Equal(t, 16, count(t, s.Nodes...))
	})
}
