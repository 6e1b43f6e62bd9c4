package redisbroker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/redisbroker"
)

// What publishes or stores is sent once, also when the answer gets lost and the
// client is one that tries again.
func TestR15_LostAnswer(t *testing.T) {
	t.Parallel()
	const (
		wait  = time.Second
		tries = 3
	)
	t.Run("server", func(t *testing.T) {
		server := start(t, redistest.Start)
		r := build(t, server.Addr())
		c := redis.NewClient(&redis.Options{
			Addr: r.Addr().String(), PoolSize: 1, MaxRetries: tries, ReadTimeout: wait, ContextTimeoutEnabled: true,
		})
		t.Cleanup(func() {
			_ = c.Close()
			_ = r.Close()
			r.work.Wait()
		})
		lostAnswer(t, broker(t, c), broker(t, client(t, server)), r)
	})
	t.Run("cluster", func(t *testing.T) {
		cluster := start(t, redistest.StartCluster)
		// One that goes to all servers by our roads.
		roads := make([]*road, len(cluster.Nodes))
		var slots []redis.ClusterSlot
		for i, n := range cluster.Nodes {
			roads[i] = build(t, n.Addr())
			slots = append(slots, redis.ClusterSlot{
				Start: i * 16384 / 3, End: (i+1)*16384/3 - 1,
				Nodes: []redis.ClusterNode{{Addr: roads[i].Addr().String()}},
			})
		}
		c := redis.NewClusterClient(&redis.ClusterOptions{
			ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil },
			MaxRedirects: tries, PoolSize: 1, ReadTimeout: wait, ContextTimeoutEnabled: true,
		})
		t.Cleanup(func() {
			_ = c.Close()
			for _, r := range roads {
				_ = r.Close()
				r.work.Wait()
			}
		})
		lostAnswer(t, broker(t, c), broker(t, clusterClient(t, cluster)), roads...)
	})
}

func lostAnswer(t *testing.T, b, direct *redisbroker.Broker, roads ...*road) {
	x := &tape{}
	l, err := direct.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	for name, call := range map[string]func(context.Context, string) error{
		"Publish": func(ctx context.Context, text string) error { return b.Publish(ctx, "room", publication(text)) },
		"Append": func(ctx context.Context, text string) error {
			_, err := b.Append(ctx, "room", publication(text).Publication, keep)
			return err
		},
		"Broadcast": func(ctx context.Context, text string) error { return b.Broadcast(ctx, []byte(text)) },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, call(t.Context(), "warm")) // a connection, and the script
			heals(t, direct, x, "room")
			for _, r := range roads {
				r.mark("only once", true, nil)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			require.Error(t, call(ctx, "only once"))
			require.NoError(t, ctx.Err(), "it ends by the client's ReadTimeout")
			sent := 0
			for _, r := range roads {
				seen, _ := r.counts()
				sent += seen
				r.mark("", false, nil)
			}
			require.Equal(t, 1, sent, "commands sent")
			// It was done, although nobody was told, and once.
			within(t, patience, func() bool { return x.times("only once") > 0 }, "it arrives")
			heals(t, direct, x, "room")
			require.Equal(t, 1, x.times("only once"), "it arrives")
			x.clear()
			if name != "Append" {
				return
			}
			pubs, _, err := direct.Read(t.Context(), "room", realtime.ReadFilter{Limit: 100, Keep: keep})
			require.NoError(t, err)
			pubs = slices.DeleteFunc(pubs, func(p realtime.Publication) bool { return string(p.Data) != `"only once"` })
			require.Len(t, pubs, 1, "it is stored")
		})
	}
}
