package realtimetest

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

var brokerRules = []rule{
	{"B1", "Subscribe returns only once everything published from then on arrives, whoever publishes it.", checkB1},
	{"B2", "Events of one publisher in one channel arrive in order, each once, at every node.", checkB2},
	{"B3", "When Unsubscribe has returned, nothing of the channel arrives any more; others still get it.", checkB3},
	{"B4", "Channels don't mix, and arrive under their own names, whatever those are.", checkB4},
	{"B5", "When Close has returned, nothing arrives any more and no goroutine is left. Close again is no error, Subscribe afterwards is.", checkB5},
	{"B6", "Every field of an event arrives as it was published.", checkB6},
	{"B7", "Publishing and subscribing at once, from everywhere, loses and doubles nothing for who is subscribed.", checkB7},
	{"B8", "A handler that takes its time gets all events of a channel, one after another, in order.", checkB8},
	{"B9", "With its context cancelled every method returns soon, and everything works afterwards.", checkB9},
}

func checkB1(r *run) {
	n := r.nodes(2)
	for i := range 50 {
		channel := fmt.Sprint("room:", i)
		r.subscribe(channel, n[0])
		r.publish(n[i%2], channel, "first")
		r.got(n[0], channel, "first")
	}
	// Also right after an end.
	r.ok(n[0].Unsubscribe(r.ctx, "room:0"))
	r.subscribe("room:0", n[0])
	r.publish(n[1], "room:0", "second")
	r.got(n[0], "room:0", "first", "second")
	// Subscribing twice is subscribing once.
	r.subscribe("room:0", n[0])
	r.publish(n[1], "room:0", "third")
	r.settle(n...)
	r.got(n[0], "room:0", "first", "second", "third")
}

const burst = 200

func numbered(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s%d", prefix, i))
	}
	return list
}

func checkB2(r *run) {
	n := r.nodes(2)
	r.subscribe("room", n...)
	var wg sync.WaitGroup
	errs := make(chan error, 2*burst)
	for i, prefix := range []string{"a", "b"} {
		wg.Go(func() {
			for _, text := range numbered(prefix, burst) {
				errs <- n[i].Publish(r.ctx, "room", publication(text))
			}
		})
	}
	wg.Wait()
	for range 2 * burst {
		r.ok(<-errs)
	}
	r.settle(n...)
	for i := range n {
		r.until(func() bool { return len(n[i].of("room")) >= 2*burst }, "a node got %d events, want %d", printer(func() string { return fmt.Sprint(len(n[i].of("room"))) }), 2*burst)
		for _, prefix := range []string{"a", "b"} {
			got := slices.DeleteFunc(n[i].texts("room"), func(s string) bool { return !strings.HasPrefix(s, prefix) })
			r.must(slices.Equal(got, numbered(prefix, burst)), "a node got %q", got)
		}
	}
}

func checkB3(r *run) {
	n := r.nodes(2)
	r.subscribe("room", n...)
	r.publish(n[0], "room", "1")
	r.got(n[0], "room", "1")
	r.ok(n[0].Unsubscribe(r.ctx, "room"))
	r.publish(n[0], "room", "2")
	r.publish(n[1], "room", "3")
	r.settle(n...)
	r.got(n[1], "room", "1", "2", "3")
	r.got(n[0], "room", "1")
	r.subscribe("room", n[0])
	r.publish(n[1], "room", "4")
	r.got(n[0], "room", "1", "4")

	// In full flow, nothing arrives after the return.
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			_ = n[1].Publish(r.ctx, "flow", publication("x"))
			time.Sleep(100 * time.Microsecond)
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	for range 20 {
		r.subscribe("flow", n[0])
		before := len(n[0].of("flow"))
		r.until(func() bool { return len(n[0].of("flow")) > before }, "nothing arrives")
		r.ok(n[0].Unsubscribe(r.ctx, "flow"))
		count := len(n[0].of("flow"))
		time.Sleep(5 * time.Millisecond)
		r.must(len(n[0].of("flow")) == count, "an event arrives after Unsubscribe has returned")
	}
	// What was not subscribed to can be unsubscribed from.
	r.ok(n[0].Unsubscribe(r.ctx, "never"))
}

// names are channels that must not be mixed up.
func names() []string {
	return []string{
		"room", "Room", "room:", "room:1", "room:1 ", " room:1", "room 1", "room%201", "room+1", "room.1", "room/1", "room\\1", "room\"1",
		"{room}", "a{room}", "b{room}", "{room}:1", "room{", "room}", "{}", "{}room", "{{room}}", "}{",
		"room*", "roo?", "[r]oom", "room:*", "*", ">", "room.>", "room.*", "$room", "@room", "#room", "-", "0", "null",
		"комната", "комната ", "房间", "é", "e\u0301", "\U0001F6AA", "ro\tom", "ro\x00om", "\xff\xfe",
		strings.Repeat("x", 254) + "a", strings.Repeat("x", 254) + "b", strings.Repeat("ü", 127) + "z",
	}
}

func checkB4(r *run) {
	n := r.nodes(2)
	all := names()
	for i, channel := range all {
		r.subscribe(channel, n[i%2])
	}
	for i, channel := range all {
		r.publish(n[(i/2)%2], channel, fmt.Sprint(i))
	}
	r.settle(n...)
	for i, channel := range all {
		r.got(n[i%2], channel, fmt.Sprint(i))
		r.must(len(n[1-i%2].of(channel)) == 0, "channel %q arrives where it isn't subscribed to", channel)
	}
	for i := range n {
		got, want := n[i].channels(), (len(all)+1-i)/2+1
		r.must(got == want, "events arrive in %d channels, want %d", got, want)
	}
	h, ok := n[0].Broker.(realtime.History)
	if !ok {
		return
	}
	keep := realtime.Keep{Size: 10, TTL: time.Hour}
	for i, channel := range all {
		_, err := h.Append(r.ctx, channel, publication(fmt.Sprint(i)).Publication, keep)
		r.ok(err)
	}
	for i, channel := range all {
		pubs, top, err := h.Read(r.ctx, channel, realtime.ReadFilter{Limit: 10, Keep: keep})
		r.ok(err)
		r.must(top.Offset == 1 && len(pubs) == 1 && string(pubs[0].Data) == fmt.Sprintf("%q", fmt.Sprint(i)), "the history of %q has %v", channel, pubs)
	}
}

func checkB5(r *run) {
	n := r.nodes(2)
	cycle := func() *node {
		x := r.attach(n[0].Broker, &tape{})
		r.subscribe("room", x)
		r.publish(x, "room", "here")
		r.until(func() bool { return len(x.of("room")) > 0 }, "nothing arrives")
		r.ok(x.Close())
		return x
	}
	r.subscribe("room", n[1])
	x := cycle()
	before := len(x.of("room"))
	r.publish(n[1], "room", "late")
	r.settle(n...)
	r.must(len(x.of("room")) == before, "an event arrives after Close has returned")
	r.ok(x.Close())
	r.must(x.Subscribe(r.ctx, "room") != nil, "Subscribe of a closed link returns no error")
	r.publish(n[1], "room", "later")
	r.settle(n...)
	r.must(len(x.of("room")) == before, "an event arrives at a closed link")

	goroutines := runtime.NumGoroutine()
	for range 10 {
		cycle()
	}
	r.until(func() bool { return runtime.NumGoroutine() < goroutines+5 }, "goroutines are left: %d before, %v after", goroutines, printer(func() string { return fmt.Sprint(runtime.NumGoroutine()) }))
}

func checkB6(r *run) {
	n := r.nodes(2)
	r.subscribe("room", n...)
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_012_345, time.UTC)
	who := realtime.ClientInfo{Client: "c 1\n", User: "u:1 ü", Info: []byte(`{"a": "<b> & \n"}`)}
	events := []realtime.Event{
		{Kind: realtime.EventPublication, Publication: realtime.Publication{Data: []byte(`{"text":  "<ü>\u2028 \n"}`), Time: at}},
		{Kind: realtime.EventPublication, Publication: realtime.Publication{Offset: 1<<63 + 7, Epoch: "e 1\n:", Data: []byte(`"` + strings.Repeat("y", 100_000) + `"`), Info: &who, Time: at}},
		{Kind: realtime.EventPublication, Publication: realtime.Publication{Data: []byte("\x00\xff not JSON\n"), Info: &realtime.ClientInfo{}}},
		{Kind: realtime.EventPublication, Publication: realtime.Publication{Time: time.Unix(-5, 7)}},
		{Kind: realtime.EventJoin, Client: who},
		{Kind: realtime.EventLeave, Client: realtime.ClientInfo{Client: "c2", User: ""}},
	}
	for _, e := range events {
		r.ok(n[0].Publish(r.ctx, "room", e))
	}
	for i := range n {
		r.until(func() bool { return len(n[i].of("room")) >= len(events) }, "not all arrive")
		for k, e := range n[i].of("room") {
			r.same(e, events[k])
		}
	}
	h, ok := n[0].Broker.(realtime.History)
	if !ok {
		return
	}
	keep := realtime.Keep{Size: 10, TTL: time.Hour}
	p := realtime.Publication{Data: events[0].Publication.Data, Info: &who, Time: time.Now()}
	top, err := h.Append(r.ctx, "room", p, keep)
	r.ok(err)
	p.Offset, p.Epoch = top.Offset, top.Epoch
	pubs, _, err := h.Read(r.ctx, "room", realtime.ReadFilter{Limit: 10, Keep: keep})
	r.ok(err)
	r.must(len(pubs) == 1, "the history has %d publications, want 1", len(pubs))
	want := realtime.Event{Kind: realtime.EventPublication, Publication: p}
	r.same(realtime.Event{Kind: realtime.EventPublication, Publication: pubs[0]}, want)
	for i := range n {
		r.until(func() bool { return len(n[i].of("room")) > len(events) }, "what was appended doesn't arrive")
		r.same(n[i].of("room")[len(events)], want)
	}
}

// same fails unless two events are equal. No data and empty data are the same,
// and so is one instant in another location.
func (r *run) same(got, want realtime.Event) {
	r.Helper()
	for _, e := range []*realtime.Event{&got, &want} {
		r.must(e == &want || e.Publication.Time.Equal(want.Publication.Time), "Time is %v, want %v", got.Publication.Time, want.Publication.Time)
		e.Publication.Time = time.Time{}
		if len(e.Publication.Data) == 0 {
			e.Publication.Data = nil
		}
		if e.Publication.Info != nil {
			info := *e.Publication.Info
			if len(info.Info) == 0 {
				info.Info = nil
			}
			e.Publication.Info = &info
		}
		if len(e.Client.Info) == 0 {
			e.Client.Info = nil
		}
	}
	r.must(reflect.DeepEqual(got, want), "got %.300v, want %.300v", got, want)
}

func checkB7(r *run) {
	n := r.nodes(4)
	const channels, each = 5, 50
	for c := range channels {
		r.subscribe(fmt.Sprint("room:", c), n[c%2], n[2])
	}
	var wg sync.WaitGroup
	errs := make(chan error, 4*channels*each*3)
	for i := range n {
		for c := range channels {
			wg.Go(func() {
				for k := range each {
					errs <- n[i].Publish(r.ctx, fmt.Sprint("room:", c), publication(fmt.Sprintf("%d.%d", i, k)))
				}
			})
		}
		// Meanwhile others come and go.
		wg.Go(func() {
			for k := range each {
				channel := fmt.Sprint("room:", k%channels)
				if i == 3 {
					errs <- n[i].Subscribe(r.ctx, channel)
					errs <- n[i].Unsubscribe(r.ctx, channel)
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		r.ok(err)
	}
	r.settle(n...)
	for c := range channels {
		channel := fmt.Sprint("room:", c)
		for _, x := range []*node{n[c%2], n[2]} {
			r.until(func() bool { return len(x.of(channel)) >= 4*each }, "%d events arrive, want %d", printer(func() string { return fmt.Sprint(len(x.of(channel))) }), 4*each)
			got := x.texts(channel)
			for i := range n {
				own := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasPrefix(s, fmt.Sprint(i, ".")) })
				r.must(slices.Equal(own, numbered(fmt.Sprint(i, "."), each)), "of one publisher arrive %q", own)
			}
		}
	}
}

func checkB8(r *run) {
	slow := r.attach(r.system.Open(), &tape{slow: 2 * time.Millisecond})
	n := r.nodes(1)
	r.subscribe("room", slow)
	texts := numbered("", 100)
	for _, text := range texts {
		r.publish(n[0], "room", text)
	}
	r.got(slow, "room", texts...)
	slow.mu.Lock()
	defer slow.mu.Unlock()
	r.must(slow.most == 1, "Deliver is called %d times at once", slow.most)
}

func checkB9(r *run) {
	n := r.nodes(1)
	r.subscribe("room", n[0])
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	calls := map[string]func(){
		"Publish":     func() { _ = n[0].Publish(ctx, "room", publication("maybe")) },
		"Subscribe":   func() { _ = n[0].Subscribe(ctx, "other") },
		"Unsubscribe": func() { _ = n[0].Unsubscribe(ctx, "other") },
	}
	keep := realtime.Keep{Size: 10, TTL: time.Hour}
	if h, ok := n[0].Broker.(realtime.History); ok {
		calls["Append"] = func() { _, _ = h.Append(ctx, "history", publication("maybe").Publication, keep) }
		calls["Read"] = func() { _, _, _ = h.Read(ctx, "history", realtime.ReadFilter{Limit: 1, Keep: keep}) }
	}
	if p, ok := n[0].Broker.(realtime.Presence); ok {
		calls["Enter"] = func() { _ = p.Enter(ctx, "n", "room", realtime.ClientInfo{Client: "c"}, time.Hour) }
		calls["Leave"] = func() { _ = p.Leave(ctx, "n", "room", "c") }
		calls["Beat"] = func() { _ = p.Beat(ctx, "n", time.Hour) }
		calls["List"] = func() { _, _ = p.List(ctx, "room", 1) }
		calls["Stats"] = func() { _, _, _ = p.Stats(ctx, "room") }
	}
	if c, ok := n[0].Broker.(realtime.Control); ok {
		calls["Broadcast"] = func() { _ = c.Broadcast(ctx, []byte("maybe")) }
	}
	for name, call := range calls {
		done := make(chan struct{})
		go func() {
			call()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(patience / 2):
			r.must(false, "%s hangs", name)
		}
	}
	r.subscribe("other", n[0])
	r.publish(n[0], "other", "after")
	r.got(n[0], "other", "after")
}
