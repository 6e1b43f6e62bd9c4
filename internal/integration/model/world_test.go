package model_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/gatewire/gatewire/session"
)

// world is one run: nodes on one store, clients, and the requests under way, of
// which exactly one moves at a time, from one call of the store to the next.
type world struct {
	*ledger
	t         *rapid.T
	raw       session.Store
	strict    bool // the store's answers are compared with the ledger's
	loud      bool
	disagreed bool              // a clock has been wrong
	found     func(what string) // what a violation is told to; nil: it fails the test

	clock     clock
	nodes     []*node
	users     []string
	browsers  []*browser
	devices   []*device
	followers []*follower

	active  []*op
	arrived chan *op
	moment  int
	ops     int
	over    map[string]int // user: moment since which evictions may be owed
	broken  string         // what was violated first
	trace   []string
}

// browser is a cookie jar: what it holds now is the last of held, "" for
// nothing. A tab that loaded long ago sends an older one.
type browser struct{ held []string }

func (b *browser) now() string {
	if len(b.held) == 0 {
		return ""
	}
	return b.held[len(b.held)-1]
}

// device holds the refresh tokens of one sign-in, the newest last.
type device struct{ held []string }

// follower reads the log of ended sessions through one node.
type follower struct {
	node   *node
	cursor string
	from   int // how much of the log it did not want
	seen   []string
	busy   bool
}

// op is a request, or another call of a manager, under way.
type op struct {
	w         *world
	n         int
	name      string
	node      *node
	ctx       context.Context
	cancel    context.CancelFunc
	grant     chan verdict
	at        string // the call it waits for
	done      bool
	faulty    bool // a call has failed, or its client went away
	killed    bool
	start     int       // moment
	from      time.Time // by the node's clock
	presented []*token
	before    map[*life]snapshot
	loads     map[session.Key]bool
	minted    []*token
	marks     map[int]string // mark: the user it was made as
	signing   string         // the user of a sign-in under way
	reason    session.Reason // with which it ends sessions
	kind      string
	logAt     int
}

// snapshot is what a session was when a request that presents it began.
type snapshot struct {
	deadline, seen time.Time
	marks          int
}

func (o *op) String() string { return fmt.Sprintf("request %d (%s)", o.n, o.name) }

// gate waits for the scheduler.
func (o *op) gate(at string) verdict {
	o.at = at
	o.w.arrived <- o
	return <-o.grant
}

// think is a moment in which a handler does something else.
func (o *op) think() {
	switch o.gate("think") {
	case cancelBefore, cancelAfter:
		o.kill()
	}
}

func (o *op) kill() {
	o.killed, o.faulty = true, true
	o.cancel()
}

// begin lets a request run to its first call of the store.
func (w *world) begin(o *op, run func(o *op)) {
	w.ops++
	o.w, o.n = w, w.ops
	o.ctx, o.cancel = context.WithCancel(context.WithValue(context.Background(), opKey{}, o))
	o.grant = make(chan verdict)
	o.start, o.from = w.moment, o.node.now()
	o.before, o.loads, o.marks = make(map[*life]snapshot), make(map[session.Key]bool), make(map[int]string)
	for _, t := range o.presented {
		o.before[t.life] = snapshot{t.life.deadline(), t.life.rec.Seen, len(t.life.marks)}
	}
	o.node.busy++
	w.active = append(w.active, o)
	w.note("%v begins on node %d", o, o.node.n)
	go func() {
		run(o)
		o.done = true
		w.arrived <- o
	}()
	w.wait()
}

// wait returns when the one request that moves has stopped.
func (w *world) wait() {
	o := <-w.arrived
	if o.done {
		o.cancel()
		o.node.busy--
		for i := range w.active {
			if w.active[i] == o {
				w.active = append(w.active[:i], w.active[i+1:]...)
				break
			}
		}
		w.note("%v is over", o)
	}
	// A pause between two attempts took a random time. Nothing that begins
	// now shall depend on it.
	if w.clock.fake {
		if rest := time.Since(epoch) % (50 * time.Millisecond); rest > 0 {
			time.Sleep(50*time.Millisecond - rest)
		}
	}
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) step(o *op, v verdict) {
	if v == proceed {
		w.note("%v: %s", o, o.at)
	} else {
		counts.faults.Add(1)
		w.note("%v: %s, %s", o, o.at, [...]string{"", "fails before", "answer lost", "client gone before", "client gone after", "abort"}[v])
	}
	counts.steps.Add(1)
	if len(w.active) > 1 {
		counts.overlapped.Add(1)
	}
	o.grant <- v
	w.wait()
}

// drain lets everything under way end without further faults.
func (w *world) drain(v verdict) {
	for n := 0; len(w.active) > 0; n++ {
		if n > 5000 && v != abort {
			w.violate("end", "%v does not end", w.active[0])
			v = abort
		}
		w.step(w.active[0], v)
	}
}

func (w *world) violate(rule, format string, args ...any) {
	if w.broken == "" {
		w.broken = rule + ": " + fmt.Sprintf(format, args...)
	}
}

// disagree is a violation by the store alone.
func (w *world) disagree(rule, format string, args ...any) {
	if w.strict {
		w.violate(rule, format, args...)
	}
}

func (w *world) note(format string, args ...any) {
	if w.loud {
		w.trace = append(w.trace, fmt.Sprintf("%4d  ", w.moment)+fmt.Sprintf(format, args...))
	}
}

// name is a session for people: random ids would make one failure look like many.
func (w *world) name(id string) string {
	if l := w.lives[id]; l != nil {
		return fmt.Sprintf("s%d", l.n)
	}
	return "an unknown session"
}

// judge ends the run when something is broken.
func (w *world) judge() {
	if w.broken != "" {
		if w.found != nil {
			w.found(w.broken)
			panic(errFound)
		}
		loud.Store(true)
		for _, line := range w.trace {
			w.t.Log(line)
		}
		w.t.Fatalf("%s", w.broken)
	}
}

// counts are figures of all runs of this process.
var counts struct{ runs, faultyRuns, steps, overlapped, faults, requests atomic.Int64 }

func figures() string {
	return fmt.Sprintf("%d runs, %d of them with faults; %d requests, %d steps, %d of them with other requests under way, %d faults",
		counts.runs.Load(), counts.faultyRuns.Load(), counts.requests.Load(), counts.steps.Load(), counts.overlapped.Load(), counts.faults.Load())
}

var worlds atomic.Int64

// simulate is one run on a store. Nothing is left of it but the log and epochs.
func simulate(t *rapid.T, raw session.Store, fake, strict bool, found func(string)) {
	w := &world{
		ledger: newLedger(), t: t, raw: raw, strict: strict, loud: loud.Load(), found: found,
		clock: clock{fake: fake}, arrived: make(chan *op), over: make(map[string]int),
	}
	prefix := ""
	if !fake { // the store has seen others
		prefix = fmt.Sprintf("%d-", worlds.Add(1))
	}
	for _, user := range []string{"ann", "bob"} {
		w.users = append(w.users, prefix+user)
	}
	for n := range rapid.IntRange(2, 4).Draw(t, "nodes") {
		nd, err := newNode(w, n)
		if err != nil {
			t.Fatal(err)
		}
		defer nd.m.Close()
		w.setSkew(nd)
		w.nodes = append(w.nodes, nd)
		w.followers = append(w.followers, &follower{node: nd})
	}
	for range 3 {
		w.browsers = append(w.browsers, &browser{})
	}
	for _, user := range w.users {
		w.epochNow(user)
	}
	faultsBefore := counts.faults.Load()
	defer func() {
		if e := recover(); e != nil && e != errFound {
			defer panic(e)
		}
		w.drain(abort)
		if !fake {
			for _, l := range w.order {
				_, _ = raw.End(context.Background(), l.rec.ID, session.ReasonRevoked, time.Now())
			}
		}
		counts.runs.Add(1)
		counts.requests.Add(int64(w.ops))
		if counts.faults.Load() > faultsBefore {
			counts.faultyRuns.Add(1)
		}
	}()
	t.Repeat(map[string]func(*rapid.T){
		"":   func(*rapid.T) { w.judge() },
		"do": func(*rapid.T) { w.do() },
	})
	w.settle()
}

var errFound = errors.New("found what was looked for")

// loud makes runs keep a trace, for when one has failed.
var loud atomic.Bool

var (
	skews = rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, -time.Second, -40 * time.Second, 2 * time.Minute, -4 * time.Minute})
	waits = rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 3 * time.Second, grace + time.Second, touchEvery, 5 * time.Minute,
		idle - time.Second, idle, refreshIdle, absolute - 20*time.Minute, absolute, refreshAbsolute})
	verdicts = rapid.SampledFrom([]verdict{
		proceed, proceed, proceed, proceed, proceed, proceed, proceed, proceed, proceed, proceed, proceed, proceed, proceed, proceed,
		proceed, proceed, proceed, proceed, proceed, proceed, failBefore, failAfter, cancelBefore, cancelAfter,
	})
	idleMenu = rapid.SampledFrom([]string{"start", "start", "start", "start", "start", "start", "wait", "clock"})
	busyMenu = rapid.SampledFrom([]string{"step", "step", "step", "step", "step", "step", "step", "step", "start", "start", "start", "wait"})
	fullMenu = rapid.SampledFrom([]string{"step", "step", "step", "step", "step", "step", "step", "step", "wait"})
)

func (w *world) setSkew(nd *node) {
	nd.skew = skews.Draw(w.t, "skew")
	w.disagreed = w.disagreed || nd.skew != 0
}

// do is one step of the world.
func (w *world) do() {
	menu := busyMenu
	switch len(w.active) {
	case 0:
		menu = idleMenu
	case 4:
		menu = fullMenu
	}
	switch what := menu.Draw(w.t, "what"); what {
	case "start":
		w.startOne()
	case "step":
		o := w.active[rapid.IntRange(0, len(w.active)-1).Draw(w.t, "which")]
		w.step(o, verdicts.Draw(w.t, "verdict"))
	case "wait":
		d := waits.Draw(w.t, "for")
		if len(w.active) > 0 && !w.clock.fake {
			return // see clock
		}
		w.note("%v pass", d)
		w.clock.pass(d)
	case "clock":
		nd := w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(w.t, "node")]
		if nd.busy == 0 {
			w.setSkew(nd)
			w.note("the clock of node %d is wrong by %v", nd.n, nd.skew)
		}
	}
	if w.clock.fake && w.strict && w.moment%8 == 0 { // on a server at the end alone
		w.audit()
	}
}

// settle ends what is under way and looks at all that is left.
func (w *world) settle() {
	w.drain(proceed)
	w.judge()
	for _, user := range w.users {
		if n := len(w.ofUser(user)); n > maxPerUser && w.over[user] == 0 {
			w.violate("S23", "%d sessions of %s, at most %d are allowed", n, strings.TrimLeft(user, "0123456789-"), maxPerUser)
		}
	}
	for _, b := range w.browsers {
		w.startRequest(w.nodes[0], []string{b.now()}, []action{{kind: "auth"}, {kind: "get"}}, nil)
		w.drain(proceed)
	}
	for _, d := range w.devices {
		w.startRefresh(w.nodes[len(w.nodes)-1], d, d.held[len(d.held)-1])
		w.drain(proceed)
	}
	for _, f := range w.followers {
		w.startPoll(f)
		w.drain(proceed)
		if f.cursor != "" {
			w.followed(f)
		}
	}
	if w.strict {
		w.audit()
	}
	w.judge()
}

// followed compares what a follower was told with what ended: each once.
func (w *world) followed(f *follower) {
	times := make(map[string]int)
	for _, id := range f.seen {
		times[id]++
	}
	for i := f.from; i < len(w.log); i++ {
		if times[w.log[i].ID] != 1 {
			w.violate("W1", "the follower of node %d has %s %d times", f.node.n, w.name(w.log[i].ID), times[w.log[i].ID])
		}
	}
	if len(f.seen) != len(w.log)-f.from {
		w.violate("W1", "the follower of node %d has %d sessions, want %d", f.node.n, len(f.seen), len(w.log)-f.from)
	}
	for i, other := range w.followers {
		if other.cursor == "" || len(other.seen) == 0 || len(f.seen) == 0 || i == f.node.n {
			continue
		}
		// The shorter of the two is the end of the other.
		n := min(len(other.seen), len(f.seen))
		for j := 1; j <= n && len(other.seen)+other.from == len(f.seen)+f.from; j++ {
			if other.seen[len(other.seen)-j] != f.seen[len(f.seen)-j] {
				w.violate("W1", "two followers are told different orders")
				return
			}
		}
	}
}
