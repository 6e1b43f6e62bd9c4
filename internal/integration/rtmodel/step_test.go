package rtmodel_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/gatewire/gatewire/session"
)

var (
	menu = fair(
		"sign in", "sign in", "connect", "connect", "connect", "connect", "connect",
		"subscribe", "subscribe", "subscribe", "subscribe", "recover", "unsubscribe",
		"publish", "client publishes", "client publishes", "send", "whoami",
		"refresh", "refresh", "refresh", "foreign refresh",
		"end", "end", "end others", "end all", "end and connect", "end and connect", "put out",
		"rights", "rights", "rights", "rights twice", "rights and subscribe", "rights and subscribe",
		"fault", "fault", "heal", "cut", "broker", "stall", "stall",
		"gone", "goodbye", "mute",
		"wait", "wait", "wait", "wait",
	)
	pauses   = fair[time.Duration](0, 0, 0, time.Millisecond, 10*time.Millisecond, 30*time.Millisecond, 100*time.Millisecond)
	waits    = fair(300*time.Millisecond, time.Second, 1500*time.Millisecond, 3*time.Second, 3*time.Second, 7*time.Second, 12*time.Second, 40*time.Second)
	cuts     = fair[time.Duration](0, 0, 10*time.Millisecond, 100*time.Millisecond, time.Second, 4*time.Second)
	stalls   = fair[time.Duration](0, 100*time.Millisecond, 100*time.Millisecond, time.Second, time.Second, 3*time.Second, 8*time.Second, 40*time.Second)
	rooms    = fair(-1, 0, 0, 100, 300, 300, 1000)
	tokens   = fair[time.Duration](0, 4*time.Second, 10*time.Second, 30*time.Second, 30*time.Second, 5*time.Minute)
	kinds    = fair("allow", "allow", "deny", "deny", "until", "until", "unknown")
	granting = fair("allow", "until")
	grants   = fair(-time.Millisecond, 0, 0, 100*time.Millisecond, time.Second, 4*time.Second)
)

// fair draws each with the same chance, which rapid's own choices don't.
func fair[T any](of ...T) *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T { return of[index(t, len(of))] })
}

func index(t *rapid.T, n int) int {
	i := 0
	for range 8 {
		i <<= 1
		if rapid.Bool().Draw(t, "bit") {
			i |= 1
		}
	}
	return i * n >> 8
}

// pick is fair for what is better shown by its place.
func pick[T any](w *world, name string, of []T) T {
	return of[rapid.Custom(func(t *rapid.T) int { return index(t, len(of)) }).Draw(w.t, name)]
}

// anyLife picks a session, rather one that lives.
func (w *world) anyLife() *life {
	w.mu.Lock()
	all, living := w.lives, []*life(nil)
	for _, l := range w.lives {
		if !l.over(time.Now()) {
			living = append(living, l)
		}
	}
	w.mu.Unlock()
	if len(living) > 0 && fair(0, 1, 2, 3).Draw(w.t, "living") > 0 {
		return pick(w, "session", living)
	}
	if len(all) == 0 {
		return nil
	}
	return pick(w, "session", all)
}

// idle picks a client that can be told to do something.
func (w *world) idle() *client {
	w.mu.Lock()
	var all []*client
	for _, c := range w.clients {
		if c.connected && !c.busy && c.over.IsZero() && !c.left {
			all = append(all, c)
		}
	}
	w.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	return pick(w, "client", all)
}

// step is one thing that happens.
func (w *world) step() {
	nd := pick(w, "node", w.nodes)
	w.mu.Lock()
	without := w.pace.Perm(len(channels))[:2]
	w.mu.Unlock()
	for n, channel := range channels { // so that whoever should get nothing would
		if !slices.Contains(without, n) {
			w.publish(nd, channel)
		}
	}
	what := menu.Draw(w.t, "what")
	w.mu.Lock()
	if w.lie.often != "" && w.pace.IntN(4) == 0 {
		what = w.lie.often
	}
	w.mu.Unlock()
	switch what {
	case "sign in":
		w.signIn(nd, pick(w, "user", users), fair(true, false).Draw(w.t, "token"))
	case "connect":
		if l := w.anyLife(); l != nil {
			w.startConnect(nd, l)
		}
	case "end and connect": // at the same time
		if l := w.anyLife(); l != nil {
			w.startConnect(nd, l)
			time.Sleep(pauses.Draw(w.t, "pause"))
			w.end(pick(w, "at", w.nodes), "session", l)
		}
	case "end", "end others", "end all":
		if l := w.anyLife(); l != nil {
			w.end(nd, map[string]string{"end": "session", "end others": "others", "end all": "user"}[what], l)
		}
	case "put out":
		w.putOut(nd, pick(w, "user", users))
	case "publish":
		w.publish(nd, pick(w, "channel", channels))
	case "send":
		user := pick(w, "user", users)
		w.ops.Go(func() {
			_ = nd.hub.SendUser(context.Background(), user, []byte(`"`+user+`"`))
			w.mu.Lock()
			defer w.mu.Unlock()
			w.sent[user] = time.Now()
		})
	case "rights":
		w.change(nd, w.anyRight(), kinds)
	case "rights twice": // whichever answer comes later, the second counts
		r := w.anyRight()
		w.change(nd, r, granting)
		time.Sleep(pauses.Draw(w.t, "pause"))
		w.change(nd, r, granting)
	case "rights and subscribe": // at the same time
		if c := w.idle(); c != nil {
			r := right{c.life.user, pick(w, "channel", channels)}
			w.mu.Lock()
			on := c.subs[r.channel].on
			w.mu.Unlock()
			if on {
				break
			}
			c.subscribe(r.channel, false)
			time.Sleep(pauses.Draw(w.t, "pause"))
			w.change(c.node, r, kinds)
		}
	case "fault":
		w.fault(nd)
	case "stall":
		if c := w.idle(); c != nil {
			w.hold(c, stalls.Draw(w.t, "for"), rooms.Draw(w.t, "room"))
			time.Sleep(time.Millisecond)
			w.publishAll()
			switch fair("nothing", "end", "rights").Draw(w.t, "then") {
			case "end":
				w.end(nd, "session", c.life)
			case "rights":
				w.change(nd, right{c.life.user, pick(w, "channel", channels)}, kinds)
			}
		}
	case "cut":
		w.cut(nd, cuts.Draw(w.t, "for"))
	case "broker":
		switch fair("pauses", "begins anew", "forgets").Draw(w.t, "broker") {
		case "pauses":
			w.breakDown(cuts.Draw(w.t, "for"), true)
		case "begins anew":
			w.breakDown(cuts.Draw(w.t, "for"), false)
		default:
			w.forget()
		}
	case "heal":
		w.heal()
	case "wait":
		time.Sleep(waits.Draw(w.t, "for"))
		return
	default:
		if c := w.idle(); c != nil {
			w.command(c, what)
		}
	}
	time.Sleep(pauses.Draw(w.t, "pause"))
}

func (w *world) signIn(nd *node, user string, token bool) *life {
	l := &life{user: user}
	if token {
		_, s, err := nd.m.BeginToken(context.Background(), session.Start{UserID: l.user})
		if err != nil {
			w.t.Fatal(err)
		}
		l.id, l.expires = s.ID(), s.ExpiresAt()
	} else {
		s, cookie, err := nd.begin(l.user)
		if err != nil {
			w.t.Fatal(err)
		}
		l.id, l.expires, l.cookie = s.ID(), s.ExpiresAt(), cookie
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.n = len(w.lives)
	w.lives = append(w.lives, l)
	w.note("%v begins", l)
	return l
}

func (w *world) startConnect(nd *node, l *life) {
	token := l.cookie == "" || fair(0, 1, 2).Draw(w.t, "by token") == 0
	var then []string
	if fair(true, true, true, false).Draw(w.t, "subscribes") {
		then = fair(wished, dropping).Draw(w.t, "channels")
	}
	var before *client
	if fair(true, true, false).Draw(w.t, "comes back") {
		before = w.lastOf(l)
	}
	w.connect(nd, l, token, time.Now().Add(tokens.Draw(w.t, "token life")), then, before)
}

// lastOf is the newest socket of a session that is over, and that nobody has come
// back for.
func (w *world) lastOf(l *life) *client {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range slices.Backward(w.clients) {
		if c.life == l && c.connected && !c.over.IsZero() && !c.followed {
			c.followed = true
			return c
		}
	}
	return nil
}

// end ends sessions through a node: one, the others of its user, or all.
func (w *world) end(nd *node, which string, l *life) {
	ctx := context.Background()
	w.mu.Lock()
	w.note("%s of %v: to be ended through node %d", which, l, nd.n)
	w.mu.Unlock()
	var err error
	switch which {
	case "session":
		_, err = nd.m.Revoke(ctx, l.user, l.id, session.ReasonRevoked)
	case "others":
		_, err = nd.m.RevokeOthers(ctx, l.user, l.id, session.ReasonPasswordChanged)
	default:
		_, err = nd.m.RevokeUser(ctx, l.user, session.ReasonDisabled)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, other := range w.lives {
		if other.user != l.user || which == "session" && other != l || which == "others" && other == l || other.over(now) {
			continue
		}
		other.ended = now
		counts.ended.Add(1)
	}
}

// putOut closes a user's sockets, whose sessions live on.
func (w *world) putOut(nd *node, user string) {
	w.mu.Lock()
	w.putting[user]++
	w.note("%s is put out by node %d", user, nd.n)
	var those []*client
	for _, c := range w.clients {
		if c.connected && c.over.IsZero() && c.life.user == user {
			those = append(those, c)
		}
	}
	w.mu.Unlock()
	w.ops.Go(func() {
		began, told := time.Now(), !nd.mute.Load()
		_ = nd.hub.EndUser(context.Background(), user, "put out")
		told = told && !nd.mute.Load()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.putting[user]--
		w.put[user] = time.Now()
		for _, c := range those {
			if c.node == nd || told && c.node.heard(began) {
				c.put = w.put[user]
			}
		}
	})
}

func (w *world) publish(nd *node, channel string) {
	w.mu.Lock()
	n, began := nd.sequence[channel]+1, time.Now()
	w.mu.Unlock()
	err := nd.hub.Publish(context.Background(), channel, w.message(fmt.Sprint("node ", nd.n), n))
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		nd.sequence[channel] = n
	} else if !w.failures.since(began) {
		w.violate("R8", "node %d can't publish: %v", nd.n, err)
	}
}

func (w *world) anyRight() right {
	return right{pick(w, "user", users), pick(w, "channel", channels)}
}

// change changes a right, and mostly has the hubs ask again.
func (w *world) change(nd *node, r right, kinds *rapid.Generator[string]) {
	kind := kinds.Draw(w.t, "right")
	d := grants.Draw(w.t, "until")
	ask := fair(0, 1, 2, 3, 4).Draw(w.t, "ask") > 0
	w.mu.Lock()
	a, now := w.rights[r], time.Now()
	if a.denied(now) && !a.unknown {
		a.last[lastDenied] = now
	}
	if a.allowed && !a.until.IsZero() && a.until.Before(now.Add(time.Second)) {
		a.last[lastDenied] = later(now, a.until) // a grant that is being given may be over when it is
	}
	if a.unknown {
		a.last[lastUnknown] = now
	}
	a.allowed, a.unknown, a.until = kind == "allow" || kind == "until", kind == "unknown", time.Time{}
	if kind == "until" {
		a.until = now.Add(d)
	}
	a.version++
	a.changed, a.known = now, map[*node]time.Time{}
	version := a.version
	w.note("%s in %s: %s %v", r.user, r.channel, kind, d)
	w.mu.Unlock()
	if !ask {
		return
	}
	counts.reauthorized.Add(1)
	w.ops.Go(func() {
		w.nap()
		began, told := time.Now(), !nd.mute.Load()
		w.mu.Lock()
		w.asking[r.user]++
		w.mu.Unlock()
		err := nd.hub.Reauthorize(context.Background(), r.user)
		told = told && !nd.mute.Load()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asking[r.user]--
		w.asked[r.user] = time.Now()
		if err != nil && !nd.closing && !w.failures.since(began) {
			w.violate("R3", "Reauthorize: %v", err)
		}
		if a.version != version {
			return
		}
		now := time.Now()
		for _, other := range w.nodes {
			switch {
			case other == nd:
				a.known[other] = now
			case told && other.heard(began): // it has begun to ask
				a.known[other] = now.Add(askedWithin)
			}
		}
		w.note("%s in %s: asked again", r.user, r.channel)
	})
}

// askedWithin is how long a node takes that another has told to ask again.
const askedWithin = 4 * time.Second

func (w *world) fault(nd *node) {
	what := fair("deaf", "mute", "down").Draw(w.t, "fault")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("node %d is to be %s", nd.n, what)
	switch what {
	case "deaf":
		nd.deaf.Store(true)
	case "mute":
		nd.mute.Store(true)
	case "down":
		if !nd.down && time.Since(nd.upAt) > 1200*time.Millisecond { // the hub has seen that it was there
			nd.down, nd.downAt = true, time.Now()
			counts.outages.Add(1)
		}
	}
}

// command has a client do something.
func (w *world) command(c *client, what string) {
	channel := pick(w, "channel", channels)
	switch what {
	case "subscribe", "recover":
		c.subscribe(channel, what == "recover")
	case "unsubscribe":
		c.unsubscribe(channel)
	case "client publishes":
		c.publish(channel)
	case "whoami":
		c.whoami()
	case "refresh":
		c.refresh(bearer{c.life.user, c.life.id, time.Now().Add(tokens.Draw(w.t, "token life"))})
	case "foreign refresh":
		if l := w.anyLife(); l != nil {
			c.refresh(bearer{l.user, l.id, time.Now().Add(tokens.Draw(w.t, "token life"))})
		}
	case "gone":
		c.leave(what, c.c.Cut)
	case "goodbye":
		c.leave(what, c.c.Close)
	case "mute":
		w.mu.Lock()
		c.muted = true
		w.mu.Unlock()
		c.c.Mute()
	}
}

// leave ends a connection from the client's side.
func (c *client) leave(how string, f func()) {
	c.w.mu.Lock()
	c.left = true
	c.w.note("%v: %s", c, how)
	c.w.mu.Unlock()
	c.w.ops.Go(f)
}
