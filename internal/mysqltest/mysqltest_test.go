package mysqltest_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/mysqltest"
)

func TestServer(t *testing.T) {
	s, err := mysqltest.Start()
	child.Require(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Contains(t, s.DSN(), "@tcp("+s.Addr()+")/")
	for name, end := range map[string]func() error{"killed": s.Crash, "stopped": s.Stop} {
		require.NoError(t, end(), name)
		_, err := net.Dial("tcp", s.Addr())
		require.Error(t, err, name)
		require.NoError(t, s.Run(), name)
	}
}
