package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Login signs a user in with a cookie session. It is [Manager.Begin] with the
// user agent of the request and the address of its peer (behind a proxy that
// is the proxy: use Begin and say the client's). Where a password or anything
// else was checked before, use Begin with [Start].Epoch.
func (m *Manager[D]) Login(w http.ResponseWriter, r *http.Request, userID string) error {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = ""
	}
	_, err = m.Begin(w, r, Start{UserID: userID, UserAgent: r.UserAgent(), IP: ip})
	return err
}

// Begin signs a user in with a cookie session, once the caller has checked
// their credentials, and sets the cookie. It always makes a new secret; the
// one the request came with is dead from then on.
//
//   - An anonymous session becomes the user's and keeps its data.
//   - A session of the same user keeps its id and data, so sockets stay. Its
//     lifetime and AuthTime begin anew, and its Origin is that of this sign-in:
//     who signs in again by password is no longer signed out by the provider.
//   - A session of another user ends (ReasonReplaced); nothing of it is kept.
//
// It works with and without Handler around; inside Handler the cookie is set
// when the response begins. Outside, call it before anything is written:
// net/http drops later headers, and can't tell. Errors: [ErrEpoch] (see Start.Epoch),
// [ErrHeadersSent], or one that means the store could not tell. After an error
// nobody new is signed in.
func (m *Manager[D]) Begin(w http.ResponseWriter, r *http.Request, s Start) (*Session[D], error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	var session *Session[D]
	err := m.withVisit(w, r, func(ctx context.Context, v *visit[D]) (err error) {
		if err = v.load(ctx); err == nil {
			session, err = v.begin(ctx, s)
		}
		return err
	})
	return session, err
}

// Renew gives the request's session a new secret and keeps everything else,
// its id too. Call it after a change of rights or of a password: a copied
// cookie is dead from then on. The errors are those of Authenticate, also
// when another request was faster, and [ErrHeadersSent].
func (m *Manager[D]) Renew(w http.ResponseWriter, r *http.Request) error {
	return m.withVisit(w, r, func(ctx context.Context, v *visit[D]) error {
		if err := v.load(ctx); err != nil {
			return err
		}
		for attempt := 0; ; attempt++ {
			now := m.now()
			switch {
			case v.dead:
				return ErrInvalid
			case v.rec == nil:
				return ErrNoSession
			case !isLive(*v.rec, now):
				return ErrInvalid
			}
			err := v.replace(ctx, *v.rec, now)
			if err == nil {
				m.event(ctx, Event{Kind: EventRenewed, SessionID: v.rec.ID, UserID: v.rec.UserID})
				return nil
			}
			if !errors.Is(err, ErrConflict) {
				return v.gone(err)
			}
			if err := v.again(ctx, attempt); err != nil {
				return err
			}
			v.dead = v.rec == nil
		}
	})
}

// withVisit runs f on the request's visit, or on one of its own that ends with
// the headers written at once.
func (m *Manager[D]) withVisit(w http.ResponseWriter, r *http.Request, f func(context.Context, *visit[D]) error) error {
	v := m.visitOf(r.Context())
	inside := v != nil
	if !inside {
		v = m.newVisit(r)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrHeadersSent
	}
	err := f(m.apart(r.Context()), v)
	if !inside && err == nil {
		v.writeHeaders(w.Header())
	}
	return err
}

// begin is Begin on a loaded visit.
func (v *visit[D]) begin(ctx context.Context, s Start) (*Session[D], error) {
	m := v.m
	for attempt := 0; ; attempt++ {
		now := m.now()
		if v.rec == nil || !isLive(*v.rec, now) || v.rec.UserID != "" && v.rec.UserID != s.UserID {
			return v.beginNew(ctx, s, now)
		}
		if err := m.checkEpoch(ctx, s); err != nil {
			return nil, err
		}
		rec := *v.rec
		s.apply(&rec, now)
		rec.Expires = now.Add(m.config.cookie.Absolute)
		err := v.replace(ctx, rec, now)
		switch {
		case errors.Is(err, ErrConflict):
			if err := v.again(ctx, attempt); err != nil {
				return nil, err
			}
			continue
		case errors.Is(err, ErrNotFound): // ended, or renewed by another request
			v.forget()
			continue
		case err != nil:
			return nil, unavailable(err)
		}
		// Create compares the epoch in the store, Replace can't. So it is
		// compared once more: an EndUser before this moment shows here, a later
		// one finds the session under the user. The token has not left yet.
		if err := m.checkEpoch(ctx, s); err != nil {
			v.undo(ctx)
			return nil, err
		}
		return v.begun(ctx, now)
	}
}

// replace writes rec under a fresh token, with the request's data.
func (v *visit[D]) replace(ctx context.Context, rec Record, now time.Time) error {
	old := rec.Key
	token, key := newCookieToken()
	rec.Key, rec.Data = key, v.data
	rec.Seen = later(rec.Seen, now)
	rec.IdleExpires = earlier(later(rec.IdleExpires, now.Add(v.m.config.cookie.Idle)), rec.Expires)
	if err := v.m.store.Replace(ctx, old, rec, rec.Rev); err != nil {
		return err
	}
	rec.Rev++
	v.set(&rec, rec.Data)
	v.changes = nil
	v.token, v.clear, v.unsent = token, false, rec.ID
	v.live, v.dead = []Record{rec}, false
	return nil
}

// beginNew makes a session that has nothing of the one before.
func (v *visit[D]) beginNew(ctx context.Context, s Start, now time.Time) (*Session[D], error) {
	m := v.m
	var data []byte
	if v.rec == nil {
		data = v.data // what this request wrote for a visitor without a session
	}
	replaced := v.live
	token, key := newCookieToken()
	rec := Record{
		Key: key, ID: newID(), Kind: KindCookie, Rev: 1,
		Created: now, Seen: now, Data: data,
		IdleExpires: now.Add(m.config.cookie.Idle), Expires: now.Add(m.config.cookie.Absolute),
	}
	s.apply(&rec, now)
	if err := m.create(ctx, rec, s); err != nil {
		return nil, err
	}
	v.forget()
	v.set(&rec, rec.Data)
	v.token, v.clear, v.unsent = token, false, rec.ID
	v.live = []Record{rec}
	for i, old := range replaced {
		if _, err := m.end(ctx, old.ID, old.UserID, ReasonReplaced); err != nil {
			v.undo(ctx)
			// They may live on: Handler answers 503 even if next ignores it, and
			// a sign-out ends them.
			v.live, v.loadErr = replaced[i:], err
			return nil, err
		}
	}
	return v.begun(ctx, now)
}

// begun finishes a sign-in.
func (v *visit[D]) begun(ctx context.Context, now time.Time) (*Session[D], error) {
	v.m.evict(ctx, *v.rec, now)
	v.m.event(ctx, Event{Kind: EventBegun, Time: now, SessionID: v.rec.ID, UserID: v.rec.UserID})
	return v.session()
}

// undo ends a session whose token was not sent, whatever became of the request.
func (v *visit[D]) undo(ctx context.Context) {
	rec := *v.rec
	v.forget()
	ctx, cancel := detached(ctx)
	defer cancel()
	if _, err := v.m.end(ctx, rec.ID, rec.UserID, ReasonRevoked); err != nil {
		v.m.config.logger.Warn("session: a session that was begun in vain could not be ended", "session", rec.ID, "error", err)
	}
}

// again reads the session anew after a conflict.
func (v *visit[D]) again(ctx context.Context, attempt int) error {
	if err := pause(ctx, attempt); err != nil {
		return err
	}
	return v.rebase(ctx)
}

// gone turns what Replace says into what the caller may know.
func (v *visit[D]) gone(err error) error {
	if errors.Is(err, ErrNotFound) {
		v.forget()
		v.dead = true
		return ErrInvalid
	}
	return unavailable(err)
}

// create stores a new session of a user.
func (m *Manager[D]) create(ctx context.Context, rec Record, s Start) error {
	epoch := AnyEpoch
	if s.Epoch != nil {
		epoch = *s.Epoch
	}
	err := m.store.Create(ctx, rec, epoch)
	if err != nil && !errors.Is(err, ErrEpoch) {
		return unavailable(err)
	}
	return err
}

func (m *Manager[D]) checkEpoch(ctx context.Context, s Start) error {
	if s.Epoch == nil {
		return nil
	}
	epoch, err := m.store.Epoch(ctx, s.UserID)
	if err != nil {
		return unavailable(err)
	}
	if epoch != *s.Epoch {
		return ErrEpoch
	}
	return nil
}

// BeginToken signs a user in with a token session, for clients that keep no
// cookies. The token is for [Manager.Refresh] alone and is not kept here. The
// errors are those of Begin.
func (m *Manager[D]) BeginToken(ctx context.Context, s Start) (RefreshToken, *Session[D], error) {
	if err := s.check(); err != nil {
		return RefreshToken{}, nil, err
	}
	now := m.now()
	token := newRefreshToken(random(locatorSize))
	rec := Record{
		Key: token.key(), ID: newID(), Kind: KindToken, Rev: 1,
		Created: now, Seen: now,
		IdleExpires: now.Add(m.config.refresh.Idle), Expires: now.Add(m.config.refresh.Absolute),
		Refresh: Refresh{Secret: token.sum()},
	}
	s.apply(&rec, now)
	if err := m.create(ctx, rec, s); err != nil {
		return RefreshToken{}, nil, err
	}
	m.evict(ctx, rec, now)
	m.event(ctx, Event{Kind: EventBegun, Time: now, SessionID: rec.ID, UserID: rec.UserID})
	session, err := m.open(ctx, rec)
	return token.reveal(), session, err
}

const (
	maxUserID    = 255
	maxUserAgent = 512
	maxIP        = 64
	maxOrigin    = 4 * 255 // so that two fit into a database's index
)

func (s *Start) check() error {
	if s.UserID == "" || len(s.UserID) > maxUserID {
		return fmt.Errorf("%w: Start.UserID must have 1 to %d bytes", errHost, maxUserID)
	}
	if max(len(s.Origin.Issuer), len(s.Origin.Subject), len(s.Origin.SID)) > maxOrigin {
		return fmt.Errorf("%w: each part of Start.Origin may have %d bytes", errHost, maxOrigin)
	}
	return nil
}

// apply writes the sign-in into rec.
func (s *Start) apply(rec *Record, now time.Time) {
	s2 := clone(Record{Scopes: s.Scopes, Roles: s.Roles})
	rec.UserID, rec.Scopes, rec.Roles = s.UserID, s2.Scopes, s2.Roles
	rec.AuthTime, rec.Origin = now, s.Origin
	if !s.AuthTime.IsZero() {
		rec.AuthTime = earlier(now, s.AuthTime.UTC().Truncate(time.Millisecond))
	}
	rec.UserAgent, rec.IP = shorten(s.UserAgent, maxUserAgent), shorten(s.IP, maxIP)
}

// shorten makes what a client says about itself fit to store and to show.
func shorten(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), limit)], ""))
	return text
}
