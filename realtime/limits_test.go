package realtime_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

func TestR7_Limits(t *testing.T) {
	t.Run("R7 connections of a user", func(t *testing.T) {
		s := open(t, func(o *realtime.Options) { o.MaxPerUser = 3 })
		var all []*client
		for i := range 3 {
			all = append(all, s.join(fmt.Sprintf("ann/s%d", i)))
		}
		c := s.dial(header{cookie: "ann/s9"})
		c.write(`{"id":1,"connect":{}}`)
		require.Equal(t, 3504, c.code())
		s.join("bob/s1")
		_ = all[0].ws.Close(websocket.StatusNormalClosure, "")
		require.Eventually(t, func() bool {
			c := s.dial(header{cookie: "ann/s9"})
			c.write(`{"id":1,"connect":{}}`)
			select {
			case <-c.in:
				return true
			case <-c.done:
				return false
			}
		}, 5*time.Second, 20*time.Millisecond)
	})
	t.Run("R7 connections from an address", func(t *testing.T) {
		s := open(t, func(o *realtime.Options) {
			o.MaxPerAddress = 2
			o.ClientIP = func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") }
		})
		one, two := s.dial(header{bearer: "2001:db8::1"}), s.dial(header{bearer: "2001:db8::2"})
		require.Equal(t, 3504, s.dial(header{bearer: "2001:db8::ffff:3"}).code(), "one network of 64 bits")
		s.dial(header{bearer: "2001:db8:0:1::1"})
		_ = one.ws.CloseNow()
		_ = two.ws.CloseNow()
		require.Eventually(t, func() bool {
			c := s.dial(header{bearer: "2001:db8::9"})
			defer func() { _ = c.ws.CloseNow() }()
			select {
			case <-c.done:
				return false
			case <-time.After(50 * time.Millisecond):
				return true
			}
		}, 5*time.Second, 20*time.Millisecond)
	})
	t.Run("R7 far too many from an address: not even a socket", func(t *testing.T) {
		s := open(t, func(o *realtime.Options) { o.MaxPerAddress = 1 })
		status := 0
		for range 30 {
			_, r, err := s.handshake(header{})
			if err != nil {
				status = r.StatusCode
			}
		}
		require.Equal(t, http.StatusTooManyRequests, status)
	})
	t.Run("R7 channels of a connection", func(t *testing.T) {
		c := open(t, func(o *realtime.Options) { o.MaxChannels = 3 }).join("ann/s1")
		for i := range 3 {
			require.NotContains(t, c.call(fmt.Sprintf(`"subscribe":{"channel":"plain:%d"}`, i)), "error")
		}
		require.Equal(t, 105, code(c.call(`"subscribe":{"channel":"plain:0"}`)))
		c.call(`"unsubscribe":{"channel":"plain:0"}`)
		require.NotContains(t, c.call(`"subscribe":{"channel":"plain:0"}`), "error")
		c.write(`{"id":99,"subscribe":{"channel":"plain:9"}}`)
		require.Equal(t, 3505, c.code())
	})
	t.Run("R7 message size", func(t *testing.T) {
		s := open(t, nil)
		c := s.join("ann/s1")
		fits := `{"id":7,"rpc":{"method":"echo","data":"` + strings.Repeat("x", 64<<10-48) + `"}}`
		fits += strings.Repeat(" ", 64<<10-len(fits))
		c.write(fits)
		require.Contains(t, c.reply(7), "rpc")
		c.write(fits + " ")
		require.Equal(t, 1009, c.code())
	})
	t.Run("R7 commands a second", func(t *testing.T) {
		s := open(t, func(o *realtime.Options) { o.CommandsPerSec = 10 })
		c := s.join("ann/s1")
		refused := 0
		for range 30 {
			if code(c.call(`"rpc":{"method":"echo"}`)) == 111 {
				refused++
			}
		}
		require.InDelta(t, 11, refused, 2)
		time.Sleep(300 * time.Millisecond)
		for range 50 {
			c.write(`{"id":1000,"rpc":{"method":"echo"}}`)
		}
		require.Equal(t, 3501, c.code())
	})
	t.Run("R7 a socket that never says connect", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, nil).dial(header{})
			start := time.Now()
			require.Equal(t, 3502, c.code())
			require.WithinDuration(t, start.Add(10*time.Second), time.Now(), time.Second)
		})
	})
}

func TestR14_Hostile(t *testing.T) {
	s := open(t, nil)
	bystander := s.join("bob/s2")
	for name, m := range map[string]string{
		"R14 garbage":           "\x01\x02\x03",
		"R14 half JSON":         `{"id":1,"connect":`,
		"R14 deep JSON":         `{"id":1,"rpc":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
		"R14 not an object":     `[1]`,
		"R14 null":              `null`,
		"R14 no id":             `{"rpc":{"method":"echo"}}`,
		"R14 an id alone":       `{"id":3}`,
		"R14 negative id":       `{"id":-3,"rpc":{}}`,
		"R14 huge id":           `{"id":99999999999999999999,"rpc":{}}`,
		"R14 two requests":      `{"id":3,"rpc":{"method":"echo"},"history":{"channel":"room:x"}}`,
		"R14 unknown command":   `{"id":3,"fly":{}}`,
		"R14 connect again":     `{"id":3,"connect":{}}`,
		"R14 invalid UTF-8":     "{\"id\":3,\"publish\":{\"channel\":\"room:x\",\"data\":\"\xff\"}}",
		"R14 good, then broken": `{"id":3,"rpc":{"method":"echo"}}` + "\n" + `{`,
	} {
		t.Run(name, func(t *testing.T) {
			c := s.join("ann/s1")
			c.write(m)
			require.Equal(t, 3501, c.code())
		})
		t.Run(name+", first", func(t *testing.T) {
			if name == "R14 connect again" {
				return
			}
			c := s.dial(header{cookie: "ann/s1"})
			c.write(m)
			require.Equal(t, 3501, c.code())
		})
	}
	t.Run("R14 binary", func(t *testing.T) {
		c := s.join("ann/s1")
		_ = c.ws.Write(t.Context(), websocket.MessageBinary, []byte(`{"id":9,"rpc":{"method":"echo"}}`))
		require.Equal(t, 3501, c.code())
	})
	t.Run("R14 before connect", func(t *testing.T) {
		c := s.dial(header{cookie: "ann/s1"})
		c.write(`{"id":9,"rpc":{"method":"echo"}}`)
		require.Equal(t, 3501, c.code())
	})
	t.Run("R14 1 MB", func(t *testing.T) {
		c := s.join("ann/s1")
		c.write(strings.Repeat("x", 1<<20))
		require.Equal(t, 1009, c.code())
	})
	t.Run("R14 a data line of several lines stays one", func(t *testing.T) {
		c := s.join("ann/s1")
		c.call(`"subscribe":{"channel":"room:x"}`)
		c.push()
		require.NoError(t, s.Publish(t.Context(), "room:x", []byte("{\n\"a\":\r\n1\n}")))
		require.Contains(t, c.push(), `{"a":1}`)
		require.Error(t, s.Publish(t.Context(), "room:x", []byte(`{}{}`)))
		require.Error(t, s.Publish(t.Context(), "room:x", []byte("\"\xff\"")))
		require.ErrorIs(t, s.Publish(t.Context(), "nope", []byte(`1`)), realtime.ErrUnknownChannel)
	})
	t.Run("R14 raw bytes instead of frames", func(t *testing.T) {
		conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s", strings.Repeat("\xf1\x00", 5000))
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		buf := make([]byte, 4096)
		n := 0
		for {
			m, err := conn.Read(buf[n:])
			n += m
			if err != nil {
				break
			}
		}
		require.Contains(t, string(buf[:n]), "101 Switching")
		require.Contains(t, string(buf[:n]), "\x88", "a coded close")
	})
	t.Run("R14 no compression is negotiated", func(t *testing.T) {
		_, r, err := s.handshake(header{})
		require.NoError(t, err)
		require.Empty(t, r.Header.Get("Sec-WebSocket-Extensions"))
	})
	require.Contains(t, bystander.call(`"rpc":{"method":"echo"}`), "rpc", "others are unaffected")
}

func TestManyCommandsAFrame(t *testing.T) {
	c := open(t, nil).dial(header{cookie: "ann/s1"})
	c.write(`{"id":1,"connect":{}}` + "\n" + `{"id":2,"subscribe":{"channel":"room:x"}}` + "\n\n" + `{"id":3,"publish":{"channel":"room:x","data":1}}` + "\n" + `{"send":{"data":1}}` + "\n" + `{}`)
	for i, key := range []string{"connect", "subscribe"} {
		m := c.next()
		require.Equal(t, fmt.Sprint(i+1), string(m["id"]))
		require.Contains(t, m, key)
	}
	require.Contains(t, c.reply(3), "publish")
}
