package realtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

func logger(h slog.Handler) *slog.Logger { return slog.New(h) }

// meter is a Metrics that keeps what it is told.
type meter struct {
	mu       sync.Mutex
	gauges   [3]int
	told     int // times gauges came
	messages int
	calls    int // of Delivered
	gaps     int
	codes    map[int]int
	revoked  []time.Duration
}

func (m *meter) Gauges(connections, subscriptions, queueBytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gauges = [3]int{connections, subscriptions, queueBytes}
	m.told++
}
func (m *meter) Delivered(n int) { m.mu.Lock(); m.messages += n; m.calls++; m.mu.Unlock() }
func (m *meter) Gap()            { m.mu.Lock(); m.gaps++; m.mu.Unlock() }
func (m *meter) Closed(code int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.codes == nil {
		m.codes = map[int]int{}
	}
	m.codes[code]++
}
func (m *meter) Revoked(d time.Duration) {
	m.mu.Lock()
	m.revoked = append(m.revoked, d)
	m.mu.Unlock()
}

func TestMetrics(t *testing.T) {
	t.Run("connections, subscriptions, deliveries, close codes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, m := &world{}, &meter{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Metrics = m })
			var all []*client
			for i := range 10 {
				c := s.join(fmt.Sprintf("u%d/s%d", i/2, i/2))
				c.subscribe("plain:x", "")
				all = append(all, c)
			}
			all[0].subscribe("plain:y", "")
			m.mu.Lock()
			m.messages, m.calls = 0, 0 // joins are none, but let us begin here
			m.mu.Unlock()
			for range 5 {
				require.NoError(t, s.Publish(t.Context(), "plain:x", []byte(`1`)))
				synctest.Wait()
			}
			require.NoError(t, s.Publish(t.Context(), "plain:nobody", []byte(`1`)))
			time.Sleep(1500 * time.Millisecond)
			m.mu.Lock()
			require.Equal(t, [3]int{10, 11, 0}, m.gauges)
			require.Equal(t, 50, m.messages)
			require.Equal(t, 5, m.calls, "once a round, not once a delivery")
			told := m.told
			m.mu.Unlock()
			time.Sleep(10 * time.Second)
			m.mu.Lock()
			require.InDelta(t, 10, m.told-told, 1)
			m.mu.Unlock()

			snap := s.Snapshot(1)
			require.Equal(t, 10, snap.Connections)
			require.Equal(t, 5, snap.Users)
			require.Equal(t, 5, snap.Sessions)
			require.Equal(t, 2, snap.Channels)
			require.Equal(t, 11, snap.Subscriptions)
			require.EqualValues(t, 50, snap.Delivered)
			require.Equal(t, "[{plain:x 10}]", fmt.Sprint(snap.Largest))
			require.Empty(t, snap.Slowest)
			require.Empty(t, snap.Closes)

			_ = all[0].ws.Close(websocket.StatusNormalClosure, "")
			_ = all[1].ws.CloseNow()
			all[2].write(`{`)
			require.NoError(t, s.EndSession(t.Context(), "s2", "")) // all[4] and all[5]
			time.Sleep(5 * time.Second)
			want := map[int]uint64{1000: 1, 1006: 1, 3501: 1, 4501: 2}
			require.Equal(t, want, s.Snapshot(0).Closes)
			m.mu.Lock()
			require.Equal(t, map[int]int{1000: 1, 1006: 1, 3501: 1, 4501: 2}, m.codes)
			m.mu.Unlock()
			require.Equal(t, 5, s.Snapshot(0).Subscriptions)
		})
	})
	t.Run("slow readers: queue bytes, who is slowest, gaps", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, m := &world{}, &meter{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Metrics, o.MaxQueue = m, 256<<10 })
			_, resume := s.stall("drop:x")
			s.join("bob/s2").subscribe("drop:x", "")
			for range 25 {
				require.NoError(t, s.Publish(t.Context(), "drop:x", kilobytes(8)))
				synctest.Wait()
			}
			time.Sleep(1500 * time.Millisecond)
			snap := s.Snapshot(3)
			require.InDelta(t, 160<<10, snap.QueueBytes, 60<<10) // less what the transport holds
			require.Len(t, snap.Slowest, 1)
			require.Equal(t, "slow", snap.Slowest[0].User)
			require.Equal(t, snap.QueueBytes, snap.Slowest[0].Bytes)
			require.Equal(t, 1500*time.Millisecond, snap.Slowest[0].Stalled)
			require.Len(t, snap.Slowest[0].Conn, 26)
			m.mu.Lock()
			require.Equal(t, snap.QueueBytes, m.gauges[2])
			require.Zero(t, m.gaps)
			m.mu.Unlock()
			for range 40 {
				require.NoError(t, s.Publish(t.Context(), "drop:x", kilobytes(8)))
				synctest.Wait()
			}
			m.mu.Lock()
			require.Equal(t, 1, m.gaps)
			m.mu.Unlock()
			require.EqualValues(t, 1, s.Snapshot(0).Gaps)
			resume()
		})
	})
	t.Run("clients that choose many codes hide no others", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, m := &world{}, &meter{}
			s := inBubble(t, w, w, func(o *realtime.Options) { o.Metrics = m })
			for i := range 120 {
				_ = s.join("ann/s1").ws.Close(websocket.StatusCode(3600+i), "")
			}
			require.NoError(t, s.join("ann/s1").ws.CloseNow())
			c := s.join("bob/s2")
			require.NoError(t, s.EndSession(t.Context(), "s2", ""))
			require.Equal(t, 4501, c.code())
			synctest.Wait()
			closes := s.Snapshot(0).Closes
			require.EqualValues(t, 1, closes[4501])
			require.EqualValues(t, 1, closes[1006])
			require.EqualValues(t, 20, closes[0])
			require.Len(t, closes, 100+3)
		})
	})
	t.Run("R1 revocation latency: exact by push, at most the interval by asking", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, m := &world{}, &meter{}
			broker := realtime.NewMemoryBroker(nil)
			one := inBubble(t, pushing{w}, w, func(o *realtime.Options) { o.Metrics, o.Broker = m, broker })
			far := &meter{}
			bus := &late{MemoryBroker: broker, after: 120 * time.Millisecond}
			other := inBubble(t, apart{&world{}}, w, func(o *realtime.Options) { o.Metrics, o.Broker = far, bus })
			a, b := one.join("ann/s1"), one.join("ann/s1")
			there := other.join("ann/s1")
			w.push("s1", "")
			a.code()
			b.code()
			there.code()
			synctest.Wait() // until it is counted, too
			m.mu.Lock()
			require.Equal(t, []time.Duration{0, 0}, m.revoked)
			m.mu.Unlock()
			far.mu.Lock()
			require.Equal(t, []time.Duration{120 * time.Millisecond}, far.revoked)
			far.mu.Unlock()

			c := one.join("bob/s2")
			time.Sleep(10*time.Second + 100*time.Millisecond)
			w.end("s2")
			ended := time.Now()
			c.code()
			really := time.Since(ended)
			synctest.Wait()
			m.mu.Lock()
			defer m.mu.Unlock()
			require.Len(t, m.revoked, 3)
			require.Equal(t, 500*time.Millisecond, m.revoked[2])
			require.LessOrEqual(t, really, m.revoked[2])
		})
	})
}

// late is a broker whose control messages take their time.
type late struct {
	*realtime.MemoryBroker
	after time.Duration
}

func (l *late) Attach(h realtime.Handler) (realtime.Link, error) {
	return l.MemoryBroker.Attach(lateHandler{h, l.after})
}

type lateHandler struct {
	realtime.Handler
	after time.Duration
}

func (h lateHandler) Control(b []byte) {
	time.Sleep(h.after)
	h.Handler.Control(b)
}

// logged collects a log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) lines(with string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.SplitSeq(l.b.String(), "\n") {
		if strings.Contains(line, with) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := &world{}, &logged{}
		s := inBubble(t, w, w, func(o *realtime.Options) {
			o.Logger, o.MaxQueue = slog.New(slog.NewTextHandler(log, nil)), 256<<10
		})
		for range 20 {
			_, _, err := s.handshake(header{cookie: "ann/secret", origin: "https://evil.example" + strings.Repeat("x", 1000)})
			require.Error(t, err)
		}
		require.Len(t, log.lines("origin refused"), 1, "a line a second")
		require.Contains(t, log.lines("origin refused")[0], "https://evil.example")
		require.Less(t, len(log.lines("origin refused")[0]), 500)
		time.Sleep(time.Second)
		_, _, err := s.handshake(header{origin: "https://evil.example"})
		require.Error(t, err)
		require.Len(t, log.lines("origin refused"), 2)
		require.Contains(t, log.lines("origin refused")[1], "others_before=19")

		for range 5 {
			c := s.dial(header{bearer: "bad/secret"})
			c.write(`{"id":1,"connect":{}}`)
			require.Equal(t, 3500, c.code())
		}
		require.Len(t, log.lines("code=3500"), 1)

		slow, resume := s.stall("room:x")
		for range 200 {
			require.NoError(t, s.Publish(t.Context(), "room:x", kilobytes(8)))
			synctest.Wait()
		}
		resume()
		require.Equal(t, 3008, slow.code())
		require.Len(t, log.lines("code=3008"), 1)
		require.Contains(t, log.lines("code=3008")[0], "user=slow")

		s.join("ann/s1")
		s.join("ann/s1")
		require.NoError(t, s.EndSession(t.Context(), "s1", "password changed"))
		require.NoError(t, s.EndSession(t.Context(), "nobody's", ""))
		require.Len(t, log.lines("session ended"), 1)
		require.Contains(t, log.lines("session ended")[0], `session=s1 reason="password changed" connections=2`)
		require.Empty(t, log.lines("secret"))
	})
}

// However often clients ask for what fails, a line a second says so.
func TestLogOfWhatClientsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		s, _ := managed(t, func(o *realtime.Options) {
			o.Logger = slog.New(slog.NewTextHandler(log, nil))
			for _, name := range []string{"one", "other"} {
				o.RPC[name] = func(context.Context, *realtime.Conn, json.RawMessage) (json.RawMessage, error) {
					return nil, errors.New("the database is down")
				}
			}
			o.OnMessage = func(context.Context, *realtime.Conn, json.RawMessage) { panic("host") }
		})
		c := s.join("ann/s1")
		for range 100 {
			c.call(`"rpc":{"method":"one"}`)
			c.call(`"rpc":{"method":"other"}`)
		}
		require.Len(t, log.lines("realtime: rpc one"), 1)
		require.Len(t, log.lines("realtime: rpc other"), 1)
		time.Sleep(time.Second)
		c.call(`"rpc":{"method":"one"}`)
		require.Len(t, log.lines("realtime: rpc one"), 2)
		require.Contains(t, log.lines("realtime: rpc one")[1], "others_before=99")
		for range 10 {
			c := s.join("ann/s1")
			c.write(`{"send":{"data":1}}`)
			require.Equal(t, 1011, c.code())
		}
		require.Len(t, log.lines("panic=host"), 1)
	})
}

func TestSnapshotOfMany(t *testing.T) {
	s := open(t, nil)
	for i := range 30 {
		c := s.join(fmt.Sprintf("u%d/s%d", i, i))
		for j := range i%7 + 1 {
			c.subscribe(fmt.Sprint("plain:", j), "")
		}
	}
	snap := s.Snapshot(3)
	require.Equal(t, 30, snap.Connections)
	require.Equal(t, "[{plain:0 30} {plain:1 25} {plain:2 20}]", fmt.Sprint(snap.Largest))
	require.Equal(t, 7, snap.Channels)
	require.Len(t, s.Snapshot(100).Largest, 7)
	require.Empty(t, s.Snapshot(-1).Largest)
}
