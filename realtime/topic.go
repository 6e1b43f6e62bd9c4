package realtime

import (
	"context"
	"hash/maphash"
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
	subs    map[*subscription]struct{}
	list    []*subscription // what a round goes through; nil: to be made anew from subs
	pending []Event
	size    int           // bytes pending, roughly
	lost    bool          // some that were pending are gone
	room    chan struct{} // closed when a round takes what is pending; nil when nobody waits
	latest  bool          // only the newest counts
	running bool
	odd     bool // direction of the next round
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
		t = &topic{channel: s.channel, name: quote(s.channel), subs: map[*subscription]struct{}{}, latest: s.overflow == Latest}
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

func (t *topic) add(s *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subs[s] = struct{}{}
	t.list = nil
}

// remove returns false when the subscription wasn't there.
func (t *topic) remove(s *subscription) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, in := t.subs[s]
	delete(t.subs, s)
	t.list = nil
	return in
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
			h.o.Logger.Warn("realtime: unsubscribe", "error", err)
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
	n, limit := e.size(), h.o.MaxQueue
	if t.latest {
		limit /= 4 // of what a connection's queue holds: a round must fit
	}
	if t.size+n > limit {
		clear(t.pending)
		t.pending, t.size = t.pending[:0], 0
		t.lost = !t.latest
	}
	t.pending = append(t.pending, e)
	t.size += n
	if !t.running {
		t.running = true
		h.spawn(func() { h.rounds(t) })
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
// was lost or tells them that it can't be.
func (r *receiver) Gap(channels []string) {
	h := (*Hub)(r)
	if channels == nil {
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
	return t.snapshotLocked()
}

func (t *topic) snapshotLocked() []*subscription {
	if t.list == nil {
		t.list = make([]*subscription, 0, len(t.subs))
		for s := range t.subs {
			t.list = append(t.list, s)
		}
	}
	return t.list
}

// rounds hands out what is pending until nothing is. All publications that
// wait when a round begins go out together, encoded once for everybody: under
// load that saves most writes, and without load it delays nothing.
func (h *Hub) rounds(t *topic) {
	for {
		t.mu.Lock()
		if len(t.pending) == 0 {
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
		subs := t.snapshotLocked()
		t.odd = !t.odd
		odd := t.odd
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
		for i := range subs {
			if odd {
				subs[i].deliver(r)
			} else {
				subs[len(subs)-1-i].deliver(r)
			}
		}
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
	epoch  string
	broken bool // offsets are missing in between
}

func (t *topic) line(e *Event) []byte {
	if t.name == nil {
		return messageLine(e.Publication.Data)
	}
	return eventLine(t.name, e)
}

func newRound(t *topic, events []Event) *round {
	r := &round{topic: t, events: events}
	all := make([][]byte, 0, len(events))
	pubs := make([][]byte, 0, len(events))
	for i := range events {
		line := t.line(&events[i])
		all = append(all, line)
		if e := &events[i]; e.Kind == EventPublication {
			pubs = append(pubs, line)
			if o := e.Publication.Offset; o > 0 {
				if r.first == 0 {
					r.first = o
				} else if o != r.last+1 || e.Publication.Epoch != r.epoch {
					r.broken = true
				}
				r.last, r.epoch = o, e.Publication.Epoch
			}
		}
	}
	r.count = len(pubs)
	r.pubs = joinFrames(pubs)
	r.all = r.pubs
	if len(all) > len(pubs) {
		r.all = joinFrames(all)
	}
	return r
}
