package session

import (
	"context"
	"errors"
	"net/http"
)

// Manager hands out, finds and ends sessions that carry a D. It is safe for
// concurrent use. Make one with [New].
type Manager[D any] struct {
	store Store
}

// New returns a manager of sessions in store. It starts a goroutine that
// removes expired sessions; Close ends it. All mistakes in o are reported at
// once.
func New[D any](store Store, o *Options) (*Manager[D], error) {
	return &Manager[D]{store: store}, nil
}

var errSkeleton = errors.New("session: skeleton")

// Handler is the middleware.
func (m *Manager[D]) Handler(next http.Handler) http.Handler { return next }

// CheckOrigin is the cross-origin check of Handler alone.
func (m *Manager[D]) CheckOrigin(r *http.Request) error { return errSkeleton }

// Authenticate returns the signed-in session a request presents.
func (m *Manager[D]) Authenticate(r *http.Request) (*Session[D], error) { return nil, errSkeleton }

// Get returns the visitor's session, in a context from Handler.
func (m *Manager[D]) Get(ctx context.Context) (*Session[D], error) { return nil, errSkeleton }

// Update changes the visitor's data.
func (m *Manager[D]) Update(ctx context.Context, f func(*D) error) error { return errSkeleton }

// Login begins a cookie session.
func (m *Manager[D]) Login(w http.ResponseWriter, r *http.Request, userID string) error {
	return errSkeleton
}

// Begin begins a cookie session.
func (m *Manager[D]) Begin(w http.ResponseWriter, r *http.Request, s Start) (*Session[D], error) {
	return nil, errSkeleton
}

// BeginToken begins a token session.
func (m *Manager[D]) BeginToken(ctx context.Context, s Start) (RefreshToken, *Session[D], error) {
	return RefreshToken{}, nil, errSkeleton
}

// Refresh exchanges a refresh token.
func (m *Manager[D]) Refresh(ctx context.Context, token string) (RefreshToken, *Session[D], error) {
	return RefreshToken{}, nil, errSkeleton
}

// EndByRefresh ends the session of a refresh token.
func (m *Manager[D]) EndByRefresh(ctx context.Context, token string) error { return errSkeleton }

// Renew replaces the secret of the request's session.
func (m *Manager[D]) Renew(w http.ResponseWriter, r *http.Request) error { return errSkeleton }

// Logout ends the request's session.
func (m *Manager[D]) Logout(w http.ResponseWriter, r *http.Request) error { return errSkeleton }

// ClearCookie deletes the cookie.
func (m *Manager[D]) ClearCookie(w http.ResponseWriter) {}

// Session returns a live session by its public id.
func (m *Manager[D]) Session(ctx context.Context, id string) (*Session[D], error) {
	return nil, errSkeleton
}

// Alive reports whether a session lives.
func (m *Manager[D]) Alive(ctx context.Context, id string) (bool, error) { return false, errSkeleton }

// Epoch returns the user's epoch.
func (m *Manager[D]) Epoch(ctx context.Context, userID string) (uint64, error) {
	return 0, errSkeleton
}

// Revoke ends one session of a user.
func (m *Manager[D]) Revoke(ctx context.Context, userID, id string, reason Reason) (bool, error) {
	return false, errSkeleton
}

// RevokeOthers ends all sessions of a user but one.
func (m *Manager[D]) RevokeOthers(ctx context.Context, userID, keepID string, reason Reason) (int, error) {
	return 0, errSkeleton
}

// RevokeUser ends all sessions of a user.
func (m *Manager[D]) RevokeUser(ctx context.Context, userID string, reason Reason) (int, error) {
	return 0, errSkeleton
}

// List returns a user's live sessions.
func (m *Manager[D]) List(ctx context.Context, userID string) ([]Info, error) {
	return nil, errSkeleton
}

// EndedSince returns the ids of sessions that ended after cursor.
func (m *Manager[D]) EndedSince(ctx context.Context, cursor string) (ids []string, next string, err error) {
	return nil, "", errSkeleton
}

// OnEnd has f called for every session this manager ends.
func (m *Manager[D]) OnEnd(f func(sessionID, userID, reason string)) (cancel func()) {
	return func() {}
}

// Close ends the manager's goroutine.
func (m *Manager[D]) Close() error { return nil }
