package realtime

import (
	"context"
	"unicode"
	"unicode/utf8"
)

// maxChannelName is how long a channel's name may be, in bytes.
const maxChannelName = 255

// gate asks the rule of a channel. It is the only place that does, so live
// subscriptions, history, recovery, presence, publishing and the server's own
// subscriptions are judged alike.
func (c *conn) gate(ctx context.Context, who Identity, channel string) (Grant, *Error) {
	if channel == "" || len(channel) > maxChannelName || !printable(channel) {
		return Grant{}, errBadRequest
	}
	rule, ok := longest(c.hub.rules, channel)
	if !ok {
		return Grant{}, errUnknownChannel
	}
	grant, err := rule(ctx, who, channel)
	if err != nil {
		return Grant{}, c.errorFor("rule", err)
	}
	return grant, nil
}

func printable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// allowed is the grant of a channel for one command: that of the subscription,
// which is asked again whenever rights may have changed, or the rule's answer.
func (c *conn) allowed(ctx context.Context, who Identity, channel string) (Grant, *Error) {
	c.mu.Lock()
	s := c.subs[channel]
	c.mu.Unlock()
	if s != nil {
		s.mu.Lock()
		grant, ok := s.grant, s.phase == live
		s.mu.Unlock()
		if ok {
			return grant, nil
		}
	}
	return c.gate(ctx, who, channel)
}

// Reauthorize asks the rules again for every channel a user's connections on
// this hub are in. Call it when the user's rights have changed. A channel whose
// right is gone is unsubscribed, and the client told so. When it returns, no
// connection is left with a right the rules no longer give.
//
// The rules are asked with the identity of the connection's credential, whose
// scopes and roles are those of when it was presented; a rule that must know
// better looks the user up.
func (h *Hub) Reauthorize(ctx context.Context, userID string) error {
	for _, c := range h.of(byUser, userID) {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.reask(ctx)
	}
	return nil
}

// reask asks the rules again for all channels of a connection. A subscribe that
// is under way sees that rights have moved on, and asks again itself.
func (c *conn) reask(ctx context.Context) {
	c.mu.Lock()
	c.rights++
	who := c.who
	subs := make([]*subscription, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	c.mu.Unlock()
	for _, s := range subs {
		s.mu.Lock()
		settled := s.phase == live
		s.mu.Unlock()
		if settled {
			c.regrant(ctx, who, s)
		}
	}
}

// regrant asks the rule of a live subscription again.
func (c *conn) regrant(ctx context.Context, who Identity, s *subscription) *Error {
	grant, e := c.gate(ctx, who, s.channel)
	switch {
	case e == nil:
	case e.Temporary: // could not tell: the client asks again
		c.kick(s, unsubscribeUnknown)
		return e
	default:
		c.kick(s, unsubscribeDenied)
		return e
	}
	s.mu.Lock()
	s.grant = grant
	left := s.entered && !grant.Presence
	silent := s.announced && !grant.JoinLeave
	s.entered, s.announced = s.entered && !left, s.announced && !silent
	s.mu.Unlock()
	if left {
		if err := c.hub.presence.Leave(ctx, c.hub.node, s.channel, c.id); err != nil {
			c.hub.o.Logger.Warn("realtime: presence", "error", err)
		}
	}
	if silent {
		c.hub.announce(ctx, s, EventLeave)
	}
	return nil
}

// subRefresh answers a sub_refresh command: the rule is asked again.
func (c *conn) subRefresh(ctx context.Context, who Identity, channel string) *Error {
	c.mu.Lock()
	s := c.subs[channel]
	c.mu.Unlock()
	if s == nil {
		return errDenied
	}
	return c.regrant(ctx, who, s)
}
