package realtimetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

var historyRules = []rule{
	{"H1", "Offsets are dense from 1; Append returns the place that is delivered and read.", checkH1},
	{"H2", "What has been delivered can be read at once.", checkH2},
	{"H3", "What several nodes append at once arrives dense and in order, at every node.", checkH3},
	{"H4", "Read goes by Since, Limit and Reverse, and always returns the top.", checkH4},
	{"H5", "A history keeps the newest Keep.Size, and its top counts on.", checkH5},
	{"H6", "A history keeps publications for Keep.TTL, no longer.", checkH6},
	{"H7", "The epoch is one for all nodes and stays; Since of another epoch returns the top alone.", checkH7},
	{"H8", "The top survives the expiry of the publications.", checkH8},
	{"H9", "A history that was lost begins at 1 with another epoch.", checkH9},
}

var plenty = realtime.Keep{Size: 1000, TTL: time.Hour}

func (r *run) append(n *node, channel, text string, keep realtime.Keep) realtime.Position {
	r.Helper()
	at, err := n.history().Append(r.ctx, channel, publication(text).Publication, keep)
	r.ok(err)
	return at
}

func (r *run) read(n *node, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position) {
	r.Helper()
	pubs, top, err := n.history().Read(r.ctx, channel, f)
	r.ok(err)
	return pubs, top
}

func offsets(pubs []realtime.Publication) (list []uint64) {
	for _, p := range pubs {
		list = append(list, p.Offset)
	}
	return list
}

func checkH1(r *run) {
	n := r.nodes(2)
	r.subscribe("room", n...)
	pubs, top := r.read(n[0], "room", realtime.ReadFilter{Limit: 10, Keep: plenty})
	r.must(len(pubs) == 0 && top.Offset == 0 && top.Epoch != "", "an empty history has %v and the top %v", pubs, top)
	epoch := top.Epoch
	for i := range 10 {
		at := r.append(n[i%2], "room", fmt.Sprint(i), plenty)
		r.must(at == realtime.Position{Offset: uint64(i) + 1, Epoch: epoch}, "Append %d returns %v", i+1, at)
	}
	for i := range n {
		pubs, top = r.read(n[i], "room", realtime.ReadFilter{Limit: 100, Keep: plenty})
		r.must(top == realtime.Position{Offset: 10, Epoch: epoch} && len(pubs) == 10, "Read returns %d publications and the top %v", len(pubs), top)
		r.until(func() bool { return len(n[i].of("room")) >= 10 }, "not all arrive")
		for k, e := range n[i].of("room") {
			for _, p := range []realtime.Publication{e.Publication, pubs[k]} {
				r.must(p.Offset == uint64(k)+1 && p.Epoch == epoch && string(p.Data) == fmt.Sprintf(`"%d"`, k), "publication %d is %v", k+1, p)
			}
		}
	}
}

func checkH2(r *run) {
	n := r.nodes(2)
	r.subscribe("room", n[1])
	for i := range 50 {
		done := make(chan error, 1)
		go func() {
			_, err := n[0].history().Append(r.ctx, "room", publication(fmt.Sprint(i)).Publication, plenty)
			done <- err
		}()
		r.until(func() bool { return len(n[1].of("room")) > i }, "what was appended doesn't arrive")
		e := n[1].of("room")[i]
		pubs, top := r.read(n[1], "room", realtime.ReadFilter{Since: &realtime.Position{Offset: e.Publication.Offset - 1, Epoch: e.Publication.Epoch}, Limit: 1, Keep: plenty})
		r.must(len(pubs) == 1 && pubs[0].Offset == e.Publication.Offset && top.Offset >= e.Publication.Offset, "offset %d has been delivered; Read returns %v and the top %v", e.Publication.Offset, pubs, top)
		r.ok(<-done)
	}
}

func checkH3(r *run) {
	n := r.nodes(3)
	r.subscribe("room", n...)
	const writers, each = 6, 40
	var mu sync.Mutex
	var wg sync.WaitGroup
	var given []uint64
	var failed error
	for w := range writers {
		wg.Go(func() {
			for k := range each {
				at, err := n[w%3].history().Append(r.ctx, "room", publication(fmt.Sprintf("%d.%d", w, k)).Publication, plenty)
				mu.Lock()
				given = append(given, at.Offset)
				if err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.ok(failed)
	slices.Sort(given)
	for i, o := range given {
		r.must(o == uint64(i)+1, "Append has returned the offsets %v", given)
	}
	r.settle(n...)
	pubs, _ := r.read(n[0], "room", realtime.ReadFilter{Limit: 1000, Keep: plenty})
	for i := range n {
		r.until(func() bool { return len(n[i].of("room")) >= writers*each }, "not all arrive")
		events := n[i].of("room")
		r.must(len(events) == writers*each && len(pubs) == len(events), "%d events arrive, %d can be read, want %d", len(events), len(pubs), writers*each)
		for k, e := range events {
			r.must(e.Publication.Offset == uint64(k)+1, "the offset %d arrives at place %d", e.Publication.Offset, k+1)
			r.must(string(e.Publication.Data) == string(pubs[k].Data), "offset %d is delivered as %s and read as %s", k+1, e.Publication.Data, pubs[k].Data)
		}
	}
}

func checkH4(r *run) {
	n := r.nodes(1)
	for i := range 10 {
		r.append(n[0], "room", fmt.Sprint(i), realtime.Keep{Size: 6, TTL: time.Hour}) // keeps 5 to 10
	}
	_, top := r.read(n[0], "room", realtime.ReadFilter{Keep: plenty})
	since := func(o uint64) *realtime.Position { return &realtime.Position{Offset: o, Epoch: top.Epoch} }
	for _, c := range []struct {
		since   *realtime.Position
		limit   int
		reverse bool
		want    []uint64
	}{
		{nil, 0, false, nil},
		{nil, 0, true, nil},
		{nil, -1, false, nil},
		{nil, 3, false, []uint64{5, 6, 7}},
		{nil, 100, false, []uint64{5, 6, 7, 8, 9, 10}},
		{nil, 3, true, []uint64{10, 9, 8}},
		{nil, 100, true, []uint64{10, 9, 8, 7, 6, 5}},
		{since(0), 100, false, []uint64{5, 6, 7, 8, 9, 10}},
		{since(3), 2, false, []uint64{5, 6}},
		{since(5), 2, false, []uint64{6, 7}},
		{since(7), 100, false, []uint64{8, 9, 10}},
		{since(7), 0, false, nil},
		{since(10), 100, false, nil},
		{since(11), 100, false, nil},
		{since(1<<64 - 1), 100, false, nil},
		{since(0), 100, true, nil},
		{since(5), 100, true, nil},
		{since(7), 100, true, []uint64{6, 5}},
		{since(7), 1, true, []uint64{6}},
		{since(11), 2, true, []uint64{10, 9}},
		{since(1<<64 - 1), 2, true, []uint64{10, 9}},
		{&realtime.Position{Offset: 8}, 100, false, []uint64{9, 10}}, // without an epoch
	} {
		pubs, at := r.read(n[0], "room", realtime.ReadFilter{Since: c.since, Limit: c.limit, Reverse: c.reverse, Keep: realtime.Keep{Size: 6, TTL: time.Hour}})
		r.must(slices.Equal(offsets(pubs), c.want), "Since %v, Limit %d, Reverse %t: %v, want %v", c.since, c.limit, c.reverse, offsets(pubs), c.want)
		r.must(at == realtime.Position{Offset: 10, Epoch: top.Epoch}, "Since %v, Limit %d, Reverse %t: the top is %v", c.since, c.limit, c.reverse, at)
	}
}

func checkH5(r *run) {
	n := r.nodes(1)
	keep := realtime.Keep{Size: 3, TTL: time.Hour}
	for i := range 8 {
		at := r.append(n[0], "room", fmt.Sprint(i), keep)
		r.must(at.Offset == uint64(i)+1, "Append %d returns %v", i+1, at)
		pubs, top := r.read(n[0], "room", realtime.ReadFilter{Limit: 100, Keep: keep})
		r.must(top == at && len(pubs) == min(i+1, 3) && pubs[len(pubs)-1].Offset == at.Offset, "after %d appended: %v, the top %v", i+1, offsets(pubs), top)
	}
	// A smaller Keep holds from then on.
	pubs, top := r.read(n[0], "room", realtime.ReadFilter{Limit: 100, Keep: realtime.Keep{Size: 1, TTL: time.Hour}})
	r.must(slices.Equal(offsets(pubs), []uint64{8}) && top.Offset == 8, "with a smaller Keep: %v, the top %v", offsets(pubs), top)
	r.append(n[0], "none", "x", realtime.Keep{TTL: time.Hour})
	pubs, top = r.read(n[0], "none", realtime.ReadFilter{Limit: 100, Keep: realtime.Keep{TTL: time.Hour}})
	r.must(len(pubs) == 0 && top.Offset == 1, "with Size 0: %v, the top %v", offsets(pubs), top)
}

// slack is by how much clocks may differ and be rounded.
const slack = 50 * time.Millisecond

func checkH6(r *run) {
	n := r.nodes(1)
	keep := realtime.Keep{Size: 100, TTL: r.ttl}
	for i := range 3 {
		// Another a third later, each with a time of its own to go.
		before := time.Now()
		at := r.append(n[0], "room", fmt.Sprint(i), keep)
		pubs, _ := r.read(n[0], "room", realtime.ReadFilter{Limit: 100, Keep: keep})
		early := time.Since(before) < r.ttl-slack
		r.must(!early || slices.Contains(offsets(pubs), at.Offset), "what was just appended is gone")
		time.Sleep(r.ttl / 3)
	}
	after := time.Now()
	for gone := false; !gone; {
		asked := time.Now()
		pubs, top := r.read(n[0], "room", realtime.ReadFilter{Limit: 100, Keep: keep})
		r.must(top.Offset == 3, "the top is %v, want 3", top)
		for i := 1; i < len(pubs); i++ {
			r.must(pubs[i].Offset == pubs[i-1].Offset+1, "the offsets have holes: %v", offsets(pubs))
		}
		gone = len(pubs) == 0
		r.must(gone || asked.Sub(after) < r.ttl+slack, "publications are there after %v, with a TTL of %v: %v", asked.Sub(after), r.ttl, offsets(pubs))
		time.Sleep(r.ttl / 20)
	}

	// The next one doesn't bring the old ones back, and each goes in its time.
	before := time.Now()
	r.append(n[0], "two", "first", keep)
	first := time.Now()
	time.Sleep(r.ttl * 2 / 3)
	second := time.Now()
	r.append(n[0], "two", "second", keep)
	for time.Since(first) < r.ttl+slack {
		time.Sleep(r.ttl / 20)
	}
	pubs, _ := r.read(n[0], "two", realtime.ReadFilter{Limit: 100, Keep: keep})
	late := time.Since(second) > r.ttl-slack
	r.must(slices.Equal(offsets(pubs), []uint64{2}) || late && len(pubs) == 0, "%v after the first and %v after the second: %v", time.Since(before), time.Since(second), offsets(pubs))
}

func checkH7(r *run) {
	n := r.nodes(3)
	epoch := r.append(n[0], "room", "1", plenty).Epoch
	r.must(epoch != "", "the epoch is empty")
	for i := range 6 {
		at := r.append(n[i%3], "room", "x", plenty)
		r.must(at.Epoch == epoch, "the epoch changes from %q to %q", epoch, at.Epoch)
		_, top := r.read(n[(i+1)%3], "room", realtime.ReadFilter{Keep: plenty})
		r.must(top == at, "the top is %v, want %v", top, at)
	}
	for _, reverse := range []bool{false, true} {
		pubs, top := r.read(n[1], "room", realtime.ReadFilter{Since: &realtime.Position{Offset: 5, Epoch: epoch + "x"}, Limit: 100, Reverse: reverse, Keep: plenty})
		r.must(len(pubs) == 0 && top == realtime.Position{Offset: 7, Epoch: epoch}, "Since of another epoch returns %v and the top %v", offsets(pubs), top)
	}
	other := r.append(n[0], "room:2", "1", plenty)
	r.must(other.Epoch != epoch, "two channels have one epoch")
}

func checkH8(r *run) {
	n := r.nodes(2)
	keep := realtime.Keep{Size: 100, TTL: r.ttl / 4}
	r.append(n[0], "room", "1", keep)
	want := r.append(n[0], "room", "2", keep)
	time.Sleep(r.ttl)
	for i := range n {
		pubs, top := r.read(n[i], "room", realtime.ReadFilter{Since: &want, Limit: 100, Keep: keep})
		r.must(len(pubs) == 0 && top == want, "after the expiry: %v and the top %v, want %v", offsets(pubs), top, want)
	}
	at := r.append(n[1], "room", "3", keep)
	r.must(at == realtime.Position{Offset: 3, Epoch: want.Epoch}, "the next one gets %v", at)
}

func checkH9(r *run) {
	n := r.nodes(2)
	r.append(n[0], "room", "1", plenty)
	old := r.append(n[1], "room", "2", plenty)
	unused := r.append(n[1], "unused", "1", plenty)
	r.system.Lose()
	pubs, top := r.read(n[0], "room", realtime.ReadFilter{Since: &old, Limit: 100, Keep: plenty})
	r.must(len(pubs) == 0 && top.Offset == 0 && top.Epoch != "" && top.Epoch != old.Epoch, "after the loss: %v and the top %v, with the epoch %q before", offsets(pubs), top, old.Epoch)
	at := r.append(n[1], "room", "3", plenty)
	r.must(at == realtime.Position{Offset: 1, Epoch: top.Epoch}, "the next one gets %v, want 1 in %q", at, top.Epoch)
	at = r.append(n[1], "unused", "2", plenty)
	r.must(at.Offset == 1 && at.Epoch != unused.Epoch, "the next one gets %v, with the epoch %q before", at, unused.Epoch)
}
