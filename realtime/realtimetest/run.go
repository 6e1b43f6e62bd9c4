package realtimetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

// System is what the brokers of several nodes share. It is fresh and empty for
// each rule.
type System struct {
	// Open returns another node's broker on the system: always the same one where
	// nodes share a value, as those of a process do a MemoryBroker. What must end
	// ends by t.Cleanup.
	Open func() realtime.Broker

	// Lose makes the system forget everything it keeps. nil: it can't, and H9 is
	// skipped.
	Lose func()
}

// Options of [Run]. Zero means the default.
type Options struct {
	// TTL is how long the rules about time let things live. Defaults to 1 second.
	TTL time.Duration

	// FakeTime runs each rule in a bubble of testing/synctest: for brokers without
	// real I/O.
	FakeTime bool
}

// Run checks the systems that newSystem makes against the rules of this
// package, one subtest a rule. Rules of interfaces that the brokers don't have
// are skipped.
func Run(t *testing.T, newSystem func(t *testing.T) System, o *Options) {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	for _, r := range rules {
		t.Run(r.id, func(t *testing.T) {
			if o.FakeTime {
				synctest.Test(t, func(t *testing.T) { r.run(t, newSystem(t), o) })
				return
			}
			r.run(t, newSystem(t), o)
		})
	}
}

func (r rule) run(t *testing.T, s System, o *Options) {
	if why := r.lacks(s); why != "" {
		t.Skip(why)
	}
	check(t.Context(), t, r, s, o)
}

// lacks says what a system would need for a rule.
func (r rule) lacks(s System) string {
	b, ok := s.Open(), true
	switch r.id[0] {
	case 'H':
		_, ok = b.(realtime.History)
	case 'P':
		_, ok = b.(realtime.Presence)
	case 'C':
		_, ok = b.(realtime.Control)
	}
	switch {
	case !ok:
		return "the broker has no such ability"
	case r.id == "H9" && s.Lose == nil:
		return "the system can't lose what it keeps"
	}
	return ""
}

func check(ctx context.Context, tb tb, r rule, s System, o *Options) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	run := &run{tb: tb, ctx: ctx, rule: r.id + ". " + r.sentence, system: s, ttl: cmp.Or(o.TTL, time.Second)}
	defer run.end()
	r.check(run)
}

// rule is one rule with its check.
type rule struct {
	id       string
	sentence string
	check    func(r *run)
}

var rules = slices.Concat(brokerRules, historyRules, presenceRules, controlRules)

// tb is what a check needs of testing.T, so that the checks can be tried on
// brokers that break the rules.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// run is one check under way.
type run struct {
	tb
	ctx    context.Context
	rule   string
	system System
	ttl    time.Duration
	links  []realtime.Link
}

// patience is how long anything that must happen may take.
const patience = 20 * time.Second

// must fails the check unless ok.
func (r *run) must(ok bool, format string, args ...any) {
	r.Helper()
	if !ok {
		r.Fatalf("rule "+r.rule+"\n"+format, args...)
	}
}

func (r *run) ok(err error) {
	r.Helper()
	r.must(err == nil, "an error: %v", err)
}

// until waits for something that must happen.
func (r *run) until(done func() bool, format string, args ...any) {
	r.Helper()
	for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
		r.must(time.Since(start) < patience, format, args...)
	}
}

// nodes opens n brokers, each with a link that writes down what it gets.
func (r *run) nodes(n int) []*node {
	r.Helper()
	list := make([]*node, n)
	for i := range list {
		list[i] = r.attach(r.system.Open(), &tape{})
	}
	return list
}

func (r *run) attach(b realtime.Broker, t *tape) *node {
	r.Helper()
	link, err := b.Attach(t)
	r.ok(err)
	r.links = append(r.links, link)
	return &node{Broker: b, Link: link, tape: t}
}

func (r *run) end() {
	for _, l := range r.links {
		_ = l.Close()
	}
}

// subscribe subscribes every node to a channel.
func (r *run) subscribe(channel string, nodes ...*node) {
	r.Helper()
	for _, n := range nodes {
		r.ok(n.Subscribe(r.ctx, channel))
	}
}

// publish publishes a text in a channel.
func (r *run) publish(b realtime.Broker, channel, text string) {
	r.Helper()
	r.ok(b.Publish(r.ctx, channel, publication(text)))
}

func publication(text string) realtime.Event {
	return realtime.Event{Kind: realtime.EventPublication, Publication: realtime.Publication{Data: []byte(`"` + text + `"`), Time: time.Now()}}
}

// got waits for texts in a channel and fails on any others. It looks again after
// a marker has come, published behind whatever else was.
func (r *run) got(n *node, channel string, want ...string) {
	r.Helper()
	r.until(func() bool { return len(n.texts(channel)) >= len(want) }, "channel %q: got %q, want %q", channel, last(n, channel), &want)
	got := n.texts(channel)
	r.must(slices.Equal(got, want), "channel %q: got %q, want %q", channel, got, want)
}

// last prints what a node has got, at the time of printing.
func last(n *node, channel string) fmt.Stringer {
	return printer(func() string { return fmt.Sprintf("%q", n.texts(channel)) })
}

type printer func() string

func (p printer) String() string { return p() }

// settle waits until what was published before has arrived at all nodes, by
// markers that each publishes in a channel of its own for the purpose.
func (r *run) settle(nodes ...*node) {
	r.Helper()
	r.subscribe("settle", nodes...)
	for i, n := range nodes {
		r.publish(n, "settle", fmt.Sprint("from ", i))
	}
	for _, n := range nodes {
		r.until(func() bool { return len(n.texts("settle")) >= len(nodes) }, "a node hears nothing")
	}
	time.Sleep(50 * time.Millisecond)
}

// node is a broker with a link.
type node struct {
	realtime.Broker
	realtime.Link
	*tape
}

func (n *node) history() realtime.History   { return n.Broker.(realtime.History) }
func (n *node) presence() realtime.Presence { return n.Broker.(realtime.Presence) }
func (n *node) control() realtime.Control   { return n.Broker.(realtime.Control) }

// tape is a handler that writes down what it gets.
type tape struct {
	mu       sync.Mutex
	events   map[string][]realtime.Event
	messages []string
	slow     time.Duration
	inside   int
	most     int // Deliver at once
}

func (t *tape) Deliver(channel string, e realtime.Event) {
	t.mu.Lock()
	t.inside++
	t.most = max(t.most, t.inside)
	slow := t.slow
	t.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside--
	if t.events == nil {
		t.events = map[string][]realtime.Event{}
	}
	t.events[channel] = append(t.events[channel], e)
}

func (t *tape) Gap([]string) {}

func (t *tape) Control(message []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.messages = append(t.messages, string(message))
}

// of returns what has come in a channel.
func (t *tape) of(channel string) []realtime.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.events[channel])
}

// texts returns the texts of what has come in a channel.
func (t *tape) texts(channel string) []string {
	return texts(t.of(channel))
}

func texts(events []realtime.Event) (list []string) {
	for _, e := range events {
		data := e.Publication.Data
		list = append(list, string(data[min(1, len(data)):max(1, len(data)-1)]))
	}
	return list
}

func (t *tape) told() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.messages)
}

// channels returns how many channels something has come in.
func (t *tape) channels() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.events)
}
