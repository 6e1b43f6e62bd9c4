package main

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// started serves a peer in this process, with the generator aimed at it.
func started(t *testing.T, name string) *load {
	t.Helper()
	var here [2]int
	var there [2]net.Conn
	for i := range here {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		f := os.NewFile(uintptr(pair[1]), "socket")
		there[i], err = net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		here[i] = pair[0]
	}
	l, err := newLoad(false, here[0], here[1])
	require.NoError(t, err)
	over := make(chan error, 1)
	go func() { over <- serve(name, false, there[0], there[1]) }()
	t.Cleanup(func() {
		l.hangUp()
		for _, fd := range []int{here[0], here[1], l.epoll} {
			require.NoError(t, unix.Close(fd))
		}
		require.NoError(t, <-over)
		for _, c := range there {
			require.NoError(t, c.Close())
		}
	})
	require.NoError(t, l.greet())
	return l
}

// What a message costs in garbage is the round's, not the receivers': one
// allocation in a hundred deliveries at most. The generator refuses what is
// lost, doubled or out of order.
func TestADeliveryAllocatesNothing(t *testing.T) {
	const n = 1000
	s := &site{load: started(t, "gatewire")}
	require.NoError(t, s.people(n))
	for _, w := range []int{1, 16} {
		a, err := s.ask(order{Do: "send", Window: w, Warm: 100 * time.Millisecond, For: time.Second})
		require.NoError(t, err)
		deliveries := a.Spent.Messages * n
		require.NotZero(t, deliveries)
		each := float64(a.Spent.Mallocs) / float64(deliveries)
		t.Logf("%d under way: %d deliveries, %.4f allocations each", w, deliveries, each)
		if !raceEnabled {
			require.LessOrEqual(t, each, 0.01)
		}
	}
}

// A connection that waits, signed in and in a channel, is one goroutine. Besides
// them there are the workers that wait for commands, of which the hub keeps 64.
func TestR16_AnIdleConnectionIsOneGoroutine(t *testing.T) {
	const n, workers = 500, 64
	s := &site{load: started(t, "gatewire")}
	before, err := s.ask(order{Do: "held"})
	require.NoError(t, err)
	require.NoError(t, s.people(n))
	for end := time.Now().Add(10 * time.Second); ; {
		require.NoError(t, s.workFor(50*time.Millisecond))
		after, err := s.ask(order{Do: "held"})
		require.NoError(t, err)
		more := after.Held.Goroutines - before.Held.Goroutines
		if more >= n && more <= n+workers {
			return
		}
		// A handler that is on its way out may still be seen.
		require.True(t, time.Now().Before(end), "%d goroutines for %d connections", more, n)
	}
}

// The generator must see what it is there to see.
func TestTheGeneratorRefuses(t *testing.T) {
	joinedOne := func() (*load, *sock) {
		s := &sock{state: joined}
		return &load{all: []*sock{s}}, s
	}
	line := payload
	cases := []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"in order", append(textFrame(line(0)), textFrame(line(1))...), ""},
		{"two in a frame", textFrame(append(append(line(0), '\n'), line(1)...)), ""},
		{"lost", append(textFrame(line(0)), textFrame(line(2))...), "lost or doubled"},
		{"doubled", append(textFrame(line(0)), textFrame(line(0))...), "lost or doubled"},
		{"cut short", append(textFrame(line(0)), textFrame(line(1)[:100])...), "a frame of 100 bytes"},
		{"binary garbage", []byte{0x01, 0x7f, 0, 0}, errFrame.Error()},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l, s := joinedOne()
			_, err := l.take(s, c.bytes)
			if c.want == "" {
				require.NoError(t, err)
				require.EqualValues(t, 2, l.complete)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run("a frame in pieces", func(t *testing.T) {
		l, s := joinedOne()
		frame := textFrame(line(0))
		for i := range frame {
			rest, err := l.take(s, frame[:i])
			require.NoError(t, err)
			require.Len(t, rest, i)
		}
		_, err := l.take(s, frame)
		require.NoError(t, err)
		require.EqualValues(t, 1, l.complete)
	})
	t.Run("a reply to something else", func(t *testing.T) {
		l, s := joinedOne()
		l.request, l.reply = []byte("?"), []byte("!")
		_, err := l.take(s, textFrame([]byte("?")))
		require.ErrorContains(t, err, "answers something else")
	})
}
