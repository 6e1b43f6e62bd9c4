package session

import (
	"context"
	"errors"
	"slices"
)

// SetGrants gives every live session of a user these scopes and roles in place of
// those it has, for when the user's rights have changed, and returns how many
// sessions have them now. Requests that have begun may still see the old ones, and
// so do access tokens until they are refreshed. A sign-in that is under way has
// those of its Start: whoever read them there reads again afterwards. Like Revoke
// it goes on when ctx is cancelled; an error means that some sessions may have the
// old ones, and that it may be repeated.
func (m *Manager[D]) SetGrants(ctx context.Context, userID string, scopes, roles []string) (int, error) {
	if userID == "" {
		return 0, errNoUser
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	recs, err := m.store.ListUser(ctx, userID)
	if err != nil {
		return 0, unavailable(err)
	}
	n := 0
	for _, rec := range recs {
		given, err := m.setGrants(ctx, rec, scopes, roles)
		if err != nil {
			return n, err
		}
		if given {
			n++
		}
	}
	return n, nil
}

// setGrants is SetGrants for one session. It returns false when that is over.
func (m *Manager[D]) setGrants(ctx context.Context, rec Record, scopes, roles []string) (bool, error) {
	for attempt := 0; ; attempt++ {
		if !isLive(rec, m.now()) {
			return false, nil
		}
		if slices.Equal(rec.Scopes, scopes) && slices.Equal(rec.Roles, roles) {
			return true, nil
		}
		next := rec
		next.Scopes, next.Roles = slices.Clone(scopes), slices.Clone(roles)
		err := m.store.Replace(ctx, rec.Key, next, rec.Rev)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			return false, unavailable(err)
		}
		// Changed meanwhile, renewed, or over.
		if err := pause(ctx, attempt); err != nil {
			return false, err
		}
		var found bool
		if rec, found, err = m.store.ByID(ctx, rec.ID); err != nil {
			return false, unavailable(err)
		}
		if !found {
			return false, nil
		}
	}
}
