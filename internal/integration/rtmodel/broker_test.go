package rtmodel_test

import (
	"context"
	"sync"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

// depot is the broker that all nodes share, which may be away for a while, and
// come back with nothing of what it kept.
type depot struct {
	mu     sync.RWMutex // held while another takes the current one's place
	broker *realtime.MemoryBroker
	people *realtime.MemoryBroker // presence, which outlives all
	down   int                    // of what has it be away
	nodes  []*nodeBroker
}

func newDepot() *depot {
	return &depot{broker: realtime.NewMemoryBroker(nil), people: realtime.NewMemoryBroker(nil)}
}

// empty puts a new broker in the place of the current one. What is published is
// delivered before or after, and nothing lost but the histories.
func (d *depot) empty() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broker = realtime.NewMemoryBroker(nil)
	for _, b := range d.nodes {
		if err := b.link(d.broker); err != nil {
			panic(err)
		}
	}
}

// away has the broker be away, with 1, or ends that, with -1.
func (d *depot) away(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down += n
}

// use calls f with the broker, unless it is down.
func (d *depot) use(f func(*realtime.MemoryBroker) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.down > 0 {
		return errDown
	}
	return f(d.broker)
}

// top is the newest place in a channel's history, whether the broker is there or
// not.
func (d *depot) top(channel string) realtime.Position {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, top, _ := d.broker.Read(context.Background(), channel, realtime.ReadFilter{Keep: keep}) // it never fails
	return top
}

// nodeBroker is the broker as a node's hub sees it, and the link of both.
type nodeBroker struct {
	nd      *node
	depot   *depot
	handler realtime.Handler

	mu       sync.Mutex
	channels map[string]struct{}
	joined   realtime.Link

	handing sync.Mutex // held while something is handed to the hub
	deaf    int        // of what cuts the link: nothing is handed out
}

func (b *nodeBroker) Attach(h realtime.Handler) (realtime.Link, error) {
	b.handler, b.channels = h, map[string]struct{}{}
	b.depot.mu.Lock()
	defer b.depot.mu.Unlock()
	b.depot.nodes = append(b.depot.nodes, b)
	return b, b.link(b.depot.broker)
}

// link joins a broker in place of the one before.
func (b *nodeBroker) link(broker *realtime.MemoryBroker) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.joined != nil {
		_ = b.joined.Close()
	}
	if b.joined, err = broker.Attach(b); err != nil {
		return err
	}
	for channel := range b.channels {
		if err = b.joined.Subscribe(context.Background(), channel); err != nil {
			return err
		}
	}
	return nil
}

// cut loses what is published from now on.
func (b *nodeBroker) cut() {
	b.handing.Lock()
	defer b.handing.Unlock()
	b.deaf++
}

// mend ends a cut, and tells the hub that something is lost before anything else
// arrives.
func (b *nodeBroker) mend() {
	b.handing.Lock()
	defer b.handing.Unlock()
	if b.deaf--; b.deaf == 0 {
		b.handler.Gap(nil)
	}
}

func (b *nodeBroker) isCut() bool {
	b.handing.Lock()
	defer b.handing.Unlock()
	return b.deaf > 0
}

// hand hands something to the hub, if it can be.
func (b *nodeBroker) hand(f func()) {
	b.handing.Lock()
	defer b.handing.Unlock()
	if b.deaf > 0 {
		counts.lost.Add(1)
		return
	}
	f()
}

func (b *nodeBroker) Deliver(channel string, e realtime.Event) {
	b.hand(func() { b.handler.Deliver(channel, e) })
}

func (b *nodeBroker) Gap(channels []string) { b.hand(func() { b.handler.Gap(channels) }) }

func (b *nodeBroker) Control(message []byte) { b.hand(func() { b.handler.Control(message) }) }

// Subscribe takes no time: others wait for it with a lock, which stops fake time.
func (b *nodeBroker) Subscribe(ctx context.Context, channel string) error {
	return b.depot.use(func(*realtime.MemoryBroker) error {
		if b.isCut() {
			return errDown
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.channels[channel] = struct{}{}
		return b.joined.Subscribe(ctx, channel)
	})
}

func (b *nodeBroker) Unsubscribe(ctx context.Context, channel string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.channels, channel)
	return b.joined.Unsubscribe(ctx, channel)
}

func (b *nodeBroker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.joined.Close()
}

func (b *nodeBroker) Publish(ctx context.Context, channel string, e realtime.Event) error {
	return b.depot.use(func(m *realtime.MemoryBroker) error { return m.Publish(ctx, channel, e) })
}

func (b *nodeBroker) Append(ctx context.Context, channel string, p realtime.Publication, keep realtime.Keep) (at realtime.Position, err error) {
	err = b.depot.use(func(m *realtime.MemoryBroker) error {
		at, err = m.Append(ctx, channel, p, keep)
		return err
	})
	return at, err
}

func (b *nodeBroker) Read(ctx context.Context, channel string, f realtime.ReadFilter) (pubs []realtime.Publication, top realtime.Position, err error) {
	b.nd.w.nap()
	err = b.depot.use(func(m *realtime.MemoryBroker) error {
		pubs, top, err = m.Read(ctx, channel, f)
		return err
	})
	b.nd.w.nap()
	return pubs, top, err
}

func (b *nodeBroker) Enter(ctx context.Context, node, channel string, c realtime.ClientInfo, ttl time.Duration) error {
	return b.depot.use(func(*realtime.MemoryBroker) error { return b.depot.people.Enter(ctx, node, channel, c, ttl) })
}

func (b *nodeBroker) Leave(ctx context.Context, node, channel, client string) error {
	return b.depot.use(func(*realtime.MemoryBroker) error { return b.depot.people.Leave(ctx, node, channel, client) })
}

func (b *nodeBroker) Beat(ctx context.Context, node string, ttl time.Duration) error {
	return b.depot.use(func(*realtime.MemoryBroker) error { return b.depot.people.Beat(ctx, node, ttl) })
}

func (b *nodeBroker) List(ctx context.Context, channel string, limit int) ([]realtime.ClientInfo, error) {
	return b.depot.people.List(ctx, channel, limit)
}

func (b *nodeBroker) Stats(ctx context.Context, channel string) (clients, users int, err error) {
	return b.depot.people.Stats(ctx, channel)
}

func (b *nodeBroker) Broadcast(ctx context.Context, message []byte) error {
	b.nd.w.nap()
	if b.nd.mute.Load() {
		counts.lost.Add(1)
		return nil
	}
	return b.depot.use(func(m *realtime.MemoryBroker) error { return m.Broadcast(ctx, message) })
}

// trouble is what has been the matter with the broker, of one node or of all.
// Guarded by world.mu.
type trouble struct {
	now  int       // of what is going on
	last time.Time // when the last was over
}

// since reports whether there was some since a moment.
func (t *trouble) since(from time.Time) bool { return t.now > 0 || !t.last.Before(from) }

// troubled reports whether the broker was away from a node since a moment, had
// lost something, or begun anew. w.mu is held.
func (nd *node) troubled(from time.Time) bool {
	return nd.cuts.since(from) || nd.w.failures.since(from) || !nd.w.emptied.Before(from)
}

// heard reports whether what all were told since a moment has arrived at a node.
// w.mu is held.
func (nd *node) heard(from time.Time) bool {
	return !nd.cuts.since(from) && !nd.w.failures.since(from)
}

// cut keeps a node from what is published for a while.
func (w *world) cut(nd *node, d time.Duration) {
	w.mu.Lock()
	counts.gaps.Add(1)
	nd.cuts.now++
	w.note("node %d is cut off from the broker for %v", nd.n, d)
	w.mu.Unlock()
	nd.broker.cut()
	w.ops.Go(func() {
		time.Sleep(d)
		nd.broker.mend()
		w.mu.Lock()
		defer w.mu.Unlock()
		nd.cuts.now--
		nd.cuts.last = time.Now()
		w.note("node %d has the broker again", nd.n)
		w.asks(nd)
	})
}

// asks says that a node asks for all rights anew, as it has nobody in any channel.
// w.mu is held.
func (w *world) asks(nd *node) {
	if nd.cuts.now > 0 || w.failures.now > 0 {
		return
	}
	for _, a := range w.rights {
		if _, known := a.known[nd]; !known {
			a.known[nd] = time.Now()
		}
	}
}

// breakDown has the broker away for a while, which it may not survive.
func (w *world) breakDown(d time.Duration, survives bool) {
	w.mu.Lock()
	counts.gaps.Add(1)
	w.failures.now++
	w.note("the broker is down for %v; survives: %v", d, survives)
	w.mu.Unlock()
	w.depot.away(1)
	for _, nd := range w.nodes {
		nd.broker.cut()
	}
	w.ops.Go(func() {
		time.Sleep(d)
		if !survives {
			w.forget()
		}
		w.depot.away(-1)
		for _, nd := range w.nodes {
			nd.broker.mend()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failures.now--
		w.failures.last = time.Now()
		w.note("the broker is back")
		for _, nd := range w.nodes {
			w.asks(nd)
		}
	})
}

// forget has the broker lose all histories.
func (w *world) forget() {
	w.mu.Lock()
	counts.emptied.Add(1)
	w.emptied = time.Now()
	w.note("the broker forgets what it kept")
	w.mu.Unlock()
	w.depot.empty()
}
