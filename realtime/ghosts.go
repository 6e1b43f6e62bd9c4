package realtime

import (
	"context"
	"sync"
)

// ghosts are clients that left while presence could not be told. This hub lives,
// and its beats would keep them listed for as long as it does.
type ghosts struct {
	mu  sync.Mutex // held while one is taken out: its client doesn't enter meanwhile
	all map[ghost]struct{}
}

type ghost struct{ channel, client string }

// maxGhosts bounds their memory to some 50 MB. More of them stay until the hub is
// closed.
const maxGhosts = 1 << 18

func (g *ghosts) add(one ghost) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = map[ghost]struct{}{}
	}
	if len(g.all) < maxGhosts {
		g.all[one] = struct{}{}
	}
}

// forget is for a client that enters again.
func (g *ghosts) forget(one ghost) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, one)
}

func (g *ghosts) list() []ghost {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]ghost, 0, len(g.all))
	for one := range g.all {
		list = append(list, one)
	}
	return list
}

// leavePresence takes a subscription out of presence, now or with a later beat.
func (h *Hub) leavePresence(ctx context.Context, s *subscription) {
	if err := h.presence.Leave(ctx, h.node, s.channel, s.conn.id); err != nil {
		h.ghosts.add(ghost{s.channel, s.conn.id})
		h.warn("realtime: presence", "error", err)
	}
}

// expel takes out of presence who could not be before, as many as there is time
// for. One that still can't be, as on a part of a cluster, is not in the others' way.
func (h *Hub) expel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	var first error
	for _, one := range h.ghosts.list() {
		if err := h.expelOne(ctx, one); err != nil && first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

func (h *Hub) expelOne(ctx context.Context, one ghost) error {
	h.ghosts.mu.Lock()
	defer h.ghosts.mu.Unlock()
	if _, still := h.ghosts.all[one]; !still {
		return nil
	}
	if err := h.presence.Leave(ctx, h.node, one.channel, one.client); err != nil {
		return err
	}
	delete(h.ghosts.all, one)
	return nil
}
