package session

import "context"

// Session returns a live session by its public id, for tokens that name one.
// [ErrNotFound] when there is none, it is over, or its data can't be read; any
// other error means that the store could not tell.
func (m *Manager[D]) Session(ctx context.Context, id string) (*Session[D], error) {
	rec, err := m.byID(ctx, id)
	if err != nil {
		return nil, err
	}
	return m.open(ctx, rec)
}

// Alive reports whether the session with this public id lives. An error means
// that the store could not tell.
func (m *Manager[D]) Alive(ctx context.Context, id string) (bool, error) {
	_, err := m.byID(ctx, id)
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// KeepAlive notes that a cookie session is in use, as a request that reads it
// does: a realtime hub says so of its connections. It takes the public id. What is
// over stays over, and a token session is kept alive by Refresh alone: neither is
// an error.
func (m *Manager[D]) KeepAlive(ctx context.Context, id string) error {
	rec, err := m.byID(ctx, id)
	if err == nil && rec.Kind == KindCookie {
		m.touch(ctx, &rec, m.now())
	}
	if err == ErrNotFound {
		return nil
	}
	return err
}

func (m *Manager[D]) byID(ctx context.Context, id string) (Record, error) {
	rec, found, err := m.store.ByID(ctx, id)
	if err != nil {
		return Record{}, unavailable(err)
	}
	if !found || !isLive(rec, m.now()) {
		return Record{}, ErrNotFound
	}
	return rec, nil
}

// Epoch returns a number that changes whenever all sessions of the user are
// ended. Take it before checking credentials and pass it as Start.Epoch.
func (m *Manager[D]) Epoch(ctx context.Context, userID string) (uint64, error) {
	epoch, err := m.store.Epoch(ctx, userID)
	if err != nil {
		return 0, unavailable(err)
	}
	return epoch, nil
}

// List returns a user's live sessions, newest first.
func (m *Manager[D]) List(ctx context.Context, userID string) ([]Info, error) {
	if userID == "" {
		return nil, errNoUser
	}
	recs, err := m.store.ListUser(ctx, userID)
	if err != nil {
		return nil, unavailable(err)
	}
	now := m.now()
	var infos []Info
	for _, rec := range recs {
		if isLive(rec, now) {
			infos = append(infos, infoOf(rec))
		}
	}
	return infos, nil
}
