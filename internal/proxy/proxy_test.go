package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/proxy"
)

// echo answers every line with itself in capitals, and counts lines.
func echo(t *testing.T) (addr string, lines *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	lines = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					lines.Add(1)
					fmt.Fprintln(c, strings.ToUpper(in.Text()))
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, p *proxy.Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) ask(line string, limit time.Duration) (string, error) {
	c.t.Helper()
	require.NoError(c.t, c.SetDeadline(time.Now().Add(limit)))
	_, err := fmt.Fprintln(c, line)
	require.NoError(c.t, err)
	return c.in.ReadString('\n')
}

func TestProxy(t *testing.T) {
	target, lines := echo(t)
	var tapped bytes.Buffer // of the first connection
	var taps atomic.Int64
	p, err := proxy.New(target, func() io.Writer {
		if taps.Add(1) == 1 {
			return &tapped
		}
		return io.Discard
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()

	c := dial(t, p)
	for i := range 3 {
		answer, err := c.ask("hello", 10*time.Second)
		require.NoError(t, err)
		require.Equal(t, "HELLO\n", answer)
		require.Equal(t, i+1, p.Turns())
	}
	answer, err := c.ask("two\nlines", 10*time.Second)
	require.NoError(t, err)
	require.Equal(t, "TWO\n", answer)
	_, err = c.in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, 4, p.Turns(), "who does not wait between two questions makes one turn")
	require.Equal(t, "hello\nhello\nhello\ntwo\nlines\n", tapped.String())

	p.Delay(60 * time.Millisecond)
	start := time.Now()
	_, err = c.ask("slow", 10*time.Second)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), 120*time.Millisecond)
	p.Delay(0)

	p.Cut(2)
	_, err = c.ask("whole", 10*time.Second)
	require.NoError(t, err)
	before := lines.Load()
	answer, err = c.ask("half of it", 10*time.Second)
	require.Error(t, err)
	require.Equal(t, "HALF ", answer)
	require.Equal(t, before+1, lines.Load(), "the server has done it")
	require.Equal(t, 1, p.Cuts())
	p.Cut(0)

	old := dial(t, p)
	_, err = old.ask("there", 10*time.Second)
	require.NoError(t, err)
	p.Vanish(true)
	during := dial(t, p)
	for _, c := range []*client{old, during} {
		_, err = c.ask("nobody", 50*time.Millisecond)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout(), "no answer, and no end")
	}
	p.Vanish(false)
	_, err = old.ask("nobody", 50*time.Millisecond)
	require.Error(t, err, "forgotten")
	_, err = dial(t, p).ask("new", 10*time.Second)
	require.NoError(t, err)
}
