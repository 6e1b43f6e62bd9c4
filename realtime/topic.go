package realtime

import (
	"context"
	"hash/maphash"
	"runtime"
	"slices"
	"sync"
	"time"
)

// topicShard holds the channels that have subscribers on this hub.
type topicShard struct {
	mu sync.Mutex
	m  map[string]*topic
}

// topic is one channel on this hub, or a group.
type topic struct {
	channel string
	name    []byte // the channel as JSON; nil: a group, whose publications are messages

	// life is held while subscribing at the broker or the opposite, so that
	// neither overtakes the other.
	life       sync.Mutex
	subscribed bool

	refs int // guarded by the shard

	mu      sync.Mutex
	subs    []*subscription // each knows its place
	changed bool            // since list was made of them
	pending []Event
	size    int           // bytes pending, roughly
	lost    bool          // some that were pending are gone
	room    chan struct{} // closed when a round takes what is pending; nil when nobody waits
	latest  bool          // only the newest counts
	running bool

	run  func()          // rounds: made once, not for each start
	list []*subscription // what a round goes through; while running, rounds' alone
	odd  bool            // direction of the last round; rounds' alone
}

var seed = maphash.MakeSeed()

func (h *Hub) shard(channel string) *topicShard {
	return &h.topics[maphash.String(seed, channel)%uint64(len(h.topics))]
}

// enter puts a subscription into its channel. When it returns, what is
// published from now on reaches the subscription, which keeps it until it goes
// live.
func (h *Hub) enter(ctx context.Context, s *subscription) error {
	sh := h.shard(s.channel)
	sh.mu.Lock()
	t := sh.m[s.channel]
	if t == nil {
		t = &topic{channel: s.channel, name: quote(s.channel), latest: s.overflow == Latest}
		t.init(h)
		if sh.m == nil {
			sh.m = map[string]*topic{}
		}
		sh.m[s.channel] = t
	}
	t.refs++
	sh.mu.Unlock()

	t.life.Lock()
	defer t.life.Unlock()
	if !t.subscribed {
		if err := h.link.Subscribe(ctx, s.channel); err != nil {
			h.unref(t)
			return err
		}
		t.subscribed = true
	}
	t.add(s)
	s.mu.Lock()
	s.topic = t
	s.mu.Unlock()
	return nil
}

// exit takes a subscription out of its channel.
func (h *Hub) exit(s *subscription) {
	s.mu.Lock()
	t := s.topic
	s.mu.Unlock()
	if t == nil {
		return
	}
	t.life.Lock()
	defer t.life.Unlock()
	if t.remove(s) {
		h.unref(t)
	}
}

func (t *topic) init(h *Hub) {
	t.run = func() {
		defer h.wg.Done()
		h.rounds(t)
	}
}

func (t *topic) add(s *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.place = len(t.subs)
	t.subs = append(t.subs, s)
	t.changed = true
}

// remove puts the last subscription into the place of s. It returns false when s
// wasn't there.
func (t *topic) remove(s *subscription) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.place >= len(t.subs) || t.subs[s.place] != s {
		return false
	}
	last := len(t.subs) - 1
	t.subs[s.place] = t.subs[last]
	t.subs[s.place].place = s.place
	t.subs[last] = nil
	t.subs = t.subs[:last]
	if last < cap(t.subs)/4 {
		t.subs = slices.Clip(slices.Clone(t.subs))
	}
	t.changed = true
	if !t.running { // who has left must not be kept until there is a message
		t.list = nil
	}
	return true
}

// unref gives one reference back and unsubscribes with the last. t.life is held.
func (h *Hub) unref(t *topic) {
	sh := h.shard(t.channel)
	sh.mu.Lock()
	t.refs--
	last := t.refs == 0
	sh.mu.Unlock()
	if !last {
		return
	}
	if t.subscribed {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		if err := h.link.Unsubscribe(ctx, t.channel); err != nil {
			h.warn("realtime: unsubscribe", "error", err)
		}
		cancel()
		t.subscribed = false
	}
	sh.mu.Lock()
	if t.refs == 0 { // somebody may have come in meanwhile; they wait for life
		delete(sh.m, t.channel)
	}
	sh.mu.Unlock()
}

// cleanupTimeout bounds what is done for a connection that is gone.
const cleanupTimeout = 5 * time.Second

// receiver is the hub as its broker sees it.
type receiver Hub

// Deliver appends and kicks; a round does the work. More than MaxQueue doesn't
// pile up: publishers on this hub wait long before that, and of what others
// bring too fast only the newest is kept, or a gap told.
func (r *receiver) Deliver(channel string, e Event) {
	h := (*Hub)(r)
	sh := h.shard(channel)
	sh.mu.Lock()
	t := sh.m[channel]
	sh.mu.Unlock()
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	h.deliver(t, e)
}

// deliver is Deliver with t.mu held.
func (h *Hub) deliver(t *topic, e Event) {
	if len(t.subs) == 0 {
		return
	}
	n, limit := len(t.name)+e.size(), h.o.MaxQueue // not less than a round makes of it
	if t.latest {
		limit /= 4 // of what a connection's queue holds: a round must fit
	}
	if t.size+n > limit {
		if t.latest && e.Kind != EventPublication {
			return // a join or leave must not drive out the newest, whose loss nobody is told
		}
		clear(t.pending)
		t.pending, t.size = t.pending[:0], 0
		t.lost = !t.latest
	}
	t.pending = append(t.pending, e)
	t.size += n
	if !t.running {
		t.running = true
		h.start(t)
	}
}

// awaitRound waits while so much of a channel is pending that one round should
// not bring more: a connection's queue must hold several.
func (h *Hub) awaitRound(ctx context.Context, channel string) error {
	sh := h.shard(channel)
	sh.mu.Lock()
	t := sh.m[channel]
	sh.mu.Unlock()
	if t == nil {
		return nil
	}
	if err := h.lockWithRoom(ctx, t); err != nil {
		return err
	}
	t.mu.Unlock()
	return nil
}

// lockWithRoom is awaitRound for who delivers to the topic at once: without an
// error t.mu is held.
func (h *Hub) lockWithRoom(ctx context.Context, t *topic) error {
	for {
		t.mu.Lock()
		if t.size <= h.o.MaxQueue/4 || t.latest {
			return nil
		}
		if t.room == nil {
			t.room = make(chan struct{})
		}
		room := t.room
		t.mu.Unlock()
		select {
		case <-room:
		case <-h.ctx.Done():
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Gap makes everyone in these channels subscribe again, which recovers what
// was lost or tells them that it can't be. With all channels, another hub's word
// that rights have changed may be lost, too: who is about to enter one is not let
// in by what the rule has said before.
func (r *receiver) Gap(channels []string) {
	h := (*Hub)(r)
	if channels == nil {
		for _, c := range h.everyone() {
			c.mu.Lock()
			c.rights++
			c.mu.Unlock()
		}
		for i := range h.topics {
			h.topics[i].mu.Lock()
			for name := range h.topics[i].m {
				channels = append(channels, name)
			}
			h.topics[i].mu.Unlock()
		}
	}
	for _, name := range channels {
		sh := h.shard(name)
		sh.mu.Lock()
		t := sh.m[name]
		sh.mu.Unlock()
		if t == nil {
			continue
		}
		for _, s := range t.snapshot() {
			s.mu.Lock()
			s.lose()
			s.mu.Unlock()
		}
	}
}

func (t *topic) snapshot() []*subscription {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.subs)
}

// start starts the rounds of a channel, unless the hub is closed.
func (h *Hub) start(t *topic) {
	h.work.mu.Lock()
	defer h.work.mu.Unlock()
	if !h.work.over {
		h.wg.Add(1)
		go t.run()
	}
}

// rounds hands out what is pending until nothing is. All publications that
// wait when a round begins go out together, encoded once for everybody: under
// load that saves most writes, and without load it delays nothing.
func (h *Hub) rounds(t *topic) {
	for {
		t.mu.Lock()
		if len(t.pending) == 0 {
			if t.changed {
				t.list = nil
			}
			t.running = false
			t.mu.Unlock()
			return
		}
		events, lost := t.pending, t.lost
		t.pending, t.size, t.lost = nil, 0, false
		if t.room != nil {
			close(t.room)
			t.room = nil
		}
		if t.changed {
			t.changed = false
			clear(t.list)
			t.list = append(t.list[:0], t.subs...)
		}
		subs := t.list
		t.mu.Unlock()

		if lost {
			for _, s := range subs {
				s.mu.Lock()
				s.lose()
				s.mu.Unlock()
			}
			continue // nobody is left who could make sense of the rest
		}
		r := newRound(t, events)
		h.delivered(r.count * len(subs))
		// Back and forth: those served last are still in the processor's cache.
		t.odd = !t.odd
		serve(subs, r, t.odd)
	}
}

// share is how many receivers are worth a processor of their own: some
// milliseconds of work.
const share = 500

// serve delivers a round, on as many processors as there are and as it is worth.
// When it returns all have it, so that rounds stay in order.
func serve(subs []*subscription, r *round, backwards bool) {
	parts := min(runtime.GOMAXPROCS(0), len(subs)/share)
	if parts < 2 {
		deliver(subs, r, backwards)
		return
	}
	var others sync.WaitGroup
	for i := 1; i < parts; i++ {
		part := subs[len(subs)*i/parts : len(subs)*(i+1)/parts]
		others.Go(func() { deliver(part, r, backwards) })
	}
	deliver(subs[:len(subs)/parts], r, backwards)
	others.Wait()
}

func deliver(subs []*subscription, r *round, backwards bool) {
	if backwards {
		for _, s := range slices.Backward(subs) {
			s.deliver(r)
		}
		return
	}
	for _, s := range subs {
		s.deliver(r)
	}
}

// round is what one round brings: frames shared by all, never written to again.
type round struct {
	topic  *topic
	events []Event
	all    []byte // with joins and leaves
	pubs   []byte // publications alone
	count  int    // publications
	first  uint64 // offsets of the first and the last publication that has one
	last   uint64
	epoch  string // "": they are of several, and nobody can be at all of these
	broken bool   // offsets are missing in between
}

func newRound(t *topic, events []Event) *round {
	r := &round{topic: t, events: events}
	others, mixed := false, false
	for i := range events {
		e := &events[i]
		if e.Kind != EventPublication {
			others = true
			continue
		}
		r.count++
		if o := e.Publication.Offset; o > 0 {
			if r.first == 0 {
				r.first = o
			} else {
				r.broken = r.broken || o != r.last+1
				mixed = mixed || e.Publication.Epoch != r.epoch
			}
			r.last, r.epoch = o, e.Publication.Epoch
		}
	}
	if mixed {
		r.epoch = ""
	}
	r.pubs = eventFrames(t.name, events, func(e *Event) bool { return e.Kind == EventPublication })
	r.all = r.pubs
	if others {
		r.all = eventFrames(t.name, events, func(*Event) bool { return true })
	}
	return r
}
