package realtime_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// The forms that SDKs send must be among those that are read quickly.
func TestQuickCommands(t *testing.T) {
	for _, line := range []string{
		`{"id":1,"connect":{}}`,
		`{"id":3,"rpc":{"method":"echo","data":{"a":[1,2.5,"x",null]}}}`,
		`{"rpc":{"method":"echo","data":{"a":1}},"id":3}`,
		`{"id":3,"rpc":{"data":{"a":1},"method":"echo"}}`,
		`{"id":4,"publish":{"channel":"room:x","data":"hi"}}`,
		`{"send":{"data":{"x":1}}}`,
	} {
		quick, full, ok, fullOK := realtime.QuickCommand([]byte(line))
		require.True(t, ok && fullOK, line)
		require.Equal(t, full, quick)
	}
}

// A command's context does what one of the standard library does.
func TestCommandContext(t *testing.T) {
	type key struct{}
	run := func(name string, f func(t *testing.T, ctx context.Context, cancel, cancelHub context.CancelFunc)) {
		for _, asked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					hub, cancelHub := context.WithCancel(context.WithValue(context.Background(), key{}, "v"))
					defer cancelHub()
					ctx, cancel := realtime.CommandContext(hub, time.Now().Add(time.Second))
					defer cancel()
					require.NoError(t, ctx.Err())
					if asked {
						select {
						case <-ctx.Done():
							t.Fatal("it has not ended")
						default:
						}
					}
					f(t, ctx, cancel, cancelHub)
				})
			})
		}
	}
	run("cancelled", func(t *testing.T, ctx context.Context, cancel, _ context.CancelFunc) {
		cancel()
		<-ctx.Done()
		require.Equal(t, context.Canceled, ctx.Err())
		require.Equal(t, context.Canceled, context.Cause(ctx))
	})
	run("its time is over", func(t *testing.T, ctx context.Context, cancel, _ context.CancelFunc) {
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, context.DeadlineExceeded, ctx.Err())
		<-ctx.Done()
		cancel()
		require.Equal(t, context.DeadlineExceeded, ctx.Err(), "the first reason stays")
	})
	run("the hub closes", func(t *testing.T, ctx context.Context, _, cancelHub context.CancelFunc) {
		cancelHub()
		require.Equal(t, context.Canceled, ctx.Err())
		<-ctx.Done()
	})
	run("children", func(t *testing.T, ctx context.Context, cancel, _ context.CancelFunc) {
		child, stop := context.WithCancel(ctx)
		defer stop()
		require.Equal(t, "v", child.Value(key{}))
		at, ok := child.Deadline()
		require.True(t, ok)
		require.Equal(t, time.Second, time.Until(at))
		ended := errors.New("not run")
		context.AfterFunc(child, func() { ended = child.Err() })
		cancel()
		synctest.Wait()
		require.Equal(t, context.Canceled, ended)
	})
}

// What a command's handler waits for ends with the connection.
func TestACommandEndsWithItsConnection(t *testing.T) {
	waiting, ended := make(chan struct{}), make(chan error, 1)
	s := open(t, func(o *realtime.Options) {
		o.RPC["wait"] = func(ctx context.Context, _ *realtime.Conn, _ json.RawMessage) (json.RawMessage, error) {
			close(waiting)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}
	})
	c := s.join("ann/s1")
	c.write(`{"id":9,"rpc":{"method":"wait"}}`)
	<-waiting
	require.NoError(t, s.EndSession(t.Context(), "s1", "signed out"))
	select {
	case err := <-ended:
		require.Equal(t, context.Canceled, err)
	case <-time.After(5 * time.Second): // sooner than Options.CommandTimeout
		t.Fatal("it still waits")
	}
}

// A round's publications share frames, none of which joins more than 64 KiB.
func TestFramesOfARound(t *testing.T) {
	var data []string
	for i := range 300 {
		n := i * i % 1000
		if i%100 == 7 {
			n = 70_000 // one that fills more than a frame by itself
		}
		data = append(data, fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", n)))
	}
	b := realtime.EventFrames("room:x", data)
	frames, got := 0, []string{}
	for len(b) > 0 {
		require.Equal(t, byte(0x81), b[0])
		head, n := 2, int(b[1])
		switch n {
		case 126:
			head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
		case 127:
			head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
		}
		lines := strings.Split(string(b[head:head+n]), "\n")
		require.True(t, n <= 64<<10 || len(lines) == 1, "%d lines are %d bytes", len(lines), n)
		for _, l := range lines {
			l, ok := strings.CutPrefix(l, `{"push":{"channel":"room:x","pub":{"data":`)
			require.True(t, ok)
			l, ok = strings.CutSuffix(l, `}}}`)
			require.True(t, ok)
			got = append(got, l)
		}
		frames++
		b = b[head+n:]
	}
	require.Equal(t, data, got)
	require.LessOrEqual(t, frames, 12, "few frames")
	require.Empty(t, realtime.EventFrames("room:x", nil))
}

// What a handler is given it may keep, and what a host publishes it may write
// over.
func TestDataIsNobodyElses(t *testing.T) {
	var kept []json.RawMessage
	s := open(t, func(o *realtime.Options) {
		o.RPC["keep"] = func(_ context.Context, _ *realtime.Conn, data json.RawMessage) (json.RawMessage, error) {
			kept = append(kept, data)
			return nil, nil
		}
	})
	c := s.join("ann/s1")
	for i := range 50 {
		require.NotContains(t, c.call(fmt.Sprintf(`"rpc":{"method":"keep","data":"%d"}`, i)), "error")
	}
	for i, data := range kept {
		require.Equal(t, fmt.Sprintf("%q", fmt.Sprint(i)), string(data))
	}

	buf := []byte(`"00"`)
	for i := range 50 {
		copy(buf, fmt.Sprintf(`"%02d"`, i))
		require.NoError(t, s.Publish(t.Context(), "room:x", buf))
	}
	c.subscribe("room:x", "")
	history := string(c.call(`"history":{"channel":"room:x","limit":-1}`)["history"])
	for i := range 50 {
		require.Contains(t, history, fmt.Sprintf(`"data":"%02d"`, i))
	}
}

// Strings are read eight bytes at a time: a byte that ends one, or doesn't belong
// there, is found wherever it is.
func TestR14_ScannerIsAsStrictAsJSON(t *testing.T) {
	scanned := func(b []byte) bool { valid, _ := realtime.ScanJSON(b); return valid }
	for n := range 26 {
		for at := range n {
			for c := range 256 {
				b := []byte(`"` + strings.Repeat("é", n/2) + strings.Repeat("x", n%2) + `"`)
				b[1+at] = byte(c)
				require.Equal(t, json.Valid(b), scanned(b), "%q", b)
			}
		}
	}
	for _, s := range []string{`"1234567\"`, `"1234567\""`, `"123456\u00e9"`, `"123456\u00e"`, `"12345678`, `"1234567`, `"123456\x"`, `"123\\456"`, `"12345678\`} {
		require.Equal(t, json.Valid([]byte(s)), scanned([]byte(s)), "%s", s)
	}
}
