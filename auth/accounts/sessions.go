package accounts

import (
	"context"
	"net/http"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/session"
)

// Session is a live session. A *session.Session of any data is one.
type Session interface {
	auth.Subject
	Kind() session.Kind
	Origin() session.Origin
}

// sessions is a session.Manager without its type of data.
type sessions interface {
	Authenticate(*http.Request) (Session, error)
	Begin(http.ResponseWriter, *http.Request, session.Start) (Session, error)
	BeginToken(context.Context, session.Start) (session.RefreshToken, Session, error)
	Refresh(ctx context.Context, token string) (session.RefreshToken, Session, error)
	Session(ctx context.Context, id string) (Session, error)

	EndByRefresh(ctx context.Context, token string) error
	Renew(http.ResponseWriter, *http.Request) error
	Logout(http.ResponseWriter, *http.Request) error
	ClearCookie(http.ResponseWriter)
	Epoch(ctx context.Context, userID string) (uint64, error)
	Revoke(ctx context.Context, userID, id string, reason session.Reason) (bool, error)
	RevokeOthersAt(ctx context.Context, userID, keepID string, epoch uint64, reason session.Reason) (int, error)
	RevokeUser(ctx context.Context, userID string, reason session.Reason) (int, error)
	EndOrigin(ctx context.Context, o session.Origin, reason session.Reason) (int, error)
	List(ctx context.Context, userID string) ([]session.Info, error)
	SetGrants(ctx context.Context, userID string, scopes, roles []string) (int, error)
}

// sessionsOf has the methods of its manager, and those above that name the type
// of data. A nil *session.Session must not become a Session that is not nil.
type sessionsOf[D any] struct{ *session.Manager[D] }

func (m sessionsOf[D]) Authenticate(r *http.Request) (Session, error) {
	sess, err := m.Manager.Authenticate(r)
	if err != nil {
		return nil, err
	}
	return sess, nil
}

func (m sessionsOf[D]) Begin(w http.ResponseWriter, r *http.Request, start session.Start) (Session, error) {
	sess, err := m.Manager.Begin(w, r, start)
	if err != nil {
		return nil, err
	}
	return sess, nil
}

func (m sessionsOf[D]) BeginToken(ctx context.Context, start session.Start) (session.RefreshToken, Session, error) {
	token, sess, err := m.Manager.BeginToken(ctx, start)
	if err != nil {
		return session.RefreshToken{}, nil, err
	}
	return token, sess, nil
}

func (m sessionsOf[D]) Refresh(ctx context.Context, token string) (session.RefreshToken, Session, error) {
	next, sess, err := m.Manager.Refresh(ctx, token)
	if err != nil {
		return session.RefreshToken{}, nil, err
	}
	return next, sess, nil
}

func (m sessionsOf[D]) Session(ctx context.Context, id string) (Session, error) {
	sess, err := m.Manager.Session(ctx, id)
	if err != nil {
		return nil, err
	}
	return sess, nil
}
