package realtime

import (
	"context"
	"slices"
)

// subscribeParams is the subscribe command, and what a connect command says of
// a server-side subscription it had.
type subscribeParams struct {
	Channel string `json:"channel"`
	Recover bool   `json:"recover"`
	Offset  uint64 `json:"offset"`
	Epoch   string `json:"epoch"`

	server bool // of the server's making
	room   int  // bytes that may be sent of what was missed
	whole  int  // what room would be if nothing that was missed elsewhere had taken of it
}

type subscribeResult struct {
	Recoverable   bool         `json:"recoverable,omitempty"`
	Positioned    bool         `json:"positioned,omitempty"`
	Epoch         string       `json:"epoch,omitempty"`
	Offset        uint64       `json:"offset,omitempty"`
	Recovered     bool         `json:"recovered,omitempty"`
	WasRecovering bool         `json:"was_recovering,omitempty"`
	Publications  publications `json:"publications,omitempty"`
}

// subscribeCommand answers a subscribe command.
func (c *conn) subscribeCommand(ctx context.Context, id uint32, p *subscribeParams) {
	p.room = c.hub.o.MaxQueue / 2
	p.whole = p.room
	s, result, e := c.subscribe(ctx, p)
	if e != nil {
		c.refuse(id, e)
		return
	}
	if s == nil { // the connection is closed
		return
	}
	if !s.activate(func() { c.answer(id, "subscribe", result); c.flush() }) {
		c.abandon(s)
		c.refuse(id, errInternal)
		return
	}
	c.announceJoin(ctx, s)
}

// announceJoin tells the others of a subscription that is live.
func (c *conn) announceJoin(ctx context.Context, s *subscription) {
	s.mu.Lock()
	tell := (s.phase == live || s.phase == asking) && s.grant.JoinLeave
	s.announced, s.telling = tell, tell
	s.mu.Unlock()
	if !tell {
		return
	}
	c.hub.announce(ctx, s, EventJoin)
	s.mu.Lock()
	owed := s.owed
	s.telling, s.owed = false, false
	s.mu.Unlock()
	if owed { // it ended meanwhile: a leave before its join would leave a ghost
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		c.hub.announce(ctx, s, EventLeave)
	}
}

// subscribe enters a channel, all but live. It returns neither a subscription
// nor an error when the connection is closed.
func (c *conn) subscribe(ctx context.Context, p *subscribeParams) (*subscription, *subscribeResult, *Error) {
	kept, _ := longest(c.hub.o.Channels, p.Channel)
	s := &subscription{conn: c, channel: p.Channel, overflow: kept.Overflow, served: p.server}

	// It is on the list before the rule is asked: what changes rights from now
	// on sees it, or is seen.
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return nil, nil, nil
	case c.subs[p.Channel] != nil:
		c.mu.Unlock()
		return nil, nil, errAlready
	case len(c.subs) >= c.hub.o.MaxChannels:
		c.mu.Unlock()
		c.flush()
		c.disconnect(closeChannels)
		return nil, nil, nil
	}
	if c.subs == nil {
		c.subs = map[string]*subscription{}
	}
	c.subs[p.Channel] = s
	left := c.leaving[p.Channel]
	c.mu.Unlock()

	// A client that was told to subscribe again may be faster than its leaving,
	// which would then take it out of presence again.
	if left != nil {
		select {
		case <-left:
		case <-ctx.Done():
			c.abandon(s)
			return nil, nil, errInternal
		}
	}
	result, e := c.join(ctx, s, p, kept)
	if e != nil {
		c.abandon(s)
		return nil, nil, e
	}
	if c.isClosed() {
		c.hub.leave(s)
		return nil, nil, nil
	}
	return s, result, nil
}

// abandon takes back a subscription that didn't come about.
func (c *conn) abandon(s *subscription) {
	c.forget(s)
	c.hub.leave(s)
}

// join asks the rule, enters the channel and reads what was missed. That the
// answer still holds when the subscription goes live is for activate to see.
func (c *conn) join(ctx context.Context, s *subscription, p *subscribeParams, kept Channel) (*subscribeResult, *Error) {
	c.mu.Lock()
	who := c.who
	s.rights = c.rights
	c.mu.Unlock()
	grant, e := c.gate(ctx, who, s.channel)
	if e != nil {
		return nil, e
	}
	s.mu.Lock()
	s.grant = grant
	s.mu.Unlock()
	if err := c.hub.enter(ctx, s); err != nil {
		return nil, c.errorFor("subscribe", err)
	}
	result, e := c.recover(ctx, s, p, grant, kept)
	if e != nil {
		return nil, e
	}
	return result, c.enterPresence(ctx, s, grant)
}

func (c *conn) enterPresence(ctx context.Context, s *subscription, grant Grant) *Error {
	if !grant.Presence || c.hub.presence == nil {
		return nil
	}
	// Noted before, as one that fails may have had its effect, and after, as a
	// close may have left before this entered: whoever ends it now leaves again.
	s.noteEntered()
	c.hub.ghosts.forget(ghost{s.channel, c.id})
	err := c.hub.presence.Enter(ctx, c.hub.node, s.channel, *c.info, 3*presenceBeat)
	s.noteEntered()
	if err != nil {
		return c.errorFor("presence", err)
	}
	return nil
}

func (s *subscription) noteEntered() {
	s.mu.Lock()
	s.entered = true
	s.mu.Unlock()
}

// recover reads the channel's position and, when asked to, what came after the
// client's. It says recovered only when nothing is missing.
func (c *conn) recover(ctx context.Context, s *subscription, p *subscribeParams, grant Grant, kept Channel) (*subscribeResult, *Error) {
	result := &subscribeResult{WasRecovering: p.Recover}
	if kept.HistorySize == 0 || !grant.Recover {
		return result, nil
	}
	keep := Keep{Size: kept.HistorySize, TTL: kept.HistoryTTL}
	f := ReadFilter{Keep: keep}
	switch {
	case kept.Overflow == Latest:
		f.Limit, f.Reverse = 1, true
	case p.Recover:
		f.Since = &Position{Offset: p.Offset, Epoch: p.Epoch}
		f.Limit = c.hub.o.MaxHistory + 1
	}
	pubs, top, err := c.hub.history.Read(ctx, s.channel, f)
	if err != nil {
		return nil, c.errorFor("history", err)
	}
	partial := false
	var late *round
	position := top
	result.Recoverable, result.Positioned = true, true
	result.Epoch, result.Offset = top.Epoch, top.Offset
	switch {
	case kept.Overflow == Latest:
		// The newest is the whole truth, for newcomers too. One the client has
		// needs no repeating; one that has expired can't be told.
		switch has := p.Epoch == top.Epoch && p.Offset == top.Offset || top.Offset == 0 && p.fromStart(); {
		case p.Recover && has:
			result.Recovered = true
		case len(pubs) > 0 && publications(pubs).size() <= p.room:
			result.Recovered, result.Publications = p.Recover, pubs
		case len(pubs) > 0: // other channels of the reply took the room: it follows by itself
			newest := pubs[0]
			newest.Epoch = top.Epoch
			position.Offset = newest.Offset - 1
			result.Recovered, result.Offset = p.Recover, position.Offset
			late = newRound(s.topic, []Event{{Kind: EventPublication, Publication: newest}})
		}
	case !p.Recover:
	case c.complete(pubs, top, p):
		part := publications(pubs).within(p.room)
		// None at all are a part, too, when other channels of the reply got theirs:
		// these come with the next.
		if partial = len(part) < len(pubs); partial && len(part) == 0 && pubs[0].size() > p.whole {
			break
		}
		result.Recovered, result.Publications = true, part
		// The client counts on from where it was, publication by publication.
		result.Offset = p.Offset
	}
	s.mu.Lock()
	s.position, s.offset, s.epoch = true, position.Offset, position.Epoch
	s.partial = partial && result.Recovered
	if late != nil && s.phase == joining {
		s.early = slices.Insert(s.early, 0, late)
	}
	s.mu.Unlock()
	return result, nil
}

// complete reports whether pubs are all there is between a client's position
// and the top, and not too many.
func (c *conn) complete(pubs publications, top Position, p *subscribeParams) bool {
	if p.Epoch != top.Epoch && !p.fromStart() || p.Offset > top.Offset || len(pubs) > c.hub.o.MaxHistory {
		return false
	}
	if uint64(len(pubs)) != top.Offset-p.Offset {
		return false
	}
	return len(pubs) == 0 || pubs[0].Offset == p.Offset+1
}

// fromStart says that the client has never seen anything of the channel.
func (p *subscribeParams) fromStart() bool { return p.Epoch == "" && p.Offset == 0 }

// unsubscribe answers an unsubscribe command. Not being subscribed is no error.
func (c *conn) unsubscribe(channel string) {
	c.mu.Lock()
	s := c.subs[channel]
	c.mu.Unlock()
	if s != nil && c.forget(s) {
		c.hub.leave(s)
	}
}
