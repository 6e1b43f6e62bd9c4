package redisbroker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/redisbroker"
)

// present are the ids of who is listed.
func present(t *testing.T, b *redisbroker.Broker, channel string) (ids []string) {
	t.Helper()
	list, err := b.List(t.Context(), channel, 1000)
	require.NoError(t, err)
	for _, c := range list {
		ids = append(ids, c.Client)
	}
	return ids
}

// Who gives up entering, and leaves, is not let in later: the command that was
// given up reaches Redis only after the Leave.
func TestR10_GivenUpWhileEntering(t *testing.T) {
	t.Parallel()
	server := start(t, redistest.Start)
	r := build(t, server.Addr())
	b := broker(t, along(t, r))
	enter := func(ctx context.Context, client string) error {
		return b.Enter(ctx, "n", "room", realtime.ClientInfo{Client: client, User: "who-" + client}, time.Hour)
	}
	require.NoError(t, enter(t.Context(), "c"))
	// The last command alone has the user in it.
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	r.mark("who-late", false, hold)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, enter(ctx, "late"), context.DeadlineExceeded)
	seen, done := r.counts()
	require.Equal(t, [2]int{1, 0}, [2]int{seen, done}, "the command is on its way")
	require.NoError(t, b.Leave(t.Context(), "n", "room", "late"))
	release()
	within(t, patience, func() bool { _, done := r.counts(); return done > 0 }, "Redis has done the late command")
	require.Equal(t, []string{"c"}, present(t, b, "room"))

	// Who comes back is let in.
	r.mark("", false, nil)
	require.NoError(t, enter(t.Context(), "late"))
	require.ElementsMatch(t, []string{"c", "late"}, present(t, b, "room"))
	require.NoError(t, b.Leave(t.Context(), "n", "room", "late"))
	require.Equal(t, []string{"c"}, present(t, b, "room"))
	keys, err := server.Do("KEYS", "*}f:*")
	require.NoError(t, err)
	ttl, err := server.Do("TTL", keys)
	require.NoError(t, err)
	require.NotEqual(t, "-1", ttl, "what keeps it out goes by itself")
}

// A Leave that fails is made good by the next beats, and takes nobody along who
// has entered again since.
func TestR10_LeftWhileRedisIsAway(t *testing.T) {
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	enter := func(id string) {
		require.NoError(t, b.Enter(t.Context(), "n", "room", realtime.ClientInfo{Client: id}, time.Hour))
	}
	for _, id := range []string{"stays", "leaves", "returns"} {
		enter(id)
	}
	require.NoError(t, server.Kill())
	for _, id := range []string{"leaves", "returns"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		require.Error(t, b.Leave(ctx, "n", "room", id))
		cancel()
	}
	require.NoError(t, server.Run())
	within(t, patience, func() bool {
		_, err := b.List(t.Context(), "room", 1)
		return err == nil
	}, "Redis is back")
	enter("returns")
	require.ElementsMatch(t, []string{"stays", "leaves", "returns"}, present(t, b, "room"))
	require.NoError(t, b.Beat(t.Context(), "other", time.Hour))
	require.Len(t, present(t, b, "room"), 3, "of other nodes nothing is known")
	require.NoError(t, b.Beat(t.Context(), "n", time.Hour))
	require.ElementsMatch(t, []string{"stays", "returns"}, present(t, b, "room"))
}

// When Redis was away for long, all nodes have lapsed. The first to be back takes
// nothing from the others.
func TestR10_AwayForLong(t *testing.T) {
	t.Parallel()
	server := start(t, redistest.Start)
	b := broker(t, client(t, server))
	const ttl = 300 * time.Millisecond
	for _, node := range []string{"first", "second", "dies"} {
		for i := range 3 {
			require.NoError(t, b.Enter(t.Context(), node, "room", realtime.ClientInfo{Client: fmt.Sprint(node, i)}, ttl))
		}
	}
	time.Sleep(6 * ttl) // nobody can beat
	for range 3 {
		require.NoError(t, b.Beat(t.Context(), "first", ttl))
	}
	require.NoError(t, b.Beat(t.Context(), "first", time.Hour))
	require.Len(t, present(t, b, "room"), 3)
	require.NoError(t, b.Beat(t.Context(), "second", time.Hour))
	require.Len(t, present(t, b, "room"), 6)
	// Who stays away is cleared away, and only they.
	within(t, patience, func() bool {
		require.NoError(t, b.Beat(t.Context(), "third", ttl))
		entered, err := server.Do("KEYS", "*}n:*")
		require.NoError(t, err)
		key, err := server.Do("KEYS", "*}p:room")
		require.NoError(t, err)
		n, err := server.Do("HLEN", key)
		require.NoError(t, err)
		return n == "6" && !strings.Contains(entered, "}n:dies")
	}, "the dead are cleared away")
	require.Len(t, present(t, b, "room"), 6)
}

// A node that comes back while it is being cleared away keeps what it has.
func TestR10_BackAtTheLastMoment(t *testing.T) {
	server := start(t, redistest.Start)
	direct := broker(t, client(t, server))
	r := build(t, server.Addr())
	b := broker(t, along(t, r))
	const ttl = 100 * time.Millisecond
	require.NoError(t, direct.Enter(t.Context(), "back", "room", realtime.ClientInfo{Client: "c"}, ttl))
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	r.mark("srandmember", false, hold)
	within(t, patience, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cleared := make(chan error, 1)
		go func() { cleared <- b.Beat(ctx, "lives", ttl) }()
		within(t, patience, func() bool { seen, _ := r.counts(); return seen > 0 || len(cleared) > 0 }, "the beat goes on")
		if seen, _ := r.counts(); seen == 0 {
			require.NoError(t, <-cleared)
			return false // it is not dead for long enough
		}
		require.NoError(t, direct.Beat(t.Context(), "back", time.Hour))
		release()
		require.NoError(t, <-cleared)
		return true
	}, "it is being cleared away")
	require.Equal(t, []string{"c"}, present(t, direct, "room"))
}
