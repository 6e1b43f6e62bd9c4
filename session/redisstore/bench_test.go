package redisstore_test

import (
	"context"
	"fmt"
	"strconv"
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

// benched is how many sessions there are when something is measured.
const benched = 100_000

// filled returns a store with that many sessions, a tenth as many users, and
// the bytes Redis needs for each. Without appendfsync always: what is measured
// is Redis, not the disk.
var filled = sync.OnceValues(func() (addr string, err error) {
	server, err := redistest.Start("--appendonly", "no")
	if err != nil {
		return "", err
	}
	closers = append(closers, server.Close)
	before, err := usedMemory(server)
	if err != nil {
		return "", err
	}
	c := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer func() { _ = c.Close() }()
	s, err := redisstore.New(c, nil)
	if err != nil {
		return "", err
	}
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for w := range cap(errs) {
		wg.Go(func() {
			for i := w; i < benched; i += cap(errs) {
				if err := s.Create(context.Background(), benchRecord(i), session.AnyEpoch); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		return "", err
	}
	after, err := usedMemory(server)
	perSession.Store((after - before) / benched)
	return server.Addr(), err
})

var perSession atomic.Int64

func usedMemory(s *redistest.Server) (int64, error) {
	info, err := s.Do("INFO", "memory")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(info, "used_memory:")
	digits, _, _ := strings.Cut(rest, "\r")
	return strconv.ParseInt(digits, 10, 64)
}

// benchRecord has an id as long as session.Manager's.
func benchRecord(i int) session.Record {
	return record(fmt.Sprintf("%026d", i), fmt.Sprintf("user-%d", i/10))
}

func benchmark(b *testing.B, f func(s *redisstore.Store, i int) error) {
	addr, err := filled()
	child.Require(b, err)
	s, err := redisstore.New(dial(b, addr), nil)
	require.NoError(b, err)
	var n atomic.Int64
	server := dial(b, addr)
	require.NoError(b, server.ConfigResetStat(context.Background()).Err())
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(s, int(n.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(perSession.Load()), "B/session")
	// What one script takes of the server's one thread.
	stats, err := server.Info(context.Background(), "commandstats").Result()
	require.NoError(b, err)
	_, rest, _ := strings.Cut(stats, "cmdstat_evalsha:")
	_, rest, _ = strings.Cut(rest, "usec_per_call=")
	usec, _, _ := strings.Cut(rest, ",")
	if each, err := strconv.ParseFloat(usec, 64); err == nil {
		b.ReportMetric(each, "server-µs/script")
	}
}

func BenchmarkLoad(b *testing.B) {
	benchmark(b, func(s *redisstore.Store, i int) error {
		_, found, err := s.Load(context.Background(), benchRecord(i%benched).Key)
		if err == nil && !found {
			return fmt.Errorf("session %d is not there", i)
		}
		return err
	})
}

// BenchmarkTouch moves Seen and IdleExpires of each session every time.
func BenchmarkTouch(b *testing.B) {
	at := ms()
	benchmark(b, func(s *redisstore.Store, i int) error {
		seen := at.Add(time.Duration(i/benched) * time.Second)
		return s.Touch(context.Background(), keyOf(fmt.Sprintf("%026d", i%benched)), seen, seen.Add(time.Hour))
	})
}

var made atomic.Int64

func BenchmarkCreate(b *testing.B) {
	benchmark(b, func(s *redisstore.Store, _ int) error {
		return s.Create(context.Background(), benchRecord(benched+int(made.Add(1))), session.AnyEpoch)
	})
}

// BenchmarkCreateAndEnd is a whole short session.
func BenchmarkCreateAndEnd(b *testing.B) {
	benchmark(b, func(s *redisstore.Store, _ int) error {
		rec := benchRecord(benched + int(made.Add(1)))
		if err := s.Create(context.Background(), rec, session.AnyEpoch); err != nil {
			return err
		}
		_, err := s.End(context.Background(), rec.ID, session.ReasonSignedOut, ms())
		return err
	})
}
