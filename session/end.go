package session

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Logout ends the session of the request's cookie on the server and deletes
// the cookie. Without a session it only deletes the cookie. It goes on when
// the client goes away. An error means that the session may live on: report
// it (the status is 503), the cookie is deleted all the same. It works with
// and without Handler around.
func (m *Manager[D]) Logout(w http.ResponseWriter, r *http.Request) error {
	v := m.visitOf(r.Context())
	inside := v != nil
	if !inside {
		v = m.newVisit(r)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	ctx, cancel := detached(m.apart(r.Context()))
	defer cancel()
	err := v.logout(ctx)
	switch {
	case !inside:
		v.writeHeaders(w.Header())
	case v.closed && err == nil:
		return ErrHeadersSent // ended, but the cookie stays
	}
	return err
}

// logout ends every session the request presents: who holds a token may.
func (v *visit[D]) logout(ctx context.Context) error {
	_ = v.load(ctx)
	switch {
	case v.loadErr != nil && len(v.live) > 0: // what a sign-out before could not end
		v.loadErr = nil
	case v.loadErr != nil: // perhaps of a context that was cancelled
		v.live, v.loadErr = v.find(ctx, v.m.now())
	}
	err := v.loadErr
	if len(v.values) > maxCookies {
		err = unavailable(errTooManyCookies) // one of them may name a session
	}
	ending := v.live
	if v.rec != nil && len(ending) == 0 {
		ending = []Record{*v.rec}
	}
	var left []Record
	for _, rec := range ending {
		if _, e := v.m.end(ctx, rec.ID, rec.UserID, ReasonSignedOut); e != nil {
			left, err = append(left, rec), e
		}
	}
	v.forget()
	v.live, v.clear = left, true
	v.loadErr = err // so that Handler answers 503 even if next ignores it
	return err
}

// Revoke ends one session of a user, by its public id. It reports false when
// there is no such session or it is another user's. Like Logout, it and the
// four below go on when ctx is cancelled: until its deadline, but for 1 second
// at least and 5 at most.
func (m *Manager[D]) Revoke(ctx context.Context, userID, id string, reason Reason) (bool, error) {
	if userID == "" || id == "" {
		return false, nil
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	rec, found, err := m.store.ByID(ctx, id)
	if err != nil {
		return false, unavailable(err)
	}
	// A session's user never changes once it has one, so End can't hit another's.
	if !found || rec.UserID != userID {
		return false, nil
	}
	return m.end(ctx, id, userID, reason)
}

// RevokeOthers ends all sessions of a user but the one named, and raises the
// user's epoch. It returns how many.
func (m *Manager[D]) RevokeOthers(ctx context.Context, userID, keepID string, reason Reason) (int, error) {
	if userID == "" {
		return 0, errNoUser
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	ended, err := m.store.EndUser(ctx, userID, keepID, reason, m.now())
	return m.endedAll(ctx, ended, err)
}

// RevokeOthersAt is RevokeOthers while the user's epoch is still the one given,
// and otherwise [ErrEpoch]: somebody has ended the user's sessions since it was
// read, and those that live may have begun after that. For who ends sessions for
// something that happened earlier, and may not be the only one to do so.
func (m *Manager[D]) RevokeOthersAt(ctx context.Context, userID, keepID string, epoch uint64, reason Reason) (int, error) {
	if userID == "" {
		return 0, errNoUser
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	ended, err := m.store.EndUserAt(ctx, userID, keepID, epoch, reason, m.now())
	if errors.Is(err, ErrEpoch) {
		return 0, err
	}
	return m.endedAll(ctx, ended, err)
}

// endedAll tells what a store ended at once, and returns how many.
func (m *Manager[D]) endedAll(ctx context.Context, ended []Ended, err error) (int, error) {
	m.ended(ctx, ended)
	if err != nil {
		return len(ended), unavailable(err)
	}
	return len(ended), nil
}

// RevokeUser ends all sessions of a user, and raises the user's epoch, so that
// a sign-in that is under way fails when it was begun with Start.Epoch. It
// returns how many.
func (m *Manager[D]) RevokeUser(ctx context.Context, userID string, reason Reason) (int, error) {
	return m.RevokeOthers(ctx, userID, "", reason)
}

// EndOrigin ends all sessions that a provider's sign-in began, for a logout at
// the provider: those with o.Issuer and, of o.Subject and o.SID, all that are
// not empty. It returns how many, or [ErrOrigin] when o has no issuer or
// neither of the two. Like Revoke it goes on when ctx is cancelled.
//
// It raises no epoch: a sign-in of that origin whose session is not stored yet
// is not ended. Who begins sessions of providers notes the logout before
// EndOrigin, and asks for such notes after Begin.
func (m *Manager[D]) EndOrigin(ctx context.Context, o Origin, reason Reason) (int, error) {
	if !o.names() {
		return 0, ErrOrigin
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	ended, err := m.store.EndOrigin(ctx, o, reason, m.now())
	return m.endedAll(ctx, ended, err)
}

var errNoUser = errors.New("session: no user id")

// EndedSince returns the ids of sessions that ended after cursor, on whatever
// node, and the cursor to ask with next; "" returns none and the cursor of
// now. It returns 1,000 at most: ask until there are none. An error with a
// method CursorLost that returns true means that the log no longer reaches back
// so far: take a new cursor, then ask Alive about each session held.
func (m *Manager[D]) EndedSince(ctx context.Context, cursor string) (ids []string, next string, err error) {
	ids, _, next, err = m.EndedReasons(ctx, cursor)
	return ids, next, err
}

// EndedReasons is [Manager.EndedSince] that also says why: reasons[i] is the
// [Reason] of ids[i].
func (m *Manager[D]) EndedReasons(ctx context.Context, cursor string) (ids, reasons []string, next string, err error) {
	ended, next, err := m.store.EndedSince(ctx, cursor, endedBatch)
	if err != nil {
		if errors.Is(err, ErrCursorLost) {
			return nil, nil, "", ErrCursorLost
		}
		return nil, nil, "", unavailable(err)
	}
	for _, e := range ended {
		ids = append(ids, e.ID)
		reasons = append(reasons, string(e.Reason))
	}
	return ids, reasons, next, nil
}

const endedBatch = 1000

// OnEnd has f called for every session that this manager ends, at once and
// from the goroutine that ended it: f must not block, and must not use the
// session of the request that ended it. It is fast, not sure;
// sessions that other processes end are in [Manager.EndedSince] alone.
func (m *Manager[D]) OnEnd(f func(sessionID, userID, reason string)) (cancel func()) {
	return m.hooks.add(f)
}

// end ends one session and tells those who want to know.
func (m *Manager[D]) end(ctx context.Context, id, userID string, reason Reason) (bool, error) {
	now := m.now()
	done, err := m.store.End(ctx, id, reason, now)
	if err != nil {
		return false, unavailable(err)
	}
	if done {
		m.ended(ctx, []Ended{{ID: id, UserID: userID, Reason: reason, At: now}})
	}
	return done, nil
}

func (m *Manager[D]) ended(ctx context.Context, list []Ended) {
	for _, e := range list {
		m.hooks.call(e)
		m.event(ctx, Event{Kind: EventEnded, Time: e.At, SessionID: e.ID, UserID: e.UserID, Reason: e.Reason})
	}
}

func (m *Manager[D]) event(ctx context.Context, e Event) {
	if m.events == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = m.now()
	}
	m.events(ctx, e)
}

// evict ends the user's longest unused sessions beyond MaxPerUser, when rec
// has begun, at now. Sign-ins at the same time must not end each other: the later one
// stays, as if they had come one after the other. What is over, and only not
// removed yet, goes first. Failing to is no reason to refuse a sign-in, so a
// client that goes away must not make it fail.
func (m *Manager[D]) evict(ctx context.Context, rec Record, now time.Time) {
	if m.config.maxPerUser < 0 {
		return
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	recs, err := m.store.ListUser(ctx, rec.UserID)
	if excess := len(recs) - m.config.maxPerUser; err == nil && excess > 0 {
		rank := func(r Record) int {
			switch {
			case r.ID == rec.ID:
				return 1
			case !isLive(r, now):
				return -1
			}
			// Of the same millisecond one has to be the later, for both.
			begun := later(r.Created, r.AuthTime)
			if begun.After(now) || begun.Equal(now) && r.ID > rec.ID {
				return 2
			}
			return 0
		}
		slices.SortStableFunc(recs, func(a, b Record) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Seen.Compare(b.Seen))
		})
		for _, old := range recs[:excess] {
			if _, e := m.end(ctx, old.ID, rec.UserID, ReasonEvicted); e != nil {
				err = e
			}
		}
	}
	if err != nil {
		m.config.logger.WarnContext(ctx, "session: sessions over MaxPerUser could not be ended", "user", rec.UserID, "error", err)
	}
}

// reap ends expired sessions, so that what hangs on them ends too.
func (m *Manager[D]) reap(ctx context.Context) {
	tick := time.NewTicker(m.config.reapEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for {
			start := time.Now()
			ended, err := m.store.Reap(ctx, m.now(), reapBatch)
			took := time.Since(start)
			m.ended(ctx, ended)
			if err != nil && ctx.Err() == nil {
				m.config.logger.Warn("session: expired sessions could not be removed", "error", err)
			}
			if err != nil || len(ended) < reapBatch {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(reapRest * took):
			}
		}
	}
}

const (
	// reapBatch is how many sessions one call of the store removes: as long as
	// that takes, whoever ends a session may have to wait.
	reapBatch = 50
	// reapRest is how many times as long as a batch took the store is left alone
	// before the next, so that whoever has much to remove is not noticed.
	reapRest = 2
)

// hooks is the list of OnEnd functions.
type hooks struct {
	mu   sync.Mutex
	last int
	list map[int]func(sessionID, userID, reason string)
}

func (h *hooks) add(f func(sessionID, userID, reason string)) (cancel func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.list == nil {
		h.list = make(map[int]func(string, string, string))
	}
	h.last++
	id := h.last
	h.list[id] = f
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.list, id)
	}
}

func (h *hooks) call(e Ended) {
	h.mu.Lock()
	fs := make([]func(string, string, string), 0, len(h.list))
	for _, f := range h.list {
		fs = append(fs, f)
	}
	h.mu.Unlock()
	for _, f := range fs {
		f(e.ID, e.UserID, string(e.Reason))
	}
}
