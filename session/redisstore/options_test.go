package redisstore_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/redisstore"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	good := redis.NewClient(&redis.Options{ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = good.Close() })
	deaf := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { _ = deaf.Close() })
	deafCluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	t.Cleanup(func() { _ = deafCluster.Close() })
	ring := redis.NewRing(&redis.RingOptions{ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = ring.Close() })
	pipeline, err := good.AutoPipeline()
	require.NoError(t, err)
	t.Cleanup(func() { _ = pipeline.Close() })

	for _, c := range []struct {
		client redis.UniversalClient
		o      *redisstore.Options
		why    string
	}{
		{nil, nil, "client is nil"},
		{(*redis.Client)(nil), nil, "client is nil"},
		{deaf, nil, "set ContextTimeoutEnabled"},
		{deafCluster, nil, "set ContextTimeoutEnabled"},
		{ring, nil, "redis.Ring"},
		{pipeline, nil, "redis.AutoPipeliner"},
		{good, &redisstore.Options{Prefix: "a{b}"}, "Prefix"},
		{good, &redisstore.Options{Prefix: "a b"}, "Prefix"},
		{good, &redisstore.Options{Prefix: "é"}, "Prefix"},
		{good, &redisstore.Options{Prefix: strings.Repeat("x", 65)}, "Prefix"},
		{good, &redisstore.Options{LogRetention: 15*time.Minute - 1}, "LogRetention"},
		{good, &redisstore.Options{LogRetention: -1}, "LogRetention"},
		{good, &redisstore.Options{LogRetention: 8 * 24 * time.Hour}, "LogRetention"},
	} {
		_, err := redisstore.New(c.client, c.o)
		require.ErrorContains(t, err, c.why)
	}
	_, err = redisstore.New(nil, &redisstore.Options{Prefix: "{", LogRetention: time.Second})
	for _, why := range []string{"client is nil", "Prefix", "LogRetention"} {
		require.ErrorContains(t, err, why, "all mistakes at once")
	}
}

func TestNewDoesNotDial(t *testing.T) {
	c := redis.NewClient(&redis.Options{ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }})
	t.Cleanup(func() { _ = c.Close() })
	s, err := redisstore.New(c, nil)
	require.NoError(t, err)
	_, found, err := s.Load(t.Context(), session.Key{})
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorContains(t, err, "session/redisstore: load: ")
	require.False(t, found)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Touch(ctx, session.Key{}, ms(), ms()), context.Canceled)
}
