package realtime_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// busyBroker publishes while a history is being read: once before the read and
// once after it.
type busyBroker struct {
	*realtime.MemoryBroker
	mu   sync.Mutex
	on   bool
	next int
}

func (b *busyBroker) append(ctx context.Context, channel string, keep realtime.Keep) {
	b.next++
	_, _ = b.MemoryBroker.Append(ctx, channel, realtime.Publication{Data: fmt.Appendf(nil, "%d", b.next), Time: time.Now()}, keep)
}

func (b *busyBroker) Read(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.on {
		return b.MemoryBroker.Read(ctx, channel, f)
	}
	b.append(ctx, channel, f.Keep)
	time.Sleep(10 * time.Millisecond) // rounds go their own way
	pubs, top, err := b.MemoryBroker.Read(ctx, channel, f)
	b.append(ctx, channel, f.Keep)
	time.Sleep(10 * time.Millisecond)
	return pubs, top, err
}

func TestR8_PublishedWhileSubscribing(t *testing.T) {
	b := &busyBroker{MemoryBroker: realtime.NewMemoryBroker(nil), on: true}
	s := open(t, func(o *realtime.Options) { o.Broker = b })
	t.Run("R8 neither lost nor doubled, joining", func(t *testing.T) {
		c := s.join("ann/s1")
		r := c.subscribe("room:x", "")
		require.Equal(t, uint64(1), r.Offset)
		b.append(t.Context(), "room:x", realtime.Keep{Size: 1000, TTL: time.Hour})
		_, offsets := c.numbers(2)
		require.Equal(t, []uint64{2, 3}, offsets)
	})
	t.Run("R8 neither lost nor doubled, recovering", func(t *testing.T) {
		c := s.join("ann/s1")
		r := c.subscribe("room:x", `,"recover":true`)
		require.True(t, r.Recovered)
		require.Len(t, r.Publications, 4)
		b.append(t.Context(), "room:x", realtime.Keep{Size: 1000, TTL: time.Hour})
		_, offsets := c.numbers(2)
		require.Equal(t, []uint64{5, 6}, offsets)
	})
}

// RFC 6455 section 5.5.1: nothing follows a close frame.
func TestR13_NothingAfterTheClose(t *testing.T) {
	s := open(t, nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = s.Publish(context.Background(), "plain:x", []byte(`1`))
				_ = s.SendUser(context.Background(), "ann", []byte(`1`))
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for i := range 20 {
		conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nCookie: session=ann/s%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", i)
		require.NoError(t, err)
		br := bufio.NewReader(conn)
		for line := ""; line != "\r\n"; {
			line, err = br.ReadString('\n')
			require.NoError(t, err)
		}
		for _, m := range []string{`{"id":1,"connect":{}}`, `{"id":2,"subscribe":{"channel":"plain:x"}}`} {
			frame := append([]byte{0x81, 0x80 | byte(len(m)), 0, 0, 0, 0}, m...) // masked with zeros
			_, err = conn.Write(frame)
			require.NoError(t, err)
		}
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		ended := false
		for frames := 0; ; frames++ {
			if frames == 2 { // connected, and subscribed or about to be
				go func() { _ = s.EndSession(context.Background(), fmt.Sprintf("s%d", i), "") }()
			}
			var h [2]byte
			if _, err := io.ReadFull(br, h[:]); err != nil {
				break
			}
			require.False(t, ended, "a frame after the close frame: %x", h)
			n := int(h[1])
			if n == 126 {
				var ext [2]byte
				_, err := io.ReadFull(br, ext[:])
				require.NoError(t, err)
				n = int(binary.BigEndian.Uint16(ext[:]))
			}
			require.Less(t, n, 1<<17)
			_, err := io.CopyN(io.Discard, br, int64(n))
			require.NoError(t, err)
			if ended = h[0] == 0x88; ended { // wait a little for what must not come
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
			}
		}
		require.True(t, ended)
		require.NoError(t, conn.Close())
	}
}
