package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// conn is one of a link's connections, made anew whenever it breaks.
type conn struct {
	link  *link
	probe string // a name that only this connection listens to
	wake  chan struct{}

	started bool // guarded by the link

	live    atomic.Bool  // started, for those without the link's lock
	heard   atomic.Int64 // when anything came last, Unix nanoseconds
	brought atomic.Int64 // when an event came last
	busy    atomic.Bool  // an event is being handed out
	probing atomic.Bool  // a probe is being published
	told    atomic.Bool  // of the gap, while there is no connection

	// handing is held while the handler is called: who drops a channel waits for it.
	handing sync.Mutex

	mu      sync.Mutex
	entries map[string]*entry // by their names in Redis
	changed map[string]*entry // what Redis may not know yet
	life    *life             // nil while there is none
}

var (
	errSilent  = errors.New("redisbroker: Redis is silent")
	errStarved = errors.New("redisbroker: Redis answers, but events don't arrive")
)

// life is one connection from its making to its end.
type life struct {
	pubsub   *redis.PubSub
	stop     context.CancelCauseFunc
	patience time.Time    // until when it may be silent, being made; guarded by conn.mu
	ping     atomic.Bool  // one is to be sent
	probed   atomic.Int64 // when the probe that is on its way was published, 0 for none
	awaiting int          // entries of the beginning that are not confirmed; guarded by conn.mu
}

type entryKind uint8

const (
	entryChannel entryKind = iota
	entryControl
	entryProbe
)

// entry is a name in Redis that is or was listened to.
type entry struct {
	name    string
	channel string // as the hub knows it
	kind    entryKind

	wanted  bool
	sent    bool // the last that was written is to subscribe
	acks    int  // answers that are due
	first   bool // from before the connection, and not confirmed yet
	held    bool // a Subscribe has succeeded
	waiters []chan error
}

func (e *entry) confirmed() bool { return e.wanted && e.sent && e.acks == 0 }

func newConn(l *link, i int) *conn {
	c := &conn{link: l, probe: l.broker.probe(i, l.id), wake: make(chan struct{}, 1), entries: map[string]*entry{}, changed: map[string]*entry{}}
	c.add(c.probe, entryProbe)
	return c
}

func (c *conn) add(name string, kind entryKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[name] = &entry{name: name, kind: kind, wanted: true, held: true}
}

// want subscribes to a channel. The answer comes once Redis has confirmed.
func (c *conn) want(name, channel string) chan error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	if e == nil {
		e = &entry{name: name, channel: channel}
		c.entries[name] = e
	}
	e.wanted = true
	answer := make(chan error, 1)
	if e.confirmed() {
		e.held = true
		answer <- nil
		return answer
	}
	e.waiters = append(e.waiters, answer)
	c.change(e)
	return answer
}

// change lets the writer see to an entry. c.mu is held.
func (c *conn) change(e *entry) {
	c.changed[e.name] = e
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// giveUp takes back a want, whose entry goes unless somebody else has it. It
// returns why it was given up, or what came of it at the last moment.
func (c *conn) giveUp(name string, answer chan error, why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case err := <-answer:
		return err
	default:
	}
	e := c.entries[name]
	if e == nil {
		return why
	}
	for i, w := range e.waiters {
		if w == answer {
			e.waiters = slices.Delete(e.waiters, i, i+1)
			break
		}
	}
	if !e.held && len(e.waiters) == 0 {
		e.wanted = false
		c.change(e)
	}
	return why
}

// drop unsubscribes from a channel. When it returns, nothing of it is handed out.
func (c *conn) drop(name string) {
	c.mu.Lock()
	if e := c.entries[name]; e != nil {
		e.wanted, e.held = false, false
		for _, w := range e.waiters {
			w <- errors.New("redisbroker: unsubscribed while subscribing")
		}
		e.waiters = nil
		c.change(e)
	}
	c.mu.Unlock()
	c.handing.Lock()
	//lint:ignore SA2001 who has it is waited for
	c.handing.Unlock()
}

// run keeps a connection until the link ends.
func (c *conn) run() {
	ctx := c.link.ctx
	for failures, lives := 0, 0; ; lives++ {
		established, err := c.connect(ctx, lives > 0)
		if ctx.Err() != nil {
			return
		}
		if established {
			failures = 0
		}
		if failures == 0 {
			c.link.broker.log.WarnContext(ctx, "redisbroker: the connection for events is lost", "error", err)
		}
		failures++
		if cluster := c.link.broker.cluster; cluster != nil {
			cluster.ReloadState(ctx)
		}
		pause := min(50*time.Millisecond<<min(failures, 6), 2*time.Second)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

// connect makes a connection, subscribes to what is wanted and hands out what
// comes, until it breaks. established: everything was subscribed to; again: there
// was one before, so that a gap is told then.
func (c *conn) connect(link context.Context, again bool) (established bool, err error) {
	ctx, stop := context.WithCancelCause(link)
	l := &life{stop: stop, patience: time.Now().Add(making)}
	// Without channels, nothing is dialled yet.
	if c.link.broker.cluster != nil {
		l.pubsub = c.link.broker.client.SSubscribe(ctx)
	} else {
		l.pubsub = c.link.broker.client.Subscribe(ctx)
	}
	c.begin(l)
	begun := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		// The first names say to which server of a cluster: nobody reads before.
		err := c.tell(ctx, l)
		close(begun)
		if err == nil {
			err = c.write(ctx, l)
		}
		stop(err)
		_ = l.pubsub.Close() // wakes who reads
	})
	defer func() {
		c.mu.Lock()
		c.life = nil
		c.mu.Unlock()
		stop(err)
		wg.Wait()
		err = context.Cause(ctx) // what came first
	}()

	<-begun
	// With a context that has ended, go-redis reads, but doesn't make a new
	// connection on its own when this one breaks, with all its names, for nothing:
	// the next life has its own.
	ended, end := context.WithCancel(ctx)
	end()
	for ctx.Err() == nil {
		var m any
		if m, err = l.pubsub.Receive(ended); err != nil {
			if redis.HasErrorPrefix(err, "NOPERM") && c.refuse(err) {
				continue
			}
			break
		}
		now := time.Now().UnixNano()
		c.heard.Store(now)
		switch m := m.(type) {
		case *redis.Message:
			c.brought.Store(now)
			c.busy.Store(true)
			c.hand(m, l)
			c.busy.Store(false)
		case *redis.Subscription:
			if !c.answered(m, l) {
				return established, errors.New("redisbroker: Redis has ended a subscription")
			}
		}
		if !established && c.complete(l) {
			established = true
			if again {
				c.gap()
			}
			c.told.Store(false)
			now := time.Now().UnixNano()
			c.heard.Store(now)
			c.brought.Store(now)
		}
	}
	return established, err
}

// begin lets everything that is wanted be subscribed to anew.
func (c *conn) begin(l *life) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.changed)
	for name, e := range c.entries {
		e.sent, e.acks, e.first = false, 0, e.wanted
		if !e.wanted {
			delete(c.entries, name)
			continue
		}
		l.awaiting++
		c.change(e)
	}
	c.life = l
}

// complete says whether everything from before the connection is confirmed.
func (c *conn) complete(l *life) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.awaiting > 0 {
		return false
	}
	l.patience = time.Time{}
	return true
}

// atOnce is how many channels one command names.
const atOnce = 1000

// write sends what Redis must know, until ctx ends or it can't.
func (c *conn) write(ctx context.Context, l *life) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wake:
		}
		if err := c.tell(ctx, l); err != nil {
			return err
		}
		if l.ping.Swap(false) {
			if err := l.pubsub.Ping(ctx); err != nil {
				return err
			}
		}
	}
}

// tell sends Redis some of what it must know.
func (c *conn) tell(ctx context.Context, l *life) error {
	subscribe, unsubscribe := l.pubsub.Subscribe, l.pubsub.Unsubscribe
	if c.link.broker.cluster != nil {
		subscribe, unsubscribe = l.pubsub.SSubscribe, l.pubsub.SUnsubscribe
	}
	on, off := c.todo()
	if len(on) > 0 {
		if err := subscribe(ctx, on...); err != nil {
			return err
		}
	}
	if len(off) > 0 {
		return unsubscribe(ctx, off...)
	}
	return nil
}

// todo takes some of what has changed, and counts on the answers.
func (c *conn) todo() (on, off []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, e := range c.changed {
		if len(on)+len(off) == atOnce {
			c.change(e) // go on soon
			break
		}
		delete(c.changed, name)
		switch {
		case e.wanted && !e.sent:
			e.sent = true
			e.acks++
			on = append(on, name)
		case !e.wanted && e.sent:
			e.sent = false
			e.acks++
			off = append(off, name)
		case !e.wanted && e.acks == 0:
			c.forget(e)
		}
	}
	return on, off
}

// forget lets go of an entry that nobody wants. c.mu is held.
func (c *conn) forget(e *entry) {
	if c.entries[e.name] == e {
		delete(c.entries, e.name)
	}
}

// answered takes an answer to subscribe or unsubscribe. It returns false when
// Redis says what it was not asked: the slot has moved to another server.
func (c *conn) answered(m *redis.Subscription, l *life) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[m.Channel]
	if e == nil || e.acks == 0 {
		return !strings.HasSuffix(m.Kind, "unsubscribe") || e == nil
	}
	e.acks--
	if e.acks > 0 {
		return true
	}
	if e.first {
		e.first = false
		l.awaiting--
	}
	switch {
	case e.confirmed():
		e.held = e.held || len(e.waiters) > 0
		for _, w := range e.waiters {
			w <- nil
		}
		e.waiters = nil
	case !e.wanted && !e.sent:
		c.forget(e)
	}
	return true
}

// refuse fails those who wait for Redis, which has said no to one of them. It
// returns false if nobody does.
func (c *conn) refuse(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	any := false
	for _, e := range c.entries {
		if e.kind != entryChannel || len(e.waiters) == 0 || !e.sent {
			continue
		}
		any = true
		for _, w := range e.waiters {
			w <- fmt.Errorf("redisbroker: %w", err)
		}
		e.waiters, e.wanted, e.held = nil, false, false
		e.sent, e.acks = false, 0 // no answer will come
		if e.first && c.life != nil {
			e.first = false
			c.life.awaiting--
		}
		c.forget(e)
	}
	return any
}

// hand hands out what has come.
func (c *conn) hand(m *redis.Message, l *life) {
	if m.Channel == c.probe {
		l.probed.Store(0)
		return
	}
	c.handing.Lock()
	defer c.handing.Unlock()
	c.mu.Lock()
	e := c.entries[m.Channel]
	if e == nil || !e.wanted {
		c.mu.Unlock()
		return
	}
	kind, channel := e.kind, e.channel
	c.mu.Unlock()
	if kind == entryControl {
		c.link.handler.Control([]byte(m.Payload))
		return
	}
	event, err := decode(m.Payload)
	if err != nil {
		// Of another version, perhaps: something has happened that we can't tell.
		c.link.broker.log.Warn("redisbroker: an event that can't be read is told as a gap", "error", err)
		c.link.handler.Gap([]string{channel})
		return
	}
	c.link.handler.Deliver(channel, event)
}

// gap tells the hub that events may have been lost.
func (c *conn) gap() {
	c.handing.Lock()
	defer c.handing.Unlock()
	if c.link.ctx.Err() != nil {
		return
	}
	if len(c.link.conns) == 1 {
		c.link.handler.Gap(nil)
		return
	}
	var channels []string
	c.mu.Lock()
	for _, e := range c.entries {
		if e.kind == entryChannel && e.wanted {
			channels = append(channels, e.channel)
		}
	}
	c.mu.Unlock()
	if len(channels) > 0 {
		c.link.handler.Gap(channels)
	}
}

// check looks whether the connection is alive, and asks if it doesn't know.
func (c *conn) check(now time.Time) {
	if c.busy.Load() {
		return // Redis can't be heard meanwhile
	}
	var patience time.Time
	c.mu.Lock()
	l := c.life
	if l != nil {
		patience = l.patience
	}
	c.mu.Unlock()
	since := func(at int64) time.Duration { return now.Sub(time.Unix(0, at)) }
	if since(c.heard.Load()) > probeEvery+silence {
		if l != nil && now.After(patience) {
			l.stop(errSilent)
		}
		// Those who listen learn it now: there may be no connection for long.
		if !c.told.Swap(true) {
			c.gap()
		}
		return
	}
	if l == nil {
		return
	}
	if at := l.probed.Load(); at != 0 && since(at) > silence {
		// Redis answers, and took the probe, but didn't bring it.
		l.probed.Store(0)
		l.stop(errStarved)
		return
	}
	if since(c.brought.Load()) > probeEvery && l.probed.Load() == 0 && c.probing.CompareAndSwap(false, true) {
		l.ping.Store(true)
		select {
		case c.wake <- struct{}{}:
		default:
		}
		c.link.work.Go(func() {
			defer c.probing.Store(false)
			ctx, cancel := context.WithTimeout(c.link.ctx, silence)
			defer cancel()
			at := time.Now().UnixNano()
			l.probed.Store(at) // it can arrive before its publishing has returned
			if err := c.link.broker.publish(ctx, c.probe, ""); err != nil {
				l.probed.CompareAndSwap(at, 0)
			}
		})
	}
}
