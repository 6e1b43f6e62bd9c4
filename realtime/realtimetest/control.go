package realtimetest

import (
	"slices"
	"strings"
	"sync"
	"time"
)

var controlRules = []rule{
	{"C1", "Broadcast reaches every link once, the sender's too.", checkC1},
	{"C2", "Messages of one sender arrive in order.", checkC2},
	{"C3", "Control needs no subscription, and a link that is closed gets nothing.", checkC3},
}

// warm broadcasts until every node has heard something: Attach returns before
// there is a connection.
func (r *run) warm(nodes ...*node) {
	r.Helper()
	for _, sender := range nodes {
		r.until(func() bool {
			r.ok(sender.control().Broadcast(r.ctx, []byte("warm")))
			time.Sleep(20 * time.Millisecond)
			return !slices.ContainsFunc(nodes, func(n *node) bool { return len(n.told()) == 0 })
		}, "a node gets no control message")
	}
}

// heard returns the messages that begin so.
func heard(n *node, prefix string) []string {
	return slices.DeleteFunc(n.told(), func(m string) bool { return !strings.HasPrefix(m, prefix) })
}

// fence waits until what was broadcast before has arrived.
func (r *run) fence(mark string, sender *node, nodes ...*node) {
	r.Helper()
	r.ok(sender.control().Broadcast(r.ctx, []byte(mark)))
	for _, n := range nodes {
		r.until(func() bool { return len(heard(n, mark)) > 0 }, "a node gets no control message")
	}
	time.Sleep(50 * time.Millisecond)
}

func checkC1(r *run) {
	n := r.nodes(3)
	r.warm(n...)
	message := "m\x00\xff\n" + strings.Repeat("z", 50_000)
	r.ok(n[0].control().Broadcast(r.ctx, []byte(message)))
	r.ok(n[1].control().Broadcast(r.ctx, []byte("m2")))
	r.fence("end 0", n[0], n...)
	r.fence("end 1", n[1], n...)
	for i := range n {
		got := heard(n[i], "m")
		slices.Sort(got)
		r.must(slices.Equal(got, []string{message, "m2"}), "a node got %.100q", got)
	}
}

func checkC2(r *run) {
	n := r.nodes(2)
	r.warm(n...)
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, prefix := range []string{"a", "b"} {
		wg.Go(func() {
			for _, m := range numbered(prefix, burst) {
				if err := n[i].control().Broadcast(r.ctx, []byte(m)); err != nil {
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	r.ok(errs[0])
	r.ok(errs[1])
	r.fence("end 0", n[0], n...)
	r.fence("end 1", n[1], n...)
	for i := range n {
		for _, prefix := range []string{"a", "b"} {
			got := heard(n[i], prefix)
			r.must(slices.Equal(got, numbered(prefix, burst)), "of one sender a node got %q", got)
		}
	}
}

func checkC3(r *run) {
	n := r.nodes(3)
	r.warm(n...)
	r.subscribe("room", n[0])
	r.ok(n[0].Unsubscribe(r.ctx, "room"))
	r.ok(n[2].Close())
	before := len(n[2].told())
	r.fence("now", n[1], n[0], n[1])
	r.must(len(n[2].told()) == before, "a control message arrives at a closed link")
	r.must(n[0].channels()+n[1].channels() == 0, "a control message arrives as an event")
}
