package mysqltest_test

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/mysqltest"
)

func TestServer(t *testing.T) {
	s, err := mysqltest.Start()
	child.Require(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Contains(t, s.DSN(), "@tcp("+s.Addr()+")/")
	for name, end := range map[string]func() error{"killed": s.Kill, "stopped": s.Stop} {
		require.NoError(t, end(), name)
		_, err := net.Dial("tcp", s.Addr())
		require.Error(t, err, name)
		require.NoError(t, s.Run(), name)
	}

	require.NoError(t, s.Pause())
	c, err := net.Dial("tcp", s.Addr()) // the system still takes it
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, s.Resume())
	require.NoError(t, c.SetReadDeadline(time.Now().Add(child.Patience)))
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
}
