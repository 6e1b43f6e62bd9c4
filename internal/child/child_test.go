//go:build unix

package child_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
)

// TestMain is also the process that starts a server and is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CHILD_TEST_DIR"); dir != "" {
		p, err := child.Start(dir, "TERM", nil, "/bin/sleep", "600")
		fmt.Println("started", p != nil, err)
		select {}
	}
	os.Exit(m.Run())
}

func TestAServerGoesWithWhoStartedIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "server")
	require.NoError(t, os.Mkdir(dir, 0o700))
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "CHILD_TEST_DIR="+dir)
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "started true <nil>", strings.TrimSpace(line))

	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	}, child.Patience, 20*time.Millisecond)
}

func TestAnOrdinaryEndLeavesTheFolder(t *testing.T) {
	dir := t.TempDir()
	p, err := child.Start(dir, "KILL", func(c *exec.Cmd) { c.Env = []string{"WORD=heard"} }, "/bin/sh", "-c", `echo $WORD >said; echo $WORD`)
	require.NoError(t, err)
	require.NoError(t, p.Wait())
	require.True(t, p.Ended())
	require.Equal(t, "heard\n", p.Log())
	said, err := os.ReadFile(filepath.Join(dir, "said"))
	require.NoError(t, err)
	require.Equal(t, "heard\n", string(said))
}

func TestOnFreePort(t *testing.T) {
	taken := errors.New("another was faster")
	var tries []int
	require.NoError(t, child.OnFreePort(0, func(port int) error {
		require.Positive(t, port)
		if tries = append(tries, port); len(tries) < 3 {
			return taken
		}
		return nil
	}))
	require.ErrorIs(t, child.OnFreePort(0, func(int) error { return taken }), taken)
	require.Error(t, child.OnFreePort(1, func(int) error { return nil }))
}
