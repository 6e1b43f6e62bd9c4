package accounts

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

// User returns an account by its id.
func (s *Service) User(ctx context.Context, id string) (u User, found bool, err error) {
	return s.users.UserByID(ctx, id)
}

// Logout ends the session of the request's cookie and deletes the cookie, which
// it does in any case. An error means that the session may live on.
func (s *Service) Logout(w http.ResponseWriter, r *http.Request) error {
	sess, known := s.sessions.Authenticate(r)
	if err := s.sessions.Logout(w, r); err != nil {
		return err
	}
	s.forgetHints(w)
	if known == nil {
		s.event(r.Context(), Event{Kind: EventSignedOut, UserID: sess.UserID(), SessionID: sess.SessionID(), IP: s.ClientIP(r)})
	}
	return nil
}

// forgetHints deletes the cookies that keep ID tokens: whoever uses this browser
// next must not send another one's to the provider, in a URL that they can read.
func (s *Service) forgetHints(w http.ResponseWriter) {
	for _, login := range s.logins {
		login.ForgetHint(w)
	}
}

// LogoutAll ends every session of a user.
func (s *Service) LogoutAll(ctx context.Context, userID string) error {
	return s.endAll(ctx, userID, session.ReasonSignedOut)
}

// Devices lists a user's live sessions, newest first.
func (s *Service) Devices(ctx context.Context, userID string) ([]session.Info, error) {
	return s.sessions.List(ctx, userID)
}

// EndSession ends one session of a user. It reports false when the user has no
// such session.
func (s *Service) EndSession(ctx context.Context, userID, sessionID string) (bool, error) {
	return s.end(ctx, userID, sessionID, session.ReasonRevoked, EventSessionEnded)
}

func (s *Service) end(ctx context.Context, userID, sessionID string, reason session.Reason, kind EventKind) (bool, error) {
	ctx, cancel := detached(ctx)
	defer cancel()
	ended, err := s.sessions.Revoke(ctx, userID, sessionID, reason)
	if err == nil && ended {
		s.event(ctx, Event{Kind: kind, UserID: userID, SessionID: sessionID})
	}
	return ended, err
}

// SetDisabled disables an account, which ends all its sessions and lets nobody
// sign in to it by any way, or enables it again. [ErrNoUser] when there is none.
func (s *Service) SetDisabled(ctx context.Context, userID string, disabled bool) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	if err := s.users.SetDisabled(ctx, userID, disabled); err != nil {
		return err
	}
	if !disabled {
		s.event(ctx, Event{Kind: EventEnabled, UserID: userID})
		return nil
	}
	s.event(ctx, Event{Kind: EventDisabled, UserID: userID})
	return s.endAll(ctx, userID, session.ReasonDisabled)
}

func (s *Service) endAll(ctx context.Context, userID string, reason session.Reason) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	n, err := s.sessions.RevokeUser(ctx, userID, reason)
	if err == nil {
		s.event(ctx, Event{Kind: EventSessionsEnded, UserID: userID, Count: n})
	}
	return err
}

// ChangePassword replaces the password of who is calling and ends their other
// sessions. Renew the secret of this one afterwards: the caller's cookie may be
// known to whom the change is to shut out. Errors: [ErrWrongPassword],
// *password.PolicyError, *[ThrottledError], password.ErrBusy, [ErrConflict] when
// the password was changed meanwhile, [ErrNoUser], or that of a store. After an
// error of a store the password may be changed and sessions may live on.
func (s *Service) ChangePassword(ctx context.Context, who auth.Identity, current, new password.Password, c Client) error {
	u, found, err := s.users.UserByID(ctx, who.UserID())
	if err != nil {
		return err
	}
	if !found {
		return ErrNoUser
	}
	tries, err := s.guess(ctx, "user "+u.ID, c)
	if err != nil {
		return err
	}
	ok, _, err := s.verify(ctx, u, current)
	if err != nil || ok {
		tries.giveBack(ctx)
	}
	if err != nil {
		return err
	}
	if !ok {
		s.event(ctx, Event{Kind: EventPasswordWrong, UserID: u.ID, SessionID: who.SessionID(), IP: c.IP})
		return ErrWrongPassword
	}
	if err := s.passwords.Check(new, u.Email, u.Name); err != nil {
		return err
	}
	hash, err := s.passwords.Hash(ctx, new)
	if err != nil {
		return err
	}
	return s.setPassword(ctx, u, hash, who.SessionID())
}

// setPassword stores the hash first: a sign-in with the old password that is
// under way fails by the epoch which ending the sessions raises.
func (s *Service) setPassword(ctx context.Context, u User, hash password.Hash, keepID string) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	if err := s.users.SetPassword(ctx, u.ID, u.Password, hash); err != nil {
		return err
	}
	s.event(ctx, Event{Kind: EventPasswordChanged, UserID: u.ID, SessionID: keepID})
	n, err := s.sessions.RevokeOthers(ctx, u.ID, keepID, session.ReasonPasswordChanged)
	if err != nil {
		return errors.Join(errors.New("accounts: the password is changed, but the user's other sessions may live on"), err)
	}
	s.event(ctx, Event{Kind: EventSessionsEnded, UserID: u.ID, Count: n})
	return nil
}
