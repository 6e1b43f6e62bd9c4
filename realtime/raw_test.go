package realtime_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// rawClient writes frames as they are told, byte by byte.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

func (s *site) dialRaw(t *testing.T) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	c := &rawClient{t, conn, bufio.NewReader(conn)}
	c.write([]byte("GET / HTTP/1.1\r\nHost: x\r\nCookie: session=ann/s1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	for line := ""; line != "\r\n"; {
		line, err = c.br.ReadString('\n')
		require.NoError(t, err)
	}
	return c
}

// masked makes a frame of a client.
func masked(opcode byte, p string) []byte {
	key := [4]byte{1, 2, 3, byte(len(p))}
	b := []byte{opcode, 0x80 | byte(len(p))}
	if len(p) > 125 {
		b = []byte{opcode, 0x80 | 126, byte(len(p) >> 8), byte(len(p))}
	}
	b = append(b, key[:]...)
	for i := range len(p) {
		b = append(b, p[i]^key[i%4])
	}
	return b
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	_, err := c.conn.Write(b)
	require.NoError(c.t, err)
}

// next returns the next frame.
func (c *rawClient) next() (opcode byte, body string) {
	c.t.Helper()
	head := make([]byte, 2)
	_, err := io.ReadFull(c.br, head)
	require.NoError(c.t, err)
	n := int(head[1])
	if n == 126 {
		long := make([]byte, 2)
		_, err = io.ReadFull(c.br, long)
		require.NoError(c.t, err)
		n = int(long[0])<<8 | int(long[1])
	}
	b := make([]byte, n)
	_, err = io.ReadFull(c.br, b)
	require.NoError(c.t, err)
	return head[0], string(b)
}

func (c *rawClient) want(opcode byte, part string) {
	c.t.Helper()
	got, body := c.next()
	require.Equal(c.t, opcode, got, body)
	require.Contains(c.t, body, part)
}

// Control frames come before, between and in messages, whole and in pieces, and
// several frames in one segment: all are answered, and none is waited for.
func TestR13_ControlFramesAndMessages(t *testing.T) {
	const ping, pong, text, part, last = 0x89, 0x8a, 0x81, 0x01, 0x80
	s := open(t, nil)
	c := s.dialRaw(t)
	join := func(frames ...[]byte) (all []byte) {
		for _, f := range frames {
			all = append(all, f...)
		}
		return all
	}
	c.write(join(masked(ping, "a"), masked(text, `{"id":1,"connect":{}}`), masked(ping, "b"), masked(text, `{"id":2,"rpc":{"method":"echo","data":2}}`)))
	c.want(pong, "a")
	c.want(text, `"id":1`)
	c.want(pong, "b")
	c.want(text, `{"id":2,"rpc":{"data":2}}`)

	c.write(join(masked(text, `{}`), masked(ping, "z"))) // the library reads both at once
	c.want(pong, "z")

	// In pieces, each a segment of its own.
	for _, f := range [][]byte{masked(ping, "slow"), masked(text, `{"id":3,"rpc":{"method":"echo","data":3}}`)} {
		for _, b := range f {
			c.write([]byte{b})
			time.Sleep(time.Millisecond)
		}
	}
	c.want(pong, "slow")
	c.want(text, `{"id":3,"rpc":{"data":3}}`)

	// Between the fragments of a message.
	c.write(join(masked(part, `{"id":4,"rpc":{"meth`), masked(ping, "in")))
	c.want(pong, "in")
	c.write(join(masked(pong, "unasked"), masked(last, `od":"echo","data":4}}`), masked(ping, "after")))
	c.want(text, `{"id":4,"rpc":{"data":4}}`)
	c.want(pong, "after")

	// Larger than what a waiting connection has room for.
	big := kilobytes(8)
	m := masked(text, fmt.Sprintf(`{"id":5,"rpc":{"method":"echo","data":%s}}`, big))
	c.write(join(masked(ping, ""), m, masked(ping, "end")))
	c.want(pong, "")
	c.want(text, string(big))
	c.want(pong, "end")

	// A close is answered, and what comes after it is not.
	c.write(join(masked(ping, "bye"), masked(0x88, "\x03\xe8"), masked(ping, "late")))
	c.want(pong, "bye")
	c.want(0x88, "\x03\xe8")
	_, err := c.br.ReadByte()
	require.Error(t, err)
}

// Messages of every length come out as they were, whoever reads them: the
// library, a worker or the connection's own reader; one a segment, many, in halves.
func TestR13_MessagesOfEveryLength(t *testing.T) {
	s := open(t, func(o *realtime.Options) { o.CommandsPerSec = 100_000 })
	c := s.dialRaw(t)
	c.write(masked(0x81, `{"id":1,"connect":{}}`))
	c.want(0x81, `"id":1`)
	sent := 0
	frames := make([]byte, 0, 8<<10)
	for n := range 400 {
		m := fmt.Sprintf(`{"id":%d,"rpc":{"method":"echo","data":"%s"}}`, n+2, strings.Repeat("é", n/2)+strings.Repeat("x", n%2))
		frames = append(frames, masked(0x81, m)...)
		switch n % 7 {
		case 0, 1, 2: // alone
			c.write(frames)
			frames = frames[:0]
		case 3: // in halves
			c.write(frames[:len(frames)/2])
			time.Sleep(time.Millisecond)
			c.write(frames[len(frames)/2:])
			frames = frames[:0]
		case 6: // three in one
			c.write(frames)
			frames = frames[:0]
		default:
			continue
		}
		for ; sent <= n; sent++ {
			c.want(0x81, fmt.Sprintf(`{"id":%d,"rpc":{"data":"%s"}}`, sent+2, strings.Repeat("é", sent/2)+strings.Repeat("x", sent%2)))
		}
	}
	require.Greater(t, sent, 390)
}

// What is wrong with a message is told however it has come.
func TestR14_BadMessages(t *testing.T) {
	whole := masked(0x81, strings.Repeat(" ", 150))
	for name, tc := range map[string]struct {
		frame []byte
		code  string
	}{
		"R14 invalid UTF-8":  {masked(0x81, "\xff"), "\x0d\xad"},
		"R14 binary":         {masked(0x82, "{}"), "\x0d\xad"},
		"R14 too large":      {whole, "\x03\xf1"},
		"R14 not masked":     {[]byte{0x81, 2, '{', '}'}, ""},
		"R14 reserved":       {masked(0xc1, "{}"), "\x03\xea"},
		"R14 of two lengths": {append([]byte{0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1}, masked(0x81, "{}")...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(o *realtime.Options) { o.MaxMessage = 149 })
			c := s.dialRaw(t)
			c.write(tc.frame)
			opcode, err := c.br.ReadByte()
			if err != nil {
				require.Empty(t, tc.code, "it is cut")
				return
			}
			require.NoError(t, c.br.UnreadByte())
			require.Equal(t, byte(0x88), opcode)
			c.want(0x88, tc.code)
		})
	}
}

// A ping that isn't masked, or is too long, ends the connection: RFC 6455
// sections 5.1 and 5.5.
func TestR14_BadControlFrames(t *testing.T) {
	for name, frame := range map[string][]byte{
		"R14 not masked": {0x89, 1, 'x'},
		"R14 too long":   append([]byte{0x89, 0x80 | 126, 0, 200, 0, 0, 0, 0}, make([]byte, 200)...),
		"R14 reserved":   masked(0xc9, "x"),
		"R14 in parts":   masked(0x09, "x"),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, nil)
			c := s.dialRaw(t)
			c.write(frame)
			for {
				opcode, _ := byte(0), ""
				head, err := c.br.ReadByte()
				if err != nil {
					return // cut
				}
				if opcode = head; opcode == 0x88 {
					return
				}
				require.NotEqual(t, byte(0x8a), opcode, "it is answered")
			}
		})
	}
}

// What a client pings without reading the answers is bounded.
func TestR9_PingsWithoutEnd(t *testing.T) {
	s := open(t, func(o *realtime.Options) { o.MaxMessage, o.MaxQueue = 1024, 8192 })
	c := s.dialRaw(t)
	pings := make([]byte, 0, 131*500)
	for range 500 {
		pings = append(pings, masked(0x89, string(make([]byte, 125)))...)
	}
	for sent := 0; ; sent += len(pings) { // cut, once kernel and queue are full
		if _, err := c.conn.Write(pings); err != nil {
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "after %d bytes", sent)
			return
		}
	}
}

// Pings between messages keep nothing busy.
func TestR16_APingCostsNoGoroutine(t *testing.T) {
	const n = 150
	s := open(t, nil)
	all := make([]*rawClient, n)
	for i := range all {
		all[i] = s.dialRaw(t)
		all[i].write(masked(0x81, `{"id":1,"connect":{}}`))
		all[i].want(0x81, `"id":1`)
	}
	time.Sleep(50 * time.Millisecond)
	before := runtime.NumGoroutine()
	for _, c := range all {
		c.write(masked(0x89, "?"))
		c.want(0x8a, "?")
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+n/2 }, 5*time.Second, 10*time.Millisecond)
}

// A connection that was busy is as small as any, once it is idle.
func TestR16_AnIdleConnectionsStackIsSmall(t *testing.T) {
	const n = 500
	s := open(t, func(o *realtime.Options) { o.MaxPerUser = -1 })
	all := make([]*rawClient, n)
	for i := range all {
		all[i] = s.dialRaw(t)
		all[i].write(masked(0x81, `{"id":1,"connect":{}}`))
		all[i].want(0x81, `"id":1`)
	}
	stacks := func() int {
		for range 4 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.StackInuse)
	}
	before := stacks()
	for _, c := range all {
		for range 20 {
			c.write(masked(0x81, `{"id":2,"rpc":{"method":"echo","data":2}}`))
			c.want(0x81, `"id":2`)
		}
	}
	for _, c := range all { // as it does at the next ping
		c.write(masked(0x81, `{}`))
		c.write(masked(0x89, ""))
		c.want(0x8a, "")
	}
	// Twice as much and more is what readers would keep; workers that wait have some, too.
	require.Eventually(t, func() bool { return stacks() < before+n*3<<9 }, 10*time.Second, 50*time.Millisecond)
}

// Answers that wait for a slow reader are those that were given.
func TestR9_AnswersThatWait(t *testing.T) {
	s := open(t, nil)
	c := s.dialRaw(t)
	c.write(masked(0x81, `{"id":1,"connect":{}}`))
	c.want(0x81, `"id":1`)
	const n = 2000
	fill := strings.Repeat("x", 8<<10)
	go func() {
		for i := range n {
			m := fmt.Sprintf(`{"id":%d,"rpc":{"method":"echo","data":"%d %s"}}`, i+2, i, fill)
			if _, err := c.conn.Write(masked(0x81, m)); err != nil {
				return
			}
		}
	}()
	time.Sleep(200 * time.Millisecond) // the kernel takes some megabytes
	for i := range n {
		c.want(0x81, fmt.Sprintf(`{"id":%d,"rpc":{"data":"%d %s"}}`, i+2, i, fill))
	}
}
