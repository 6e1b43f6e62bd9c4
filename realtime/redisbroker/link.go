package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

const (
	// A connection that has brought no event for probeEvery is sent one; what has
	// been silent for silence after that is dead.
	probeEvery = 2 * time.Second
	silence    = 2500 * time.Millisecond

	// making is how long a new connection may take; go-redis dials and signs in by
	// its own timeouts.
	making = 10 * time.Second

	// confirmWithin is how long Subscribe waits for Redis, unless its context ends
	// before.
	confirmWithin = 10 * time.Second
)

// errClosed means that the link has been closed.
var errClosed = errors.New("redisbroker: the link is closed")

// link is one hub's place: its subscriptions on one connection, or on one for
// each lane of a cluster.
type link struct {
	broker  *Broker
	handler realtime.Handler
	id      string
	conns   []*conn

	ctx  context.Context
	stop context.CancelFunc

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// Attach joins a hub. It returns at once; a connection is made in the
// background.
func (b *Broker) Attach(h realtime.Handler) (realtime.Link, error) {
	if h == nil {
		return nil, errors.New("redisbroker: the handler is nil")
	}
	n := 1
	if b.cluster != nil {
		n = len(lanes)
	}
	l := &link{broker: b, handler: h, id: randomID(), conns: make([]*conn, n)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	for i := range l.conns {
		l.conns[i] = newConn(l, i)
	}
	l.conns[0].add(b.control(), entryControl)
	l.start(l.conns[0])
	l.work.Go(l.watch)
	return l, nil
}

// start lets a connection be made, once.
func (l *link) start(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && !c.started {
		c.started = true
		c.heard.Store(time.Now().UnixNano())
		c.brought.Store(c.heard.Load())
		c.live.Store(true)
		l.work.Go(c.run)
	}
}

func (l *link) conn(channel string) *conn { return l.conns[lane(channel)%len(l.conns)] }

// Subscribe returns once Redis has confirmed. While there is no connection it
// waits for the next.
func (l *link) Subscribe(ctx context.Context, channel string) error {
	if l.ctx.Err() != nil {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return fail(ctx, err)
	}
	c := l.conn(channel)
	name := l.broker.channel(channel)
	confirmed := c.want(name, channel)
	l.start(c)
	timer := time.NewTimer(confirmWithin)
	defer timer.Stop()
	select {
	case err := <-confirmed:
		return err
	case <-ctx.Done():
		return c.giveUp(name, confirmed, fail(ctx, ctx.Err()))
	case <-timer.C:
		return c.giveUp(name, confirmed, fmt.Errorf("redisbroker: Redis has not confirmed a subscription in %v", confirmWithin))
	case <-l.ctx.Done():
		return errClosed
	}
}

// Unsubscribe returns once nothing of the channel is handed out any more.
func (l *link) Unsubscribe(_ context.Context, channel string) error {
	l.conn(channel).drop(l.broker.channel(channel))
	return nil
}

// Close ends the link's connections. When it returns, nothing is handed out any
// more.
func (l *link) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.work.Wait()
	return nil
}

// watch looks after the connections.
func (l *link) watch() {
	tick := time.NewTicker(probeEvery / 8)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case now := <-tick.C:
			for _, c := range l.conns {
				if c.live.Load() {
					c.check(now)
				}
			}
		}
	}
}
