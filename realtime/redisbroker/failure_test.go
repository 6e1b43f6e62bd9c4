package redisbroker_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/realtime"
)

// road leads to a server, or to another one from some time on.
type road struct {
	net.Listener
	mu      sync.Mutex
	to      string
	swallow bool // nothing comes back, for connections new and old
	work    sync.WaitGroup

	marked string        // what a request must have in it for the following
	mute   bool          // nothing comes back any more on its connection
	hold   chan struct{} // it waits until this is closed
	seen   int           // requests so marked
	done   int           // and answered
}

// mark lets something happen to requests that have a text in them.
func (r *road) mark(text string, mute bool, hold chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marked, r.mute, r.hold, r.seen, r.done = text, mute, hold, 0, 0
}

func (r *road) counts() (seen, done int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen, r.done
}

// request says whether a request is marked, once it may go on.
func (r *road) request(text string) bool {
	r.mu.Lock()
	marked := r.marked != "" && strings.Contains(text, r.marked)
	hold := r.hold
	if marked {
		r.seen++
	}
	r.mu.Unlock()
	if marked && hold != nil {
		<-hold
	}
	return marked
}

func build(t *testing.T, to string) *road {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &road{Listener: l, to: to}
	r.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			to := r.to
			r.mu.Unlock()
			s, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			var marked atomic.Bool
			r.work.Go(func() {
				b := make([]byte, 64<<10)
				for {
					n, err := c.Read(b)
					if err != nil {
						// What was held is still to be answered.
						_ = s.(*net.TCPConn).CloseWrite()
						return
					}
					if r.request(string(b[:n])) {
						marked.Store(true)
					}
					if _, err := s.Write(b[:n]); err != nil {
						return
					}
				}
			})
			r.work.Go(func() {
				defer c.Close()
				defer s.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := s.Read(b)
					if err != nil {
						return
					}
					r.mu.Lock()
					swallow := r.swallow || marked.Load() && r.mute
					if marked.Load() {
						r.done++
					}
					r.mu.Unlock()
					if !swallow {
						_, _ = c.Write(b[:n])
					}
				}
			})
		}
	})
	return r
}

func (r *road) set(to string, swallow bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to, r.swallow = to, swallow
}

func along(t *testing.T, r *road) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: r.Addr().String(), ContextTimeoutEnabled: true, ReadTimeout: 3 * time.Second})
	t.Cleanup(func() {
		_ = c.Close()
		_ = r.Close()
		r.work.Wait()
	})
	return c
}

// A network that swallows everything closes nothing.
func TestR15_BlackHole(t *testing.T) {
	t.Parallel()
	server := start(t, redistest.Start)
	r := build(t, server.Addr())
	b := broker(t, along(t, r))
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	heals(t, b, x, "room")
	r.set(server.Addr(), true)
	begin := time.Now()
	within(t, patience, func() bool { return x.gapsTold() == 1 }, "a gap is told")
	require.Less(t, time.Since(begin), 8*time.Second)
	r.set(server.Addr(), false)
	heals(t, b, x, "room")
	within(t, patience, func() bool { return x.gapsTold() == 2 }, "a gap is told once all is well")
}

// After a failover the old server may live on, and answer, while everybody
// publishes at the new one.
func TestR15_StarvedAtTheOldServer(t *testing.T) {
	t.Parallel()
	older, newer := start(t, redistest.Start), start(t, redistest.Start)
	r := build(t, older.Addr())
	b := broker(t, along(t, r))
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	heals(t, b, x, "room")

	r.set(newer.Addr(), false)
	_, err = older.Do("CLIENT", "KILL", "TYPE", "normal")
	require.NoError(t, err)
	begin := time.Now()
	within(t, patience, func() bool { return x.gapsTold() == 1 }, "a gap is told")
	require.Less(t, time.Since(begin), 8*time.Second)
	heals(t, b, x, "room")
	list, err := older.Do("CLIENT", "LIST", "TYPE", "pubsub")
	require.NoError(t, err)
	require.Empty(t, list)
}

// The connection for events alone is cut.
func TestR15_Cut(t *testing.T) {
	server := start(t, redistest.Start)
	var dials atomic.Int64
	c := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			dials.Add(1)
		}
		return conn, err
	}})
	t.Cleanup(func() { _ = c.Close() })
	b := broker(t, c)
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	var subscribed sync.WaitGroup
	for i := range 10_000 {
		subscribed.Go(func() {
			if err := l.Subscribe(t.Context(), fmt.Sprint("many:", i)); err != nil {
				t.Error(err)
			}
		})
	}
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	subscribed.Wait()
	heals(t, b, x, "room")
	stat := func(section, field string) int {
		text, err := server.Do("INFO", section)
		require.NoError(t, err)
		_, text, found := strings.Cut(text, field)
		require.True(t, found, text)
		n, err := strconv.Atoi(text[:strings.IndexAny(text, ",\r")])
		require.NoError(t, err)
		return n
	}
	for i := range 3 {
		_, err := server.Do("CONFIG", "RESETSTAT")
		require.NoError(t, err)
		begin, dialled := time.Now(), dials.Load()
		_, err = server.Do("CLIENT", "KILL", "TYPE", "pubsub")
		require.NoError(t, err)
		within(t, patience, func() bool { return x.gapsTold() == i+1 }, "a gap is told, once")
		require.EqualValues(t, 1, dials.Load()-dialled, "one new connection")
		t.Log("10,000 channels again after", time.Since(begin))
		// Redis has others to answer meanwhile: no command names very many.
		require.GreaterOrEqual(t, stat("commandstats", "cmdstat_subscribe:calls="), 11)
		// The gap comes after the subscriptions: nothing from here on is missed.
		before := len(x.got())
		for _, channel := range []string{"room", "many:0", "many:9999"} {
			require.NoError(t, b.Publish(t.Context(), channel, publication("x")))
		}
		within(t, patience, func() bool { return len(x.got()) == before+3 }, "all arrive")
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	require.Nil(t, x.channels[0], "all channels")
}

// What Redis refuses is an error at once, and disturbs nobody else.
func TestRefused(t *testing.T) {
	server := start(t, redistest.Start)
	_, err := server.Do("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "resetchannels", "&gatewire:*}c:room", "&gatewire:*}control", "&gatewire:*}probe:*")
	require.NoError(t, err)
	c := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "limited", Password: "secret", ContextTimeoutEnabled: true})
	defer c.Close()
	b := broker(t, c)
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	for range 3 {
		require.ErrorContains(t, l.Subscribe(t.Context(), "elsewhere"), "NOPERM")
		require.ErrorContains(t, b.Publish(t.Context(), "elsewhere", publication("x")), "NOPERM")
	}
	heals(t, b, x, "room")
	require.Zero(t, x.gapsTold())

	_, err = server.Do("CONFIG", "SET", "maxmemory", "1")
	require.NoError(t, err)
	full := func() {
		_, err = b.Append(t.Context(), "room", publication("x").Publication, keep)
		require.ErrorContains(t, err, "OOM")
	}
	full() // where a history would begin
	_, err = server.Do("CONFIG", "SET", "maxmemory", "0")
	require.NoError(t, err)
	_, err = b.Append(t.Context(), "room", publication("x").Publication, keep)
	require.NoError(t, err)
	_, err = server.Do("CONFIG", "SET", "maxmemory", "1")
	require.NoError(t, err)
	full() // where it has begun
	_, err = server.Do("CONFIG", "SET", "maxmemory", "0")
	require.NoError(t, err)
	at, err := b.Append(t.Context(), "room", publication("x").Publication, keep)
	require.NoError(t, err)
	require.EqualValues(t, 2, at.Offset)
}

// An event that can't be read is told as a gap.
func TestUnreadable(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	name, err := server.Do("PUBSUB", "CHANNELS", "*}c:room")
	require.NoError(t, err)
	for _, message := range []string{"\n\x02of tomorrow", "", "x", "1 e\n\x01\x02"} {
		gaps := x.gapsTold()
		_, err = server.Do("PUBLISH", name, message)
		require.NoError(t, err)
		within(t, patience, func() bool { return x.gapsTold() == gaps+1 }, "a gap is told")
	}
	require.Equal(t, []string{"room"}, x.channels[0])
	require.Empty(t, x.got())
}

func TestR15_SlotMoves(t *testing.T) {
	t.Parallel()
	cluster := start(t, redistest.StartCluster)
	b := broker(t, clusterClient(t, cluster))
	x := &tape{}
	// Who only listens asks for the new order of things by itself.
	listens := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs(), ContextTimeoutEnabled: true, ClusterStateReloadInterval: time.Hour})
	t.Cleanup(func() { _ = listens.Close() })
	l, err := broker(t, listens).Attach(x)
	require.NoError(t, err)
	defer l.Close()
	var channels []string
	for i := range 40 {
		channels = append(channels, fmt.Sprint("room:", i))
		require.NoError(t, l.Subscribe(t.Context(), channels[i]))
	}
	// The slots of the lanes that the first server has, but that of the nodes' key.
	id, err := cluster.Nodes[2].Do("CLUSTER", "MYID")
	require.NoError(t, err)
	moved := 0
	for _, lane := range []string{"3", "61", "43", "11"} {
		slot, err := cluster.Nodes[0].Do("CLUSTER", "KEYSLOT", lane)
		require.NoError(t, err)
		n, err := strconv.Atoi(slot)
		require.NoError(t, err)
		require.Less(t, n, 16384/3)
		for _, i := range []int{2, 0, 1} {
			_, err = cluster.Nodes[i].Do("CLUSTER", "SETSLOT", slot, "NODE", id)
			require.NoError(t, err)
		}
		moved++
	}
	within(t, patience, func() bool { return x.gapsTold() >= moved }, "a gap is told for what has moved")
	for _, channel := range channels {
		heals(t, b, x, channel)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, gap := range x.channels {
		require.NotEmpty(t, gap, "on a cluster, the channels of a lane")
		require.Less(t, len(gap), 40)
	}
}

func TestR15_ClusterServerKilledAndRestarted(t *testing.T) {
	t.Parallel()
	cluster := start(t, redistest.StartCluster)
	b := broker(t, clusterClient(t, cluster))
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	const n = 40
	at := make([]realtime.Position, n)
	for i := range n {
		channel := fmt.Sprint("room:", i)
		require.NoError(t, l.Subscribe(t.Context(), channel))
		at[i], err = b.Append(t.Context(), channel, publication("1").Publication, keep)
		require.NoError(t, err)
	}
	require.NoError(t, cluster.Nodes[1].Kill())
	time.Sleep(time.Second)
	require.NoError(t, cluster.Nodes[1].Run())
	require.NoError(t, cluster.Ready())
	within(t, patience, func() bool { return x.gapsTold() >= 4 }, "a gap is told for each lane that was cut")
	for i := range n {
		channel := fmt.Sprint("room:", i)
		heals(t, b, x, channel)
		within(t, patience, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			next, err := b.Append(ctx, channel, publication("2").Publication, keep)
			return err == nil && next.Epoch == at[i].Epoch && next.Offset > at[i].Offset
		}, "the history goes on")
	}
}
