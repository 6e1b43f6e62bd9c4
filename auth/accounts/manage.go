package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

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
// sign in to it by any way, or enables it again. Errors: [ErrNoUser];
// [ErrEndingOwed] when the account is disabled and its sessions will end; any
// other means that the account may be disabled or not. If it is, its sessions end.
func (s *Service) SetDisabled(ctx context.Context, userID string, disabled bool) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	if !disabled {
		if err := s.users.SetDisabled(ctx, userID, false, nil); err != nil {
			return err
		}
		s.event(ctx, Event{Kind: EventEnabled, UserID: userID})
		return nil
	}
	// That sessions can't be ended now is no reason to leave the account open.
	epoch, unknown := s.sessions.Epoch(ctx, userID)
	owed := newEnding(session.ReasonDisabled)
	if err := s.users.SetDisabled(ctx, userID, true, owed); err != nil {
		return err
	}
	s.event(ctx, Event{Kind: EventDisabled, UserID: userID})
	if unknown != nil {
		return s.owe(ctx, userID, owed, unknown)
	}
	return s.endNow(ctx, userID, "", epoch, owed, nil)
}

// SetGrants gives an account other scopes and roles, and all its sessions with it:
// requests with a cookie have them from then on, access tokens from their next
// refresh on. Sockets are told by realtime's Hub.Reauthorize, to be called
// afterwards; its rules look them up with [Service.User]. Errors: [ErrNoUser]; any
// other means that the account or some sessions may have the old ones, and that it
// may be repeated.
func (s *Service) SetGrants(ctx context.Context, userID string, scopes, roles []string) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	// The account first: a sign-in that read it before reads it again.
	if err := s.users.SetGrants(ctx, userID, scopes, roles); err != nil {
		return err
	}
	s.event(ctx, Event{Kind: EventGrantsChanged, UserID: userID})
	if _, err := s.sessions.SetGrants(ctx, userID, scopes, roles); err != nil {
		return err
	}
	_, err := s.spread(ctx, userID, scopes, roles)
	return err
}

// spread gives the sessions of a user who has these scopes and roles those that
// the account has now, until they are the same: whoever has written to sessions
// last has then read from the account after it.
func (s *Service) spread(ctx context.Context, userID string, scopes, roles []string) (changed bool, err error) {
	for {
		u, found, err := s.users.UserByID(ctx, userID)
		if err != nil {
			return changed, err
		}
		if !found || slices.Equal(u.Scopes, scopes) && slices.Equal(u.Roles, roles) {
			return changed, nil
		}
		scopes, roles, changed = u.Scopes, u.Roles, true
		if _, err := s.sessions.SetGrants(ctx, userID, scopes, roles); err != nil {
			return changed, err
		}
	}
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
// the password was changed meanwhile, [ErrNoUser], session.ErrNotFound when the
// caller's session was to end and now has, [ErrEndingOwed] when the password is
// changed and all sessions will end, the caller's too, or that of a store: then
// the password may be changed or not, and if it is, all sessions end.
func (s *Service) ChangePassword(ctx context.Context, who auth.Identity, current, new password.Password, c Client) error {
	return s.changePasswordOf(ctx, who, current, new, c, nil)
}

// changePasswordOf is ChangePassword. The caller's session is spared for good
// only when renew has succeeded.
func (s *Service) changePasswordOf(ctx context.Context, who auth.Identity, current, new password.Password, c Client, renew func() error) error {
	u, err := s.changing(ctx, who)
	if err != nil {
		return err
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
	return s.setPassword(ctx, u, hash, who.SessionID(), renew)
}

// changing returns the user who is calling. Where sessions of theirs are owed
// their end, the caller's is one of them.
func (s *Service) changing(ctx context.Context, who auth.Identity) (User, error) {
	u, found, err := s.users.UserByID(ctx, who.UserID())
	if err == nil && found && u.Ending != nil {
		if err := s.settleFor(ctx, u.ID); err != nil {
			return User{}, err
		}
		if _, err := s.sessions.Session(ctx, who.SessionID()); err != nil {
			return User{}, err
		}
		u, found, err = s.users.UserByID(ctx, who.UserID())
	}
	if err == nil && !found {
		err = ErrNoUser
	}
	return u, err
}

// setPassword stores the hash, and with it what is owed for it, first: a sign-in
// with the old password that is under way fails by the epoch which ending the
// sessions raises.
func (s *Service) setPassword(ctx context.Context, u User, hash password.Hash, keepID string, renew func() error) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	epoch, err := s.sessions.Epoch(ctx, u.ID)
	if err != nil {
		return err // nothing is changed
	}
	owed := newEnding(session.ReasonPasswordChanged)
	if err := s.storePassword(ctx, u, hash, owed); err != nil {
		return err
	}
	s.event(ctx, Event{Kind: EventPasswordChanged, UserID: u.ID, SessionID: keepID})
	return s.endNow(ctx, u.ID, keepID, epoch, owed, renew)
}

// storePassword finds out what became of a call whose answer was lost, if it can.
func (s *Service) storePassword(ctx context.Context, u User, hash password.Hash, owed *Ending) error {
	err := s.users.SetPassword(ctx, u.ID, u.Password, hash, owed)
	if err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrNoUser) {
		return err
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	now, found, lost := s.users.UserByID(ctx, u.ID)
	if lost == nil && found && now.Password == hash {
		return nil
	}
	// Still the old one: the call may be under way.
	return fmt.Errorf("%w: %w", errPerhaps, err)
}
