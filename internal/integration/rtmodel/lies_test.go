package rtmodel_test

import (
	"context"
	"flag"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
)

// lie is one promise that what surrounds the hubs breaks.
type lie struct {
	name          string
	often         string // what happens more often than otherwise, to find it sooner
	sessions      func(nd *node, s realtime.Sessions) realtime.Sessions
	broker        func(nd *node, b *nodeBroker) realtime.Broker
	endlessGrants bool                                      // the rule doesn't say when its grants expire
	openDesk      bool                                      // the rule lets everybody into the channel that hubs put them in
	overflow      map[string]realtime.Overflow              // of channels, by prefix, in place of what was promised
	pushed        func(c *client, p realtimetest.Push) bool // what does not reach a client
	openSlow      bool                                      // the rule lets those in everywhere who do not read
	noDesk        bool                                      // hubs forget at times to put somebody into it
}

// liar are sessions that break a promise where a function is set.
type liar struct {
	*nodeSessions
	alive func(bool) bool
	ended func(ids, reasons []string) ([]string, []string)
	end   func(f func(sessionID, userID, reason string)) func(sessionID, userID, reason string)
}

func (l *liar) Alive(ctx context.Context, id string) (bool, error) {
	alive, err := l.nodeSessions.Alive(ctx, id)
	if l.alive != nil {
		alive = l.alive(alive)
	}
	return alive, err
}

func (l *liar) EndedReasons(ctx context.Context, cursor string) (ids, reasons []string, next string, err error) {
	ids, reasons, next, err = l.nodeSessions.EndedReasons(ctx, cursor)
	if l.ended != nil {
		ids, reasons = l.ended(ids, reasons)
	}
	return ids, reasons, next, err
}

func (l *liar) OnEnd(f func(sessionID, userID, reason string)) (cancel func()) {
	if l.end != nil {
		f = l.end(f)
	}
	return l.nodeSessions.OnEnd(f)
}

// about makes a lie of what a liar breaks.
func about(set func(w *world, l *liar)) func(*node, realtime.Sessions) realtime.Sessions {
	return func(nd *node, s realtime.Sessions) realtime.Sessions {
		l := &liar{nodeSessions: s.(*nodeSessions)}
		set(nd.w, l)
		return l
	}
}

// loseControl is a broker whose control messages get lost.
type loseControl struct{ *nodeBroker }

func (loseControl) Broadcast(context.Context, []byte) error { return nil }

// loseOne is a broker that loses every tenth publication of a history.
type loseOne struct {
	*nodeBroker
	n *int
}

func (b loseOne) Attach(h realtime.Handler) (realtime.Link, error) {
	return b.nodeBroker.Attach(losing{h, b.n})
}

type losing struct {
	realtime.Handler
	n *int
}

func (l losing) Deliver(channel string, e realtime.Event) {
	if e.Kind == realtime.EventPublication {
		if *l.n++; *l.n%10 == 0 {
			return
		}
	}
	l.Handler.Deliver(channel, e)
}

// doubling is a broker that delivers every publication of a channel without a
// history twice.
type doubling struct{ *nodeBroker }

func (b doubling) Attach(h realtime.Handler) (realtime.Link, error) {
	return b.nodeBroker.Attach(twice{h})
}

type twice struct{ realtime.Handler }

func (t twice) Deliver(channel string, e realtime.Event) {
	t.Handler.Deliver(channel, e)
	if e.Kind == realtime.EventPublication && e.Publication.Offset == 0 {
		t.Handler.Deliver(channel, e)
	}
}

// handling is a broker whose events a node takes in another way.
type handling struct {
	*nodeBroker
	by func(realtime.Handler) realtime.Handler
}

func (b handling) Attach(h realtime.Handler) (realtime.Link, error) {
	return b.nodeBroker.Attach(b.by(h))
}

// secretive tells nobody of gaps.
type secretive struct{ realtime.Handler }

func (secretive) Gap([]string) {}

// forgetful loses what comes without an offset, at times.
type forgetful struct {
	realtime.Handler
	n *int
}

func (f forgetful) Deliver(channel string, e realtime.Event) {
	if e.Kind == realtime.EventPublication && e.Publication.Offset == 0 {
		if *f.n++; *f.n%10 == 0 {
			return
		}
	}
	f.Handler.Deliver(channel, e)
}

// ageless is a broker that has the same epoch for ever.
type ageless struct{ *nodeBroker }

func (b ageless) Attach(h realtime.Handler) (realtime.Link, error) {
	return b.nodeBroker.Attach(agelessHandler{h})
}

func (b ageless) Read(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
	if f.Since != nil {
		f.Since = &realtime.Position{Offset: f.Since.Offset}
	}
	pubs, top, err := b.nodeBroker.Read(ctx, channel, f)
	top.Epoch = "always"
	return pubs, top, err
}

type agelessHandler struct{ realtime.Handler }

func (h agelessHandler) Deliver(channel string, e realtime.Event) {
	if e.Publication.Epoch != "" {
		e.Publication.Epoch = "always"
	}
	h.Handler.Deliver(channel, e)
}

// holed is a broker that lacks the oldest of what was missed.
type holed struct{ *nodeBroker }

func (b holed) Read(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
	pubs, top, err := b.nodeBroker.Read(ctx, channel, f)
	if len(pubs) > 0 && f.Since != nil {
		pubs = pubs[1:]
	}
	return pubs, top, err
}

// ghosts is a broker that takes nobody out of presence.
type ghosts struct{ *nodeBroker }

func (ghosts) Leave(context.Context, string, string, string) error { return nil }

var lies = []lie{
	{name: "sessions never tell", sessions: about(func(_ *world, l *liar) {
		l.ended = func([]string, []string) ([]string, []string) { return nil, nil }
		l.end = func(func(_, _, _ string)) func(_, _, _ string) { return func(_, _, _ string) {} }
	})},
	{name: "sessions push, and are not to be asked", sessions: about(func(_ *world, l *liar) {
		l.ended = func([]string, []string) ([]string, []string) { return nil, nil }
	})},
	{name: "EndedSince forgets one", sessions: about(func(_ *world, l *liar) {
		l.ended = func(ids, reasons []string) ([]string, []string) {
			if len(ids) > 1 {
				return ids[1:], reasons[1:]
			}
			return ids, reasons
		}
	})},
	{name: "every session is alive", sessions: about(func(_ *world, l *liar) {
		l.alive = func(bool) bool { return true }
	})},
	{name: "no session is alive", sessions: about(func(_ *world, l *liar) {
		l.alive = func(bool) bool { return false }
	})},
	{name: "sessions are said to end that live", sessions: about(func(w *world, l *liar) {
		l.end = func(f func(_, _, _ string)) func(_, _, _ string) {
			return func(id, user, reason string) {
				f(id, user, reason)
				w.mu.Lock()
				other := w.lives[len(w.lives)-1].id
				w.mu.Unlock()
				f(other, user, reason)
			}
		}
	})},
	{name: "control messages get lost", broker: func(_ *node, b *nodeBroker) realtime.Broker { return loseControl{b} }},
	{name: "publications get lost", broker: func(_ *node, b *nodeBroker) realtime.Broker { return loseOne{b, new(int)} }},
	{name: "publications are doubled", broker: func(_ *node, b *nodeBroker) realtime.Broker { return doubling{b} }},
	{name: "publications without a history get lost", broker: func(_ *node, b *nodeBroker) realtime.Broker {
		return handling{b, func(h realtime.Handler) realtime.Handler { return forgetful{h, new(int)} }}
	}},
	{name: "gaps are not told", often: "cut", broker: func(_ *node, b *nodeBroker) realtime.Broker {
		return handling{b, func(h realtime.Handler) realtime.Handler { return secretive{h} }}
	}},
	{name: "a broker begins anew with the same epoch", broker: func(_ *node, b *nodeBroker) realtime.Broker { return ageless{b} }},
	{name: "histories have holes", broker: func(_ *node, b *nodeBroker) realtime.Broker { return holed{b} }},
	{name: "presence never ends", broker: func(_ *node, b *nodeBroker) realtime.Broker { return ghosts{b} }},
	{name: "rules keep to themselves when grants expire", often: "rights", endlessGrants: true},
	{name: "who the hub subscribes needs no right", often: "rights", openDesk: true},
	{name: "hubs forget to subscribe somebody", noDesk: true},
	{name: "slow readers of a channel that drops are closed", often: "stall", overflow: map[string]realtime.Overflow{"drop:": realtime.Close}},
	{name: "slow readers of a channel that drops get the newest alone", often: "stall", overflow: map[string]realtime.Overflow{"drop:": realtime.Latest}},
	{name: "slow readers are not told what was dropped", often: "stall", pushed: func(c *client, p realtimetest.Push) bool {
		return c.stall.behind(time.Now()) && p.Unsubscribe != nil && p.Unsubscribe.Reason == "insufficient state"
	}},
	{name: "slow readers don't get the newest", often: "stall", pushed: func(c *client, p realtimetest.Push) bool {
		return c.stall.behind(time.Now()) && p.Publication != nil && p.Channel == "board:e"
	}},
	{name: "slow readers keep every right", often: "stall", openSlow: true},
}

// lieRuns is within how many runs a lie is to be found at the latest. Most take a
// few.
const lieRuns = 2000

// The model finds each of these, so that it would find a hub that behaved so.
func TestEveryLieIsFound(t *testing.T) {
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(lieRuns)))
			n, broken := 0, ""
			rapid.Check(t, func(t *rapid.T) {
				if broken != "" {
					return
				}
				n++
				rapid.SyncTest(t, func(t *rapid.T) { run(t, l, func(what string) { broken = what }) })
			})
			require.NotEmpty(t, broken, "%d runs do not find it", lieRuns)
			t.Logf("found in run %d: %s", n, broken)
		})
	}
}
