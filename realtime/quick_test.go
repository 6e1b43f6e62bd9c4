package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
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
