package accounts

import (
	"context"
	"errors"

	"github.com/gatewire/gatewire/password"
)

// Credentials are an email address and a password.
type Credentials struct {
	Email    string
	Password password.Password
	Client   Client
}

// Login checks a password. Errors: [ErrCredentials] for an unknown address, a
// wrong password and an account without one alike, after the same time;
// *[ThrottledError], password.ErrBusy, or that of a store. Whether the account
// is disabled is said by what the [SignIn] is turned into.
func (s *Service) Login(ctx context.Context, c Credentials) (*SignIn, error) {
	email, err := parseEmail(c.Email)
	if err != nil {
		email = "" // nobody's: takes the same time as any other that is unknown
	}
	tries, err := s.guess(ctx, EmailKey(email), c.Client)
	if err != nil {
		return nil, err
	}
	in, err := s.checkPassword(ctx, email, c)
	if !errors.Is(err, ErrCredentials) {
		tries.giveBack(ctx) // it was right, or nothing was tried
	}
	return in, err
}

func (s *Service) checkPassword(ctx context.Context, email string, c Credentials) (*SignIn, error) {
	u, _, err := s.users.UserByEmail(ctx, email)
	if err != nil {
		return nil, err
	}
	u, epoch, found, err := s.current(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	ok, rehash, err := s.verify(ctx, u, c.Password)
	if err != nil {
		return nil, err
	}
	if !ok || !found {
		s.event(ctx, Event{Kind: EventSignInFailed, UserID: u.ID, IP: c.Client.IP})
		return nil, ErrCredentials
	}
	if rehash {
		u.Password = s.rehash(ctx, u, c.Password)
	}
	return &SignIn{s: s, user: u, epoch: epoch, client: c.Client}, nil
}

// verify reports whether pw is the user's password, and whether its hash is out
// of date. It takes the same time for a user who has none and for the zero User.
func (s *Service) verify(ctx context.Context, u User, pw password.Password) (ok, rehash bool, err error) {
	if u.Password == "" {
		if err = s.passwords.VerifyMissing(ctx, pw); err == nil {
			err = password.ErrMismatch // never, but a nil error here would sign anybody in
		}
	} else {
		rehash, err = s.passwords.Verify(ctx, pw, u.Password)
	}
	switch {
	case err == nil:
		return true, rehash, nil
	case errors.Is(err, password.ErrMismatch), errors.Is(err, password.ErrTooLong):
		return false, false, nil
	}
	return false, false, err
}

// rehash stores a new hash of the same password and returns what is stored. It is
// not needed for signing in, so failing is only logged; a password that was
// changed meanwhile stays.
func (s *Service) rehash(ctx context.Context, u User, pw password.Password) password.Hash {
	hash, err := s.passwords.Hash(ctx, pw)
	if err == nil {
		err = s.users.SetPassword(ctx, u.ID, u.Password, hash, nil)
	}
	if err == nil {
		return hash
	}
	if !errors.Is(err, ErrConflict) {
		s.log.WarnContext(ctx, "accounts: an out-of-date password hash was kept", "user", u.ID, "error", err)
	}
	return u.Password
}
