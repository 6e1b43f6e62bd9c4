package accounts

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatewire/gatewire/session"
)

// SignIn is a user who has just proved who they are, and not yet a session:
// [SignIn.Cookie] or [SignIn.Tokens] makes one. It goes stale when the user's
// sessions are ended in the meantime. Errors of both: [ErrDisabled],
// session.ErrEpoch when it is stale, [ErrProviderLogout], or that of a store.
type SignIn struct {
	s      *Service
	user   User
	epoch  uint64 // before the proof was checked
	origin session.Origin
	began  time.Time // when the provider's answer came, of those with an origin
	proved time.Time // when the user proved themselves, where that was earlier
	client Client
}

// User is who signed in.
func (in *SignIn) User() User { return copyUser(in.user) }

// Cookie begins a cookie session. See [session.Manager.Begin].
func (in *SignIn) Cookie(w http.ResponseWriter, r *http.Request) (Session, error) {
	begun := false
	sess, err := in.mint(r.Context(), func(start session.Start) (sess Session, err error) {
		sess, err = in.s.sessions.Begin(w, r, start)
		begun = err == nil
		return sess, err
	})
	if err != nil && begun {
		// Within the manager's Handler the cookie is still to be set: whoever got
		// it would be signed in if the session could not be ended before, which is
		// what err says then.
		_ = in.s.sessions.Logout(w, r)
	}
	return sess, err
}

// Tokens begins a token session.
func (in *SignIn) Tokens(ctx context.Context) (Tokens, error) {
	var refresh session.RefreshToken
	sess, err := in.mint(ctx, func(start session.Start) (sess Session, err error) {
		refresh, sess, err = in.s.sessions.BeginToken(ctx, start)
		return sess, err
	})
	if err != nil {
		return Tokens{}, err
	}
	access, err := in.s.issue(ctx, sess)
	if err != nil { // nobody holds the session: it must not stay among the devices
		_, ended := in.s.end(ctx, sess.UserID(), sess.SessionID(), session.ReasonRevoked, EventSessionEnded)
		return Tokens{}, errors.Join(err, ended)
	}
	return Tokens{Access: access, Refresh: refresh, Session: sess}, nil
}

// mint is the only way to a session: whatever a user has proved, what else must
// hold is asked here.
func (in *SignIn) mint(ctx context.Context, begin func(session.Start) (Session, error)) (Session, error) {
	if err := in.settled(ctx); err != nil {
		return nil, err
	}
	if in.user.Disabled {
		in.s.event(ctx, Event{Kind: EventSignInRefused, UserID: in.user.ID, IP: in.client.IP, Provider: in.origin.Issuer})
		return nil, ErrDisabled
	}
	ip := ""
	if in.client.IP.IsValid() {
		ip = in.client.IP.String()
	}
	sess, err := begin(session.Start{
		UserID: in.user.ID, Scopes: in.user.Scopes, Roles: in.user.Roles, Origin: in.origin, AuthTime: in.proved,
		UserAgent: in.client.UserAgent, IP: ip, Epoch: &in.epoch,
	})
	if err != nil {
		return nil, err
	}
	if err := in.outlived(ctx, sess); err != nil {
		return nil, err
	}
	if sess, err = in.upToDate(ctx, sess); err != nil {
		return nil, err
	}
	in.s.event(ctx, Event{Kind: EventSignedIn, UserID: in.user.ID, SessionID: sess.SessionID(), IP: in.client.IP, Provider: in.origin.Issuer})
	return sess, nil
}

// settled ends what is owed of the user before there is a session that this would
// end too, and reads the user again: what was proved must still hold.
func (in *SignIn) settled(ctx context.Context) error {
	if in.user.Ending == nil || in.user.Disabled {
		return nil
	}
	if err := in.s.settleFor(ctx, in.user.ID); err != nil {
		return err
	}
	u, epoch, found, err := in.s.current(ctx, in.user.ID)
	if err != nil {
		return err
	}
	if !found || u.Password != in.user.Password || u.Ending != nil {
		return session.ErrEpoch
	}
	in.user, in.epoch = u, epoch
	return nil
}

// outlived ends a session that has just begun when the provider has signed its
// user out meanwhile, or when nobody can tell.
func (in *SignIn) outlived(ctx context.Context, sess Session) error {
	over, err := in.s.outlived(ctx, in.origin, in.began)
	if err == nil && !over {
		return nil
	}
	if over {
		in.s.event(ctx, Event{Kind: EventLogoutRefused, UserID: in.user.ID, SessionID: sess.SessionID(), IP: in.client.IP, Provider: in.origin.Issuer})
		err = ErrProviderLogout
	}
	if _, ended := in.s.end(ctx, sess.UserID(), sess.SessionID(), session.ReasonProvider, EventSessionEnded); ended != nil {
		return ended // also what is said to the user: it may live on, though nobody holds it
	}
	return err
}

// upToDate gives a session that has just begun the scopes and roles that its user
// has got since they were read: SetGrants found the session only if it was there.
// One of which nobody can tell is ended.
func (in *SignIn) upToDate(ctx context.Context, sess Session) (Session, error) {
	now := sess
	changed, err := in.s.spread(ctx, in.user.ID, in.user.Scopes, in.user.Roles)
	if err == nil && changed {
		now, err = in.s.sessions.Session(ctx, sess.SessionID())
	}
	if err == nil {
		return now, nil
	}
	if errors.Is(err, session.ErrNotFound) { // it has ended already
		return nil, session.ErrEpoch
	}
	if _, ended := in.s.end(ctx, in.user.ID, sess.SessionID(), session.ReasonRevoked, EventSessionEnded); ended != nil {
		err = errors.Join(err, ended)
	}
	return nil, err
}

// current reads the epoch of a user, and then the user: whatever ends the user's
// sessions after this, a new password or a disabled account, makes the sign-in
// fail, and what did so before is seen. For nobody it takes the same steps.
func (s *Service) current(ctx context.Context, userID string) (u User, epoch uint64, found bool, err error) {
	if epoch, err = s.sessions.Epoch(ctx, userID); err != nil {
		return User{}, 0, false, err
	}
	u, found, err = s.users.UserByID(ctx, userID)
	return u, epoch, found, err
}
