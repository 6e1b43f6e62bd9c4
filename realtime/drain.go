package realtime

import (
	"context"
	"time"
)

// Drain refuses new connections and tells those there are to move (3001), spread
// over [Options.DrainWindow] or most of ctx's time, whichever is less. It returns
// when all sockets are closed, or ctx's error; then those left are told at once.
// The hub is still to be closed.
func (h *Hub) Drain(ctx context.Context) error {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()

	window := h.o.DrainWindow
	if end, ok := ctx.Deadline(); ok {
		window = min(window, time.Until(end)*8/10)
	}
	err := h.stagger(ctx, window)
	if err == nil {
		err = h.awaitSockets(ctx)
	}
	for _, c := range h.everyone() {
		c.disconnect(closeShutdown)
	}
	return err
}

// stagger closes connections at an even pace. A map's order is random enough
// for nobody to be last every time.
func (h *Hub) stagger(ctx context.Context, window time.Duration) error {
	const steps = 50
	all := h.everyone()
	ticker := time.NewTicker(max(window/steps, time.Millisecond))
	defer ticker.Stop()
	for done, step := 0, 1; done < len(all); step++ {
		for target := min(len(all), (len(all)*step+steps-1)/steps); done < target; done++ {
			all[done].disconnect(closeShutdown)
		}
		if done == len(all) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// closePatience is how long Close waits for peers to answer its close frames.
const closePatience = 500 * time.Millisecond

// Close tells everyone left to move (3001), at once, and ends all goroutines:
// when it returns none is left. Call Drain first for a restart that nobody
// notices. Further calls do nothing.
func (h *Hub) Close() error {
	h.mu.Lock()
	first := !h.closing
	h.closing = true
	h.mu.Unlock()
	if !first {
		h.wg.Wait()
		return nil
	}
	all := h.everyone()
	for _, c := range all {
		c.disconnect(closeShutdown)
	}
	h.cancel()
	for wait := closePatience; ; wait = wheelTick / 5 {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		err := h.awaitSockets(ctx)
		cancel()
		if err == nil {
			break
		}
		h.wheel.cut()
	}
	h.work.mu.Lock()
	h.work.over = true
	h.work.mu.Unlock()
	h.workers.end()
	close(h.stop)
	h.wg.Wait()
	return h.link.Close()
}

// awaitSockets waits until all sockets are closed, or ctx ends.
func (h *Hub) awaitSockets(ctx context.Context) error {
	h.mu.Lock()
	if len(h.places) == 0 {
		h.mu.Unlock()
		return nil
	}
	if h.empty == nil {
		h.empty = make(chan struct{})
	}
	empty := h.empty
	h.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
