package redisbroker_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/realtime"
)

// busy is a handler that takes as long as it is told to.
type busy struct {
	tape
	begun, end chan struct{}
}

func (b *busy) Deliver(channel string, e realtime.Event) {
	b.begun <- struct{}{}
	<-b.end
	b.tape.Deliver(channel, e)
}

// Unsubscribe and Close wait for an event that is being handed out.
func TestWaitForDeliver(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	for _, name := range []string{"Unsubscribe", "Close"} {
		t.Run(name, func(t *testing.T) {
			x := &busy{begun: make(chan struct{}), end: make(chan struct{})}
			l, err := b.Attach(x)
			require.NoError(t, err)
			defer l.Close()
			require.NoError(t, l.Subscribe(t.Context(), "room"))
			require.NoError(t, b.Publish(t.Context(), "room", publication("x")))
			<-x.begun
			returned := make(chan error)
			go func() {
				if name == "Close" {
					returned <- l.Close()
				} else {
					returned <- l.Unsubscribe(context.Background(), "room")
				}
			}()
			select {
			case <-returned:
				close(x.end)
				t.Fatal("it returns while an event is being handed out")
			case <-time.After(500 * time.Millisecond):
			}
			close(x.end)
			require.NoError(t, <-returned)
			require.Len(t, x.tape.got(), 1)
		})
	}
}

// R16: Close leaves nothing behind, also while there is no Redis.
func TestR16_CloseWhileRedisIsAway(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	goroutines := runtime.NumGoroutine()
	var links []realtime.Link
	for range 20 {
		l, err := b.Attach(&tape{})
		require.NoError(t, err)
		require.NoError(t, l.Subscribe(t.Context(), "room"))
		links = append(links, l)
	}
	require.NoError(t, server.Kill())
	time.Sleep(300 * time.Millisecond)
	waiting := make(chan error, len(links))
	for _, l := range links {
		go func() { waiting <- l.Subscribe(context.Background(), "other") }()
	}
	time.Sleep(300 * time.Millisecond)
	begin := time.Now()
	for _, l := range links {
		require.NoError(t, l.Close())
	}
	require.Less(t, time.Since(begin), 10*time.Second)
	for range links {
		require.Error(t, <-waiting)
	}
	within(t, patience, func() bool { return runtime.NumGoroutine() <= goroutines+2 }, "no goroutine is left")
}

// A Redis that is loading its data says so. What is published then is refused or
// arrives, and all is well afterwards.
func TestR15_Loading(t *testing.T) {
	t.Parallel()
	server := start(t, func(config ...string) (*redistest.Server, error) {
		return redistest.Start(append(config, "--key-load-delay", "300", "--appendfsync", "no")...)
	})
	c := client(t, server)
	b := broker(t, c)
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	first, err := b.Append(t.Context(), "room", publication("1").Publication, keep)
	require.NoError(t, err)
	for range 10 {
		_, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for range 1000 {
				p.Set(t.Context(), rand.Text(), "x", 0)
			}
			return nil
		})
		require.NoError(t, err)
	}
	require.NoError(t, server.Stop())
	running := make(chan error, 1)
	go func() { running <- server.Run() }()
	loading := 0
	within(t, patience, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		at, err := b.Append(ctx, "room", publication("2").Publication, keep)
		if err != nil {
			if strings.Contains(err.Error(), "LOADING") {
				loading++
			}
			return false
		}
		require.Equal(t, first.Epoch, at.Epoch)
		require.Greater(t, at.Offset, first.Offset)
		return true
	}, "Redis has loaded")
	require.NoError(t, <-running)
	require.NotZero(t, loading)
	heals(t, b, x, "room")
	require.NotZero(t, x.gapsTold())
}

// A replica that is read only says so; of a Redis that has no connection left
// publishers get errors, until it has.
func TestR15_ReadOnlyAndFull(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	_, err = server.Do("CONFIG", "SET", "replica-serve-stale-data", "yes")
	require.NoError(t, err)
	_, err = server.Do("REPLICAOF", "127.0.0.1", "1")
	require.NoError(t, err)
	_, err = b.Append(t.Context(), "room", publication("x").Publication, keep)
	require.ErrorContains(t, err, "READONLY")
	require.ErrorContains(t, b.Enter(t.Context(), "n", "room", realtime.ClientInfo{Client: "c"}, time.Hour), "READONLY")
	_, err = server.Do("REPLICAOF", "NO", "ONE")
	require.NoError(t, err)
	heals(t, b, x, "room")

	admin := client(t, server).Conn()
	defer admin.Close()
	require.NoError(t, admin.ConfigSet(t.Context(), "maxclients", "1").Err())
	require.NoError(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err())
	require.NoError(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
	// What comes of the refusal depends on how far the greeting had got.
	for range 5 {
		require.Error(t, b.Publish(t.Context(), "room", publication("x")))
	}
	gaps := x.gapsTold()
	require.NoError(t, admin.ConfigSet(t.Context(), "maxclients", "1000").Err())
	heals(t, b, x, "room")
	require.Greater(t, x.gapsTold(), gaps)
}

// Messages as large as anybody sends arrive, and are kept.
func TestHuge(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	x := &tape{}
	l, err := b.Attach(x)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Subscribe(t.Context(), "room"))
	text := strings.Repeat("\x00\r\n$5ü", 2<<20)
	p := publication("").Publication
	p.Data = []byte(text)
	_, err = b.Append(t.Context(), "room", p, keep)
	require.NoError(t, err)
	within(t, patience, func() bool { return len(x.got()) == 1 }, "it arrives")
	require.True(t, string(x.got()[0].Publication.Data) == text)
	pubs, _, err := b.Read(t.Context(), "room", realtime.ReadFilter{Limit: 1, Keep: keep})
	require.NoError(t, err)
	require.True(t, len(pubs) == 1 && string(pubs[0].Data) == text)
}

// Applications with other prefixes don't meet, whatever their channels' names.
func TestPrefixes(t *testing.T) {
	server := start(t, redistest.Start)
	c := client(t, server)
	names := []string{"a:", "a:{10}c:", "a", "a:c:", "a:\n", "*"}
	channels := []string{"room", "c:room", "{10}c:room", "}c:room", ":room", "\nroom", "*"}
	tapes := make([]*tape, len(names))
	for i, prefix := range names {
		if strings.Contains(prefix, "{") {
			_, err := newBroker(c, prefix)
			require.ErrorContains(t, err, "brace")
			continue
		}
		b, err := newBroker(c, prefix)
		require.NoError(t, err)
		tapes[i] = &tape{}
		l, err := b.Attach(tapes[i])
		require.NoError(t, err)
		defer l.Close()
		for _, channel := range channels {
			require.NoError(t, l.Subscribe(t.Context(), channel))
		}
	}
	for i, prefix := range names {
		if tapes[i] == nil {
			continue
		}
		b, err := newBroker(c, prefix)
		require.NoError(t, err)
		for _, channel := range channels {
			at, err := b.Append(t.Context(), channel, publication(fmt.Sprint(i)).Publication, keep)
			require.NoError(t, err)
			require.EqualValues(t, 1, at.Offset)
		}
	}
	for i, x := range tapes {
		if x == nil {
			continue
		}
		within(t, patience, func() bool { return len(x.got()) == len(channels) }, "each gets its own")
		for _, e := range x.got() {
			require.Equal(t, fmt.Sprintf("%q", fmt.Sprint(i)), string(e.Publication.Data))
		}
	}
}
