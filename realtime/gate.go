package realtime

import (
	"context"
	"time"
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
	if grant.over(time.Now()) {
		c.hub.warn("realtime: a rule's grant has expired when it is given", "channel", channel, "expires", grant.Expires)
		return Grant{}, errDenied
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
		if ok && (grant.Expires.IsZero() || !grant.over(time.Now())) {
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
		settled := s.phase == live || s.phase == asking
		s.mu.Unlock()
		if settled {
			c.regrant(ctx, s)
		}
	}
}

// renew asks the rules again whose grants have expired.
func (c *conn) renew() {
	defer c.rescue("asking the rules again")
	ctx, cancel := context.WithTimeout(c.hub.ctx, c.hub.o.CommandTimeout)
	defer cancel()
	c.mu.Lock()
	subs := make([]*subscription, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	c.mu.Unlock()
	now := time.Now()
	var due []*subscription
	for _, s := range subs {
		s.mu.Lock()
		switch {
		case s.phase != live:
		case s.grant.over(now):
			s.phase = asking
			due = append(due, s)
		default:
			c.renewBy(s.grant.Expires)
		}
		s.mu.Unlock()
	}
	for _, s := range due {
		c.regrant(ctx, s)
	}
}

// renewBy has a grant's rule asked again when it expires.
func (c *conn) renewBy(expires time.Time) {
	if expires.IsZero() {
		return
	}
	c.mu.Lock()
	sooner := c.renewAt.IsZero() || expires.Before(c.renewAt)
	if sooner {
		c.renewAt = expires
	}
	c.mu.Unlock()
	if sooner {
		c.hub.wheel.schedule(c, wheelTick) // to be planned anew
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
	c.renewBy(grant.Expires)
	res := sentOK
	if s.phase == asking {
		s.phase = live
		res = s.pushEarly()
	}
	left := s.entered && !grant.Presence
	s.entered = s.entered && !left
	silent := !grant.JoinLeave && s.silence()
	s.mu.Unlock()
	if res == sentFull {
		c.disconnect(closeSlow)
	}
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
