package redistest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/redistest"
)

func start[S interface{ Close() error }](t *testing.T, begin func(...string) (S, error)) S {
	t.Helper()
	s, err := begin()
	child.Require(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestServer(t *testing.T) {
	s := start(t, redistest.Start)
	_, err := s.Do("SET", "key", "value")
	require.NoError(t, err)

	for name, end := range map[string]func() error{"killed": s.Kill, "stopped": s.Stop} {
		require.NoError(t, end(), name)
		_, err = s.Do("PING")
		require.Error(t, err, name)
		require.NoError(t, s.Run(), name)
		value, err := s.Do("GET", "key")
		require.NoError(t, err, name)
		require.Equal(t, "value", value, name)
	}

	require.NoError(t, s.Pause())
	answered := make(chan struct{})
	go func() {
		_, _ = s.Do("PING")
		close(answered)
	}()
	select {
	case <-answered:
		t.Fatal("a paused server answered")
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, s.Resume())
	<-answered
}

func TestCluster(t *testing.T) {
	c := start(t, redistest.StartCluster)
	require.Len(t, c.Addrs(), 3)
	_, err := c.Nodes[0].Do("CLUSTER", "SLOTS")
	require.NoError(t, err)
}
