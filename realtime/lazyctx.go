package realtime

import (
	"context"
	"sync"
	"time"
)

// lazyContext is the context of one command. Few are ever asked when they end:
// the timer, the channel and the place among the hub's children are made when
// one is.
type lazyContext struct {
	hub      context.Context
	deadline time.Time

	mu    sync.Mutex
	inner context.Context // nil: nobody has asked
	stop  context.CancelFunc
	over  bool
}

func (c *lazyContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *lazyContext) Done() <-chan struct{} { return c.real().Done() }

func (c *lazyContext) Err() error {
	c.mu.Lock()
	idle := c.inner == nil && !c.over && time.Now().Before(c.deadline)
	c.mu.Unlock()
	if idle {
		return c.hub.Err()
	}
	return c.real().Err()
}

// Value asks the hub's context first, which answers what package context asks
// about who ends whom: only then is it worth being real.
func (c *lazyContext) Value(key any) any {
	if c.hub.Value(key) == nil {
		return nil
	}
	return c.real().Value(key)
}

// real is the context that this one stands for.
func (c *lazyContext) real() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.stop = context.WithDeadline(c.hub, c.deadline)
		if c.over {
			c.stop()
		}
	}
	return c.inner
}

func (c *lazyContext) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.stop != nil {
		c.stop()
	}
}
