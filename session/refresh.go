package session

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"
)

// Refresh exchanges a refresh token for its successor and moves the session's
// idle end. [ErrRefreshInvalid] is for every token that is not good, whatever
// the reason; any other error means that the store could not tell and that the
// client may try again.
//
// Every token works once. The last one used gives the same successor again for
// Options.Grace, while that successor is unused: so a client that lost the
// answer, or refreshed twice at once, stays signed in. Any other superseded
// token was copied by someone: the session ends with ReasonReused (RFC 9700
// section 4.14.2).
func (m *Manager[D]) Refresh(ctx context.Context, token string) (RefreshToken, *Session[D], error) {
	presented, ok := parseRefreshToken(token)
	if !ok {
		return RefreshToken{}, nil, ErrRefreshInvalid
	}
	for attempt := 0; ; attempt++ {
		rec, err := m.byRefresh(ctx, presented)
		if err != nil {
			return RefreshToken{}, nil, err
		}
		now := m.now()
		next, err := m.rotate(ctx, presented, &rec, now)
		if errors.Is(err, ErrConflict) { // another refresh was faster: see what it left
			if err := pause(ctx, attempt); err != nil {
				return RefreshToken{}, nil, err
			}
			continue
		}
		if err != nil {
			return RefreshToken{}, nil, err
		}
		session, err := m.open(ctx, rec)
		if err != nil {
			return RefreshToken{}, nil, ErrRefreshInvalid
		}
		return next.reveal(), session, nil
	}
}

// rotate decides about a presented token and, when it is the good one, writes
// its successor into rec and the store.
func (m *Manager[D]) rotate(ctx context.Context, presented refreshToken, rec *Record, now time.Time) (refreshToken, error) {
	sum := presented.sum()
	if subtle.ConstantTimeCompare(sum[:], rec.Refresh.Secret[:]) == 1 {
		if _, err := m.open(ctx, *rec); err != nil {
			return refreshToken{}, ErrRefreshInvalid
		}
		next := newRefreshToken(presented.locator)
		sealed, err := presented.sealSuccessor(next)
		if err != nil {
			return refreshToken{}, err
		}
		rec.Refresh = Refresh{Secret: next.sum(), Previous: sum, RotatedAt: now, Successor: sealed}
		rec.Seen = later(rec.Seen, now)
		rec.IdleExpires = earlier(later(rec.IdleExpires, now.Add(m.config.refresh.Idle)), rec.Expires)
		err = m.store.Replace(ctx, rec.Key, *rec, rec.Rev)
		switch {
		case errors.Is(err, ErrConflict):
			return refreshToken{}, err
		case errors.Is(err, ErrNotFound): // ended meanwhile
			return refreshToken{}, ErrRefreshInvalid
		case err != nil:
			return refreshToken{}, unavailable(err)
		}
		rec.Rev++
		m.event(ctx, Event{Kind: EventRefreshed, Time: now, SessionID: rec.ID, UserID: rec.UserID})
		return next, nil
	}
	if subtle.ConstantTimeCompare(sum[:], rec.Refresh.Previous[:]) == 1 && m.inGrace(rec.Refresh.RotatedAt, now) {
		// Replacing the successor in turn makes it Previous, so that this
		// token is neither: only an unused successor is given again.
		if next, err := presented.openSuccessor(rec.Refresh.Successor); err == nil {
			return next, nil
		}
	}
	// The locator is known to those alone who held a token of this session, so
	// this is a token of it that was used up before, and nobody's guess.
	m.config.logger.WarnContext(ctx, "session: superseded refresh token presented; ending the session", "session", rec.ID, "user", rec.UserID)
	m.event(ctx, Event{Kind: EventReused, Time: now, SessionID: rec.ID, UserID: rec.UserID, Reason: ReasonReused})
	ctx, cancel := detached(ctx)
	defer cancel()
	if _, err := m.end(ctx, rec.ID, rec.UserID, ReasonReused); err != nil {
		return refreshToken{}, err
	}
	return refreshToken{}, ErrRefreshInvalid
}

// inGrace tolerates that another node's clock is a little ahead.
func (m *Manager[D]) inGrace(rotated, now time.Time) bool {
	return m.config.grace > 0 && now.Sub(rotated).Abs() <= m.config.grace
}

// byRefresh returns the live session a token belongs to, or ErrRefreshInvalid.
func (m *Manager[D]) byRefresh(ctx context.Context, t refreshToken) (Record, error) {
	rec, found, err := m.store.Load(ctx, t.key())
	if err != nil {
		return Record{}, unavailable(err)
	}
	if !found || rec.Kind != KindToken || !isLive(rec, m.now()) {
		return Record{}, ErrRefreshInvalid
	}
	return rec, nil
}

// EndByRefresh ends the session of a refresh token, also of a superseded one
// (RFC 7009). A token that is not known is no error. An error means that the
// session may live on.
func (m *Manager[D]) EndByRefresh(ctx context.Context, token string) error {
	t, ok := parseRefreshToken(token)
	if !ok {
		return nil
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	rec, err := m.byRefresh(ctx, t)
	if errors.Is(err, ErrRefreshInvalid) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = m.end(ctx, rec.ID, rec.UserID, ReasonSignedOut)
	return err
}
