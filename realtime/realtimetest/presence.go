package realtimetest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

var presenceRules = []rule{
	{"P1", "Who has entered is listed with all fields and counted, by every node; who has left is not.", checkP1},
	{"P2", "Leave takes off only what its node has entered.", checkP2},
	{"P3", "Without a beat, what a node has entered is listed for ttl, and no longer.", checkP3},
	{"P4", "Beat keeps everything its node has entered for ttl from then on, and nothing of others.", checkP4},
	{"P5", "List returns at most limit clients.", checkP5},
	{"P6", "A client that enters again is listed once, at all times, under the node where it entered last.", checkP6},
}

const long = time.Hour

func client(id, user string) realtime.ClientInfo {
	return realtime.ClientInfo{Client: id, User: user, Info: []byte(`{"of":"` + id + `"}`)}
}

// present returns who is listed, by their ids.
func (r *run) present(n *node, channel string) []realtime.ClientInfo {
	r.Helper()
	list, err := n.presence().List(r.ctx, channel, 1000)
	r.ok(err)
	slices.SortFunc(list, func(a, b realtime.ClientInfo) int { return cmp.Compare(a.Client, b.Client) })
	return list
}

// are fails unless exactly these are listed and counted.
func (r *run) are(n *node, channel string, want ...realtime.ClientInfo) {
	r.Helper()
	list := r.present(n, channel)
	r.must(len(list) == len(want) && (len(want) == 0 || reflect.DeepEqual(list, want)), "channel %q: List returns %v, want %v", channel, list, want)
	users := map[string]bool{}
	for _, c := range want {
		users[c.User] = true
	}
	clients, count, err := n.presence().Stats(r.ctx, channel)
	r.ok(err)
	r.must(clients == len(want) && count == len(users), "channel %q: Stats returns %d clients of %d users, want %d of %d", channel, clients, count, len(want), len(users))
}

func checkP1(r *run) {
	n := r.nodes(2)
	a, b, c := client("a", "u:1"), client("b 2", "u:1"), realtime.ClientInfo{Client: "c:3{x}", User: "ü 2"}
	r.are(n[0], "room")
	r.ok(n[0].presence().Enter(r.ctx, "node 1", "room", a, long))
	r.ok(n[1].presence().Enter(r.ctx, "node:2", "room", b, long))
	r.ok(n[1].presence().Enter(r.ctx, "node:2", "room", c, long))
	r.ok(n[1].presence().Enter(r.ctx, "node:2", "Room", a, long))
	for i := range n {
		r.are(n[i], "room", a, b, c)
		r.are(n[i], "Room", a)
		r.are(n[i], "elsewhere")
	}
	r.ok(n[1].presence().Leave(r.ctx, "node:2", "room", b.Client))
	r.ok(n[1].presence().Leave(r.ctx, "node:2", "room", "never there"))
	for i := range n {
		r.are(n[i], "room", a, c)
	}
	r.ok(n[0].presence().Leave(r.ctx, "node 1", "room", a.Client))
	r.ok(n[1].presence().Leave(r.ctx, "node:2", "room", c.Client))
	r.are(n[0], "room")
	r.are(n[0], "Room", a)

	// Many, from everywhere.
	var want []realtime.ClientInfo
	for i := range 700 {
		want = append(want, client(fmt.Sprintf("c%04d", i), fmt.Sprint("u", i%30)))
	}
	r.each(want, func(i int) error {
		return n[i%2].presence().Enter(r.ctx, fmt.Sprint("n", i%2), "many", want[i], long)
	})
	r.are(n[0], "many", want...)
	r.each(want, func(i int) error {
		return n[i%2].presence().Leave(r.ctx, fmt.Sprint("n", i%2), "many", want[i].Client)
	})
	r.are(n[1], "many")
}

// each calls f for each of a list, some at once.
func (r *run) each(list []realtime.ClientInfo, f func(i int) error) {
	r.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(list))
	var next atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				errs[i] = f(i)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		r.ok(err)
	}
}

func checkP2(r *run) {
	n := r.nodes(2)
	a, b := client("a", "1"), client("b", "2")
	r.ok(n[0].presence().Enter(r.ctx, "n1", "room", a, long))
	r.ok(n[1].presence().Enter(r.ctx, "n12", "room", b, long))
	r.ok(n[1].presence().Leave(r.ctx, "n12", "room", "a"))
	r.ok(n[1].presence().Leave(r.ctx, "n1", "room", "b"))
	r.are(n[0], "room", a, b)
	r.ok(n[0].presence().Leave(r.ctx, "n1", "room", "a"))
	r.are(n[0], "room", b)
}

func checkP3(r *run) {
	n := r.nodes(2)
	r.ok(n[1].presence().Enter(r.ctx, "lives", "room", client("lives", "2"), long))
	before := time.Now()
	r.ok(n[0].presence().Enter(r.ctx, "dies", "room", client("dies", "1"), r.ttl))
	after := time.Now()
	for gone := false; !gone; time.Sleep(r.ttl / 20) {
		asked := time.Now()
		list := r.present(n[1], "room")
		gone = !slices.ContainsFunc(list, func(c realtime.ClientInfo) bool { return c.Client == "dies" })
		r.must(!gone || time.Since(before) >= r.ttl-slack, "gone %v after it entered with a ttl of %v", time.Since(before), r.ttl)
		r.must(gone || asked.Sub(after) < r.ttl+slack, "listed %v after its node has entered with a ttl of %v", asked.Sub(after), r.ttl)
	}
	r.are(n[0], "room", client("lives", "2"))
	// Also after others have cleared away.
	for range 5 {
		r.ok(n[1].presence().Beat(r.ctx, "lives", r.ttl))
		time.Sleep(r.ttl / 2)
		r.ok(n[1].presence().Beat(r.ctx, "lives", long))
		r.are(n[0], "room", client("lives", "2"))
	}
}

func checkP4(r *run) {
	n := r.nodes(2)
	a, b, c := client("a", "1"), client("b", "2"), client("c", "3")
	r.ok(n[0].presence().Enter(r.ctx, "beats", "room", a, r.ttl))
	r.ok(n[0].presence().Enter(r.ctx, "beats", "room", b, r.ttl))
	r.ok(n[0].presence().Enter(r.ctx, "beats", "other", c, r.ttl))
	r.ok(n[1].presence().Enter(r.ctx, "silent", "room", client("x", "9"), r.ttl))
	silent := time.Now()
	for range 8 {
		beat := time.Now()
		r.ok(n[0].presence().Beat(r.ctx, "beats", r.ttl))
		for time.Since(beat) < r.ttl/3 {
			asked := time.Now()
			room, other := r.present(n[1], "room"), r.present(n[1], "other")
			ghost := slices.ContainsFunc(room, func(c realtime.ClientInfo) bool { return c.Client == "x" })
			r.must(!ghost || asked.Sub(silent) < r.ttl+slack, "the beat of one node keeps another's")
			room = slices.DeleteFunc(room, func(c realtime.ClientInfo) bool { return c.Client == "x" })
			late := time.Since(beat) > r.ttl-slack
			r.must(late || len(room) == 2 && len(other) == 1, "%v after a beat %v and %v are listed", time.Since(beat), room, other)
			time.Sleep(r.ttl / 20)
		}
	}
	r.ok(n[0].presence().Beat(r.ctx, "beats", r.ttl))
	last := time.Now()
	for gone := false; !gone; time.Sleep(r.ttl / 20) {
		asked := time.Now()
		gone = len(r.present(n[1], "room"))+len(r.present(n[1], "other")) == 0
		r.must(gone || asked.Sub(last) < r.ttl+slack, "listed %v after the last beat", asked.Sub(last))
	}
}

func checkP5(r *run) {
	n := r.nodes(1)
	for i := range 20 {
		r.ok(n[0].presence().Enter(r.ctx, "n", "room", client(fmt.Sprintf("c%02d", i), "u"), long))
	}
	for _, limit := range []int{0, 1, 7, 20, 100} {
		list, err := n[0].presence().List(r.ctx, "room", limit)
		r.ok(err)
		seen := map[string]bool{}
		for _, c := range list {
			seen[c.Client] = true
		}
		r.must(len(list) == min(limit, 20) && len(seen) == len(list), "List with limit %d returns %d, %d of them different", limit, len(list), len(seen))
	}
	clients, users, err := n[0].presence().Stats(r.ctx, "room")
	r.ok(err)
	r.must(clients == 20 && users == 1, "Stats returns %d clients of %d users, want 20 of 1", clients, users)
}

func checkP6(r *run) {
	n := r.nodes(2)
	a := client("a", "1")
	r.ok(n[0].presence().Enter(r.ctx, "n1", "room", a, long))
	for range 20 {
		r.ok(n[0].presence().Enter(r.ctx, "n1", "room", a, long))
		r.are(n[1], "room", a)
	}
	// It moves to another node, and the leave of the first comes late.
	a.Info = []byte(`{"of":"another"}`)
	r.ok(n[1].presence().Enter(r.ctx, "n2", "room", a, long))
	r.are(n[0], "room", a)
	r.ok(n[0].presence().Leave(r.ctx, "n1", "room", "a"))
	r.are(n[0], "room", a)
	// It comes back as soon as it has left.
	r.ok(n[1].presence().Leave(r.ctx, "n2", "room", "a"))
	r.ok(n[1].presence().Enter(r.ctx, "n2", "room", a, long))
	r.are(n[0], "room", a)
	r.ok(n[1].presence().Leave(r.ctx, "n2", "room", "a"))
	r.are(n[0], "room")
}
