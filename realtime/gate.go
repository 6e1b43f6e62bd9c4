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

// reask asks the rules again for all channels of a connection. A subscribe that
// is under way sees that rights have moved on, and asks again itself.
func (c *conn) reask(ctx context.Context) {
	c.mu.Lock()
	c.rights++
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
			c.regrant(ctx, s)
		}
	}
}

// regrant asks the rule of a live subscription again. An answer from before
// rights changed once more is asked for anew: it must not replace a later one.
func (c *conn) regrant(ctx context.Context, s *subscription) *Error {
	for {
		c.mu.Lock()
		who, rights := c.who, c.rights
		c.mu.Unlock()
		grant, e := c.gate(ctx, who, s.channel)
		s.mu.Lock()
		c.mu.Lock()
		current := c.rights == rights
		c.mu.Unlock()
		if current && e == nil {
			c.apply(ctx, s, grant) // gives s.mu back
			return nil
		}
		s.mu.Unlock()
		switch {
		case !current && ctx.Err() == nil:
			continue
		case e == nil:
			e = errInternal
		}
		why := unsubscribeDenied
		if e.Temporary { // could not tell: the client asks again
			why = unsubscribeUnknown
		}
		c.kick(s, why)
		return e
	}
}

// apply gives a live subscription another grant. s.mu is held, and given back.
func (c *conn) apply(ctx context.Context, s *subscription, grant Grant) {
	s.grant = grant
	left := s.entered && !grant.Presence
	s.entered = s.entered && !left
	silent := !grant.JoinLeave && s.silence()
	s.mu.Unlock()
	if left {
		c.hub.leavePresence(ctx, s)
	}
	if silent {
		c.hub.announce(ctx, s, EventLeave)
	}
}

// subRefresh answers a sub_refresh command: the rule is asked again.
func (c *conn) subRefresh(ctx context.Context, channel string) *Error {
	c.mu.Lock()
	s := c.subs[channel]
	c.mu.Unlock()
	if s == nil {
		return errDenied
	}
	return c.regrant(ctx, s)
}
