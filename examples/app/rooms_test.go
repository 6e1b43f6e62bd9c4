package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/redistest"
)

// complete requires that a follower heard, of each publisher, its messages in
// order and each once, every acknowledged one among them from the follower's
// first on. The caller holds no lock.
func (f *follower) complete(t *testing.T, acked map[string][]int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Zero(t, f.told, "what was missed could be had")
	by := map[string][]int{}
	for i, h := range f.seen {
		by[h.From] = append(by[h.From], h.N)
		if i > 0 {
			require.Equal(t, f.seen[i-1].Offset+1, h.Offset, "offsets are dense")
		}
	}
	for from, want := range acked {
		got := by[from]
		for i := 1; i < len(got); i++ {
			require.Less(t, got[i-1], got[i], "%s: in order, none twice", from)
		}
		for _, n := range want {
			_, heard := slices.BinarySearch(got, n)
			require.True(t, heard, "%s: message %d was acknowledged and never heard", from, n)
		}
	}
}

// publisher publishes in its follower's room until stop, once every interval,
// and remembers what was acknowledged. It doesn't repeat what wasn't.
type publisher struct {
	*follower
	name  string
	acked []int
}

func (p *publisher) run(stop *atomic.Bool, every time.Duration) {
	for n := 0; !stop.Load(); n++ {
		if p.publish(p.name, n) == nil {
			p.acked = append(p.acked, n)
		}
		time.Sleep(every)
	}
}

// publishers makes one publisher a node, each at home at another.
func (n *nodes) publishers(t *testing.T, d *device, room string) []*publisher {
	t.Helper()
	return []*publisher{
		{follower: follow(t, d.browser, "", room, n.a, n.b).joined(t), name: "a"},
		{follower: follow(t, d.browser, "", room, n.b, n.a).joined(t), name: "b"},
	}
}

// during runs the publishers while f does, and returns what was acknowledged.
func during(publishers []*publisher, every time.Duration, f func()) map[string][]int {
	var stop atomic.Bool
	var wg sync.WaitGroup
	for _, p := range publishers {
		wg.Go(func() { p.run(&stop, every) })
	}
	func() {
		defer wg.Wait()
		defer stop.Store(true)
		f()
	}()
	acked := map[string][]int{}
	for _, p := range publishers {
		acked[p.name] = p.acked
	}
	return acked
}

// catchUp waits until the follower has heard the last acknowledged of all.
func (f *follower) catchUp(t *testing.T, acked map[string][]int) {
	t.Helper()
	for from, ns := range acked {
		last := ns[len(ns)-1]
		f.until(t, fmt.Sprintf("message %d of %s arrives", last, from), func() bool {
			return f.ready && slices.ContainsFunc(f.seen, func(h heard) bool { return h.From == from && h.N >= last })
		})
	}
}

// A room is one room wherever its people are connected: messages in order,
// presence, joins and leaves, and what was missed is had from any node.
func TestR8_OneRoomOnTwoNodes(t *testing.T) {
	t.Run("one Redis", func(t *testing.T) { oneRoom(t, startNodes(t, startRedis(t))) })
	t.Run("Redis Cluster", func(t *testing.T) {
		cluster, err := redistest.StartCluster()
		child.Require(t, err)
		t.Cleanup(func() { _ = cluster.Close() })
		at := cluster.Addrs()
		oneRoom(t, startNodes(t, nil, "REDIS_URL=redis://"+at[0]+"?addr="+at[1]+"&addr="+at[2]))
	})
}

func oneRoom(t *testing.T, n *nodes) {
	ada, bob := browser(t), browser(t)
	moveIn(t, ada, n.a.url, "ada@example.org")
	moveIn(t, bob, n.b.url, "bob@example.org")
	atA := follow(t, ada, "", "room:one", n.a).joined(t)
	atB := follow(t, bob, "", "room:one", n.b).joined(t)

	t.Run("R10 presence, joins and leaves", func(t *testing.T) {
		want := []string{atA.client, atB.client}
		slices.Sort(want)
		require.Equal(t, want, atA.present(t))
		require.Equal(t, want, atB.present(t))
		atA.until(t, "the join at B is told at A", func() bool { return slices.Contains(atA.joins, "join "+atB.client) })
		guest := follow(t, bob, "", "room:one", n.b).joined(t)
		guest.cancel()
		atA.until(t, "the leave at B is told at A", func() bool {
			return slices.Contains(atA.joins, "join "+guest.client) && slices.Contains(atA.joins, "leave "+guest.client)
		})
		require.Equal(t, want, atA.present(t))
	})
	t.Run("R8 order", func(t *testing.T) {
		acked := map[string][]int{}
		var publishers []*publisher
		var wg sync.WaitGroup
		for _, p := range []*publisher{{follower: atA, name: "a"}, {follower: atB, name: "b"}} {
			publishers = append(publishers, p)
			wg.Go(func() {
				for i := range 500 {
					if p.publish(p.name, i) == nil {
						p.acked = append(p.acked, i)
					}
				}
			})
		}
		wg.Wait()
		for _, p := range publishers {
			require.Greater(t, len(p.acked), 400)
			acked[p.name] = p.acked
		}
		for _, f := range []*follower{atA, atB} {
			f.catchUp(t, acked)
			f.complete(t, acked)
			require.Equal(t, atA.seen, f.seen, "all hear the same")
		}
	})
	t.Run("R8 recovery at the other node", func(t *testing.T) {
		moving := follow(t, bob, "", "room:two", n.a, n.b).joined(t)
		speaker := follow(t, ada, "", "room:two", n.a).joined(t)
		speaker.say(t, "s", 0)
		moving.until(t, "it hears", func() bool { return len(moving.seen) == 1 })
		moving.drop()
		acked := map[string][]int{"s": {0}}
		for i := 1; i < 50; i++ {
			if speaker.publish("s", i) == nil {
				acked["s"] = append(acked["s"], i)
			}
		}
		moving.catchUp(t, acked)
		moving.complete(t, acked)
		require.Greater(t, len(acked["s"]), 40)
		require.Equal(t, n.b.url, moving.url)
	})
	t.Run("R1 sign-out", func(t *testing.T) {
		require.Equal(t, http.StatusNoContent, send(t, bob, "POST", n.a.url+"/auth/logout", "").StatusCode)
		end := atB.ended(t)
		require.Equal(t, websocket.StatusCode(4501), end.code, end.reason)
		require.True(t, atA.alive())
	})
}

// Both nodes are restarted, one after the other, under people who talk. Whoever
// was connected moves to the other node; nothing is lost and nothing comes
// twice; they don't all come at once.
func TestR12_RollingRestart(t *testing.T) {
	n := startNodes(t, startRedis(t))
	ada := &device{browser: browser(t)}
	moveIn(t, ada.browser, n.a.url, "ada@example.org")
	var crowd []*follower
	for i := range 40 {
		first, second := n.a, n.b
		if i%2 == 1 {
			first, second = second, first
		}
		crowd = append(crowd, follow(t, ada.browser, "", "room:moving", first, second).joined(t))
	}
	acked := during(n.publishers(t, ada, "room:moving"), 10*time.Millisecond, func() {
		for _, p := range []**process{&n.a, &n.b} {
			old := *p
			was := map[*follower]int{}
			for _, f := range crowd {
				f.mu.Lock()
				if f.url == old.url {
					was[f] = len(f.arrived)
				}
				f.mu.Unlock()
			}
			require.NotEmpty(t, was)
			begin := time.Now()
			require.NoError(t, old.cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, old.cmd.Wait(), "it ends by itself")
			require.Less(t, time.Since(begin), 30*time.Second)
			var moved []time.Duration
			for f, before := range was {
				f.until(t, "it moves", func() bool { return len(f.arrived) > before && f.ready })
				moved = append(moved, f.arrived[before].Sub(begin))
				last := f.closes[len(f.closes)-1]
				require.Equal(t, websocket.StatusCode(3001), last.code, last.reason)
			}
			slices.Sort(moved)
			t.Logf("R12 %d of %d clients moved, the first after %v, the last after %v", len(moved), len(crowd), moved[0], moved[len(moved)-1])
			require.Greater(t, moved[len(moved)-1]-moved[0], 2*time.Second, "spread")
			for i, at := range moved {
				together := 0
				for _, other := range moved[i:] {
					if other-at < 500*time.Millisecond {
						together++
					}
				}
				require.LessOrEqual(t, together, max(3, len(moved)/2), "within half a second")
			}
			*p = start(t, append(n.env, "ADDR="+old.url[len("http://"):])...)
		}
	})
	require.Greater(t, len(acked["a"])+len(acked["b"]), 200)
	for _, f := range crowd {
		f.catchUp(t, acked)
		f.complete(t, acked)
	}
}

// Of a node that was killed, presence is gone within three beats of 10 s, and
// nobody else's meanwhile.
func TestR10_NoGhostsOfAKilledNode(t *testing.T) {
	t.Parallel()
	n := startNodes(t, startRedis(t))
	ada := browser(t)
	moveIn(t, ada, n.a.url, "ada@example.org")
	follow(t, ada, "", "room:one", n.a).joined(t)
	left := follow(t, ada, "", "room:one", n.b).joined(t)
	require.Len(t, left.present(t), 2)
	n.a.kill()
	killed := time.Now()
	for {
		present := left.present(t)
		require.Contains(t, present, left.client)
		if len(present) == 1 {
			break
		}
		require.Less(t, time.Since(killed), 35*time.Second)
		time.Sleep(250 * time.Millisecond)
	}
	t.Logf("R10 the killed node's presence was gone after %v", time.Since(killed))
}
