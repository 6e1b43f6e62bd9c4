package redisbroker

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/realtime"
)

// A cluster itself says into which slots our names fall.
func TestSlots(t *testing.T) {
	cluster, err := redistest.StartCluster()
	child.Require(t, err)
	t.Cleanup(func() { require.NoError(t, cluster.Close()) })
	slot := func(name string) int {
		text, err := cluster.Nodes[0].Do("CLUSTER", "KEYSLOT", name)
		require.NoError(t, err)
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		return n
	}
	b := &Broker{prefix: "app:"}
	for i := range lanes {
		require.Equal(t, i, slot(b.name(i, "c:", "x"))/1024, "lane %d is not in its sixteenth", i)
	}
	for _, channel := range []string{"room", "{a}room", "}{", "{", "", "ü{}", "a{b}c{d}"} {
		want := slot(b.channel(channel))
		for _, name := range []string{b.meta(channel), b.stream(channel), b.clients(channel)} {
			require.Equal(t, want, slot(name), "%q", name)
		}
	}
	// Channels spread.
	count := map[int]int{}
	for i := range 1600 {
		count[lane(fmt.Sprint("room:", i))]++
	}
	require.Len(t, count, 16)
	for l, n := range count {
		require.InDelta(t, 100, n, 60, "lane %d", l)
	}
}

func FuzzDecode(f *testing.F) {
	info := &realtime.ClientInfo{Client: "c", User: "u", Info: []byte("{}")}
	f.Add(encode(realtime.Event{Kind: realtime.EventPublication, Publication: realtime.Publication{Offset: 7, Epoch: "e", Data: []byte("{}"), Info: info}}))
	f.Add(encode(realtime.Event{Kind: realtime.EventJoin, Client: *info}))
	f.Add("12 epoch" + encode(realtime.Event{Kind: realtime.EventPublication}))
	f.Add("\n\x02")
	f.Fuzz(func(t *testing.T, message string) {
		e, err := decode(message)
		if err != nil {
			return
		}
		again, err := decode(encode(e))
		require.NoError(t, err)
		require.Equal(t, e, again)
	})
}
