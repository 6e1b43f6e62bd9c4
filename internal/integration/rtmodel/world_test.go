package rtmodel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/session"
)

// world is one run: nodes, users, their sessions and sockets, and what must be
// true of them. It draws what happens next; everything that was begun goes on
// meanwhile, at a pace of its own.
type world struct {
	t     *rapid.T
	lie   lie
	found func(what string) // what a violation is told to; nil: it fails the test
	began time.Time
	store session.Store
	depot *depot
	nodes []*node
	admin *session.Manager[struct{}] // ends what has expired
	ops   sync.WaitGroup

	mu       sync.Mutex
	pace     *rand.Rand
	lives    []*life
	clients  []*client
	rights   map[right]*access
	data     map[place]string          // what was published there
	putting  map[string]int            // calls of EndUser under way
	put      map[string]time.Time      // when the last returned
	asking   map[string]int            // calls of Reauthorize under way
	asked    map[string]time.Time      // when the last returned
	sent     map[string]time.Time      // when a user was last sent something
	conns    map[string]*realtime.Conn // by id
	ends     map[string]ending         // by id
	failures trouble                   // of the broker
	emptied  time.Time                 // when the broker last lost the histories
	broken   string                    // what was violated first
	trace    []event
}

// place is where a publication is in a history.
type place struct {
	channel, epoch string
	offset         uint64
}

// life is a session.
type life struct {
	n       int
	user    string
	id      string
	cookie  string // "" for a session of tokens
	expires time.Time
	ended   time.Time // zero: it lives
}

func (l *life) String() string { return fmt.Sprintf("s%d of %s", l.n, l.user) }

// over reports whether the session has ended, by now and by itself or not.
func (l *life) over(now time.Time) bool { return !l.ended.IsZero() || !now.Before(l.expires) }

// right is what is granted: a user in a channel.
type right struct{ user, channel string }

// access is what the rule says of a right.
type access struct {
	allowed bool
	unknown bool      // the rule can't tell
	until   time.Time // zero: for good

	version int
	changed time.Time
	last    [2]time.Time // when it was last denied, and unknown, before it changed
	known   map[*node]time.Time
}

// Indexes of access.last.
const (
	lastDenied = iota
	lastUnknown
)

func (a *access) denied(now time.Time) bool {
	return a.unknown || !a.allowed || !a.until.IsZero() && !now.Before(a.until)
}

// since is from when on nobody on a node may get anything any more; zero: the
// node needn't know yet.
func (a *access) since(nd *node, now time.Time) time.Time {
	known, ok := a.known[nd]
	if !ok || !a.denied(now) {
		return time.Time{}
	}
	return a.cutoff(known)
}

// cutoff is since for whoever knows.
func (a *access) cutoff(known time.Time) time.Time {
	if a.allowed && !a.unknown {
		return later(known, a.until.Add(2*wheelTick))
	}
	return known
}

// rule is the one rule of all channels.
func (w *world) rule(_ context.Context, who realtime.Identity, channel string) (realtime.Grant, error) {
	w.nap()
	w.mu.Lock()
	a := *w.rights[right{who.UserID(), channel}]
	slow, open := w.pace.IntN(10) == 0, w.lie.openDesk && channel == served
	for _, c := range w.clients {
		open = open || w.lie.openSlow && c.stall.paused && c.life.user == who.UserID()
	}
	w.mu.Unlock()
	w.nap()
	if slow { // and others are asked, and answer, meanwhile
		for range 10 {
			w.nap()
		}
	}
	switch {
	case open:
		return realtime.Grant{Recover: true}, nil
	case a.unknown:
		return realtime.Grant{}, errDown
	case !a.allowed || !a.until.IsZero() && !time.Now().Before(a.until):
		return realtime.Grant{}, realtime.ErrDenied
	}
	grant := realtime.Grant{Publish: true, Presence: true, JoinLeave: true, History: true, Recover: true, Expires: a.until}
	if w.lie.endlessGrants {
		grant.Expires = time.Time{}
	}
	return grant, nil
}

// nap lets others go first, sometimes. All orders are drawn from one seed.
func (w *world) nap() {
	w.mu.Lock()
	d := time.Duration(max(w.pace.IntN(50)-20, 0)) * time.Millisecond
	w.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

func (w *world) violate(rule, format string, args ...any) {
	if w.broken == "" {
		w.broken = rule + ": " + fmt.Sprintf(format, args...)
		w.note("%s", w.broken)
	}
}

// event is a line of the trace, which is not printed unless something is broken.
type event struct {
	at     time.Duration
	format string
	args   []any
}

// note adds to the trace. w.mu is held.
func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, event{time.Since(w.began), format, args})
}

// judge ends the run when something is broken.
func (w *world) judge() {
	w.mu.Lock()
	broken, trace := w.broken, w.trace
	w.mu.Unlock()
	if broken == "" {
		return
	}
	if w.found != nil {
		w.found(broken)
		panic(errFound)
	}
	var b strings.Builder
	for _, e := range trace {
		fmt.Fprintf(&b, "%10v  "+e.format+"\n", append([]any{e.at}, e.args...)...)
	}
	failure = b.String()
	w.t.Fatalf("%s", broken)
}

// failure is the trace of the last run that failed. rapid has no output of one
// that does not fail again.
var failure string

var errFound = errors.New("found what was looked for")

// counts are figures of all runs of this process.
var counts struct{ runs, steps, sockets, ended, lost, closed, received, refreshed, reauthorized, outages, gaps, emptied, stalls atomic.Int64 }

func figures() string {
	return fmt.Sprintf("%d runs, %d steps; %d sockets, %d closed by hubs; %d sessions ended, %d pushes and messages lost, %d outages; %d refreshes, %d questions again; %d times the broker was away, %d times it had lost all; %d readers stopped for a while; %d publications received",
		counts.runs.Load(), counts.steps.Load(), counts.sockets.Load(), counts.closed.Load(), counts.ended.Load(), counts.lost.Load(), counts.outages.Load(),
		counts.refreshed.Load(), counts.reauthorized.Load(), counts.gaps.Load(), counts.emptied.Load(), counts.stalls.Load(), counts.received.Load())
}

var (
	users    = []string{"ann", "bob"}
	channels = []string{"room:a", "drop:b", "plain:c", "board:e", served}
)

// served is the channel that the hubs put a user in who has a right to it: ann.
const (
	served   = "desk:d"
	servedTo = "ann"
)

// kept reports whether a channel has a history.
func kept(channel string) bool { return channel != "plain:c" }

// overflow is what becomes of a channel's publications for a slow reader.
func overflow(channel string) realtime.Overflow {
	switch channel {
	case "drop:b", served:
		return realtime.DropOldest
	case "board:e":
		return realtime.Latest
	}
	return realtime.Close
}

// wished are the channels that clients enter by themselves, or some of them do.
var (
	wished   = channels[:4]
	dropping = []string{"drop:b", "board:e"}
)

// run is one run of the model. When it returns nothing is left of it.
func run(t *rapid.T, l lie, found func(string)) {
	w := &world{
		t: t, lie: l, found: found, began: time.Now(),
		store: session.NewMemoryStore(nil), depot: newDepot(),
		pace:   rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "pace"), 0)),
		rights: map[right]*access{}, data: map[place]string{},
		putting: map[string]int{}, put: map[string]time.Time{},
		asking: map[string]int{}, asked: map[string]time.Time{},
		sent: map[string]time.Time{}, conns: map[string]*realtime.Conn{}, ends: map[string]ending{},
	}
	for _, user := range users {
		for _, channel := range channels {
			w.rights[right{user, channel}] = &access{allowed: true, known: map[*node]time.Time{}}
		}
	}
	defer w.close()
	defer func() {
		if e := recover(); e != nil && e != errFound {
			panic(e)
		}
	}()
	var err error
	if w.admin, err = session.New[struct{}](w.store, &session.Options{Logger: quiet, ReapEvery: reapEvery}); err != nil {
		t.Fatal(err)
	}
	for n := range fair(2, 2, 3).Draw(t, "nodes") {
		nd, err := newNode(w, n, fair(false, false, false, true).Draw(t, "down"))
		if err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, nd)
	}
	time.Sleep(fair(0, time.Second).Draw(t, "before")) // for their cursors, or not
	for _, user := range users {
		for _, token := range []bool{false, true} {
			w.startConnect(pick(w, "node", w.nodes), w.signIn(pick(w, "node", w.nodes), user, token))
		}
	}
	for range fair(15, 30, 45, 60).Draw(t, "steps") {
		w.step()
		counts.steps.Add(1)
		settle()
		w.look()
		w.lookAtChannels()
		w.judge()
	}
	w.settle()
	w.judge()
}

// close ends everything, whatever state it is in.
func (w *world) close() {
	for _, nd := range w.nodes {
		w.mu.Lock()
		nd.closing = true
		w.mu.Unlock()
		_ = nd.hub.Close()
		nd.server.Close()
		_ = nd.m.Close()
	}
	if w.admin != nil {
		_ = w.admin.Close()
	}
	w.ops.Wait()
	counts.runs.Add(1)
}

// look finds sockets that live and should not.
func (w *world) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		if c.connected && c.over.IsZero() && !c.gone() {
			c.late(time.Now())
		}
	}
}

// lookAtChannels finds clients that lack something and have not been told.
func (w *world) lookAtChannels() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, channel := range channels {
		top := w.depot.top(channel)
		for _, c := range w.clients {
			if c.connected && !c.stall.behind(now) && !c.gone() {
				c.upToDate("R8", channel, top, now.Add(-time.Second))
			}
		}
	}
}

// settle heals everything and looks at all that is left.
func (w *world) settle() {
	w.heal()
	time.Sleep(1200 * time.Millisecond)
	w.ops.Wait()
	w.publishAll() // shows who has missed something, and who does not know of another epoch
	if w.failures.last.IsZero() {
		time.Sleep(2 * time.Second)
	} else {
		time.Sleep(12 * time.Second) // more than a presence beat: who could not be taken out of it is
	}
	w.ops.Wait()
	w.publishAll()
	time.Sleep(time.Second)
	w.look()
	w.mu.Lock()
	for _, c := range w.clients {
		c.complete()
	}
	w.note("all nodes close")
	live := 0
	for _, nd := range w.nodes {
		nd.closing = true
	}
	for _, c := range w.clients {
		if c.connected && c.over.IsZero() {
			live++
		}
	}
	w.mu.Unlock()
	w.judge()
	for _, nd := range w.nodes {
		if err := nd.hub.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		if c.connected && c.over.IsZero() {
			w.violate("R16", "%v is open after its hub was closed", c)
		}
	}
	for _, channel := range channels {
		if list, err := w.depot.people.List(context.Background(), channel, 100); err != nil || len(list) > 0 {
			w.violate("R10", "%v are left in %s (%v)", list, channel, err)
		}
	}
}

// publishAll has every node publish in every channel.
func (w *world) publishAll() {
	for _, nd := range w.nodes {
		for _, channel := range channels {
			w.publish(nd, channel)
		}
	}
}

// heal ends all faults.
func (w *world) heal() {
	w.mu.Lock()
	for _, nd := range w.nodes {
		nd.deaf.Store(false)
		nd.mute.Store(false)
		nd.up()
	}
	w.note("all is well")
	w.mu.Unlock()
}

// up has the store answer again. w.mu is held.
func (nd *node) up() {
	if nd.down {
		nd.down, nd.upAt = false, time.Now()
		nd.outages = append(nd.outages, outage{nd.downAt, nd.upAt})
	}
}
