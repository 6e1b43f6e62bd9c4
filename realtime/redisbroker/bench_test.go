package redisbroker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/realtime"
)

// clock is a handler that says when each event has come.
type clock struct {
	tape
	came chan time.Time
}

func (c *clock) Deliver(string, realtime.Event) { c.came <- time.Now() }

// Latency is from before Publish to Deliver at another node.
func BenchmarkPublishToDeliver(b *testing.B) {
	server := start(b, func(config ...string) (*redistest.Server, error) {
		return redistest.Start(append(config, "--appendonly", "no")...)
	})
	from, to := broker(b, client(b, server)), broker(b, client(b, server))
	c := &clock{came: make(chan time.Time, 1)}
	l, err := to.Attach(c)
	require.NoError(b, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(b.Context()) // as a hub's can end
	defer cancel()
	require.NoError(b, l.Subscribe(ctx, "room"))
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		if err := from.Publish(ctx, "room", publication("0123456789")); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-c.came).Sub(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// Appends of many goroutines to a hundred channels, on a server that writes down
// every command before it answers, and on one that keeps nothing on disk.
func BenchmarkAppend(b *testing.B) {
	for name, config := range map[string][]string{"fsync": nil, "memory": {"--appendonly", "no"}} {
		b.Run(name, func(b *testing.B) {
			server := start(b, func(more ...string) (*redistest.Server, error) {
				return redistest.Start(append(more, config...)...)
			})
			x := broker(b, client(b, server))
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			var n atomic.Int64
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					channel := fmt.Sprint("room:", n.Add(1)%100)
					if _, err := x.Append(ctx, channel, publication("0123456789").Publication, realtime.Keep{Size: 100, TTL: time.Hour}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// A beat costs the same whatever its node has entered.
func TestBeatIsOneCommand(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			if err := b.Enter(t.Context(), "n", fmt.Sprint("room:", i), realtime.ClientInfo{Client: "c"}, time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, b.Beat(t.Context(), "n", time.Hour)) // brings the script
	before, err := server.Do("CONFIG", "RESETSTAT")
	require.NoError(t, err, before)
	require.NoError(t, b.Beat(t.Context(), "n", time.Hour))
	stats, err := server.Do("INFO", "commandstats")
	require.NoError(t, err)
	require.Contains(t, stats, "cmdstat_evalsha:calls=1,")
	require.Contains(t, stats, "cmdstat_zadd:calls=1,")
	require.NotContains(t, stats, "cmdstat_hset")
	require.NotContains(t, stats, "cmdstat_eval:")
}
