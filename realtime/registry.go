package realtime

// kinship is what connections are found by.
type kinship int

const (
	byUser kinship = iota
	bySession
)

var kinships = [...]string{byUser: "user", bySession: "session"}

// kin links the connections of one user or one session. A list in the
// connections themselves costs less than a set for each of mostly one.
type kin struct {
	prev, next *conn
	key        string
	on         bool
}

// place is what an address still has.
type place int

const (
	placeFree     place = iota
	placeOver           // taken, but one too many: to be told and closed
	placeNone           // not taken
	placeDraining       // not taken
)

// reserve counts a socket for its address and for Close. Those over the limit
// are let in to be told so, a few of them.
func (h *Hub) reserve(addr string) place {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining || h.closing {
		return placeDraining
	}
	n, limit := h.places[addr], h.o.MaxPerAddress
	if limit > 0 && n >= limit+limit/10+16 {
		return placeNone
	}
	h.places[addr] = n + 1
	h.wg.Add(1)
	if limit > 0 && n >= limit {
		return placeOver
	}
	return placeFree
}

// release gives the place of a closed socket back.
func (h *Hub) release(addr string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.places[addr]--; h.places[addr] <= 0 {
		delete(h.places, addr)
	}
	if h.empty != nil && len(h.places) == 0 {
		close(h.empty)
		h.empty = nil
	}
}

// admit makes an open socket known, so that Drain and Close reach it.
func (h *Hub) admit(c *conn) {
	h.mu.Lock()
	h.conns[c.id] = c
	leaving := h.draining || h.closing
	h.mu.Unlock()
	h.wheel.schedule(c, h.o.ConnectTimeout)
	if leaving {
		c.disconnect(closeShutdown)
	}
}

// register enters a connection under its user and session: from here on a kick
// finds it. It returns false when the user has too many.
func (h *Hub) register(c *conn, who Identity) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.o.MaxPerUser > 0 {
		n := 0
		for k := h.kin[byUser][who.user]; k != nil; k = k.kin[byUser].next {
			n++
		}
		if n >= h.o.MaxPerUser {
			return false
		}
	}
	// One that was closed meanwhile is not entered: nobody would take it out.
	if h.conns[c.id] == c {
		h.relate(c, byUser, who.user)
		h.relate(c, bySession, who.session)
	}
	return true
}

func (h *Hub) relate(c *conn, by kinship, key string) {
	first := h.kin[by][key]
	c.kin[by] = kin{next: first, key: key, on: true}
	if first != nil {
		first.kin[by].prev = c
	}
	h.kin[by][key] = c
}

// unregister takes a connection out of everything it could be found by.
func (h *Hub) unregister(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c.id)
	for by := range h.kin {
		k := &c.kin[by]
		if !k.on {
			continue
		}
		if k.prev != nil {
			k.prev.kin[by].next = k.next
		} else if k.next != nil {
			h.kin[by][k.key] = k.next
		} else {
			delete(h.kin[by], k.key)
		}
		if k.next != nil {
			k.next.kin[by].prev = k.prev
		}
		*k = kin{}
	}
}

// of returns the connections of a user or session.
func (h *Hub) of(by kinship, key string) []*conn {
	if key == "" {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*conn
	for c := h.kin[by][key]; c != nil; c = c.kin[by].next {
		all = append(all, c)
	}
	return all
}

// named returns the connections with these ids, each once.
func (h *Hub) named(ids []string) []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*conn
	for _, id := range ids {
		if c := h.conns[id]; c != nil {
			all = append(all, c)
		}
	}
	return all
}

// everyone returns all connections.
func (h *Hub) everyone() []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*conn, 0, len(h.conns))
	for _, c := range h.conns {
		all = append(all, c)
	}
	return all
}

// sessionIDs returns the sessions that have sockets.
func (h *Hub) sessionIDs() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]string, 0, len(h.kin[bySession]))
	for id := range h.kin[bySession] {
		ids = append(ids, id)
	}
	return ids
}
