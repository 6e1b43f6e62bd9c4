package accounts

import (
	"context"
	"crypto/rand"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatewire/gatewire/password"
)

// Registration is a sign-up with a password.
type Registration struct {
	Email    string
	Password password.Password
	Name     string // optional
	Client   Client
}

// maxName bounds a user's name in bytes.
const maxName = 200

// Register makes an account. Errors: [ErrEmail], [ErrName], *password.PolicyError,
// [ErrEmailTaken], *[ThrottledError], password.ErrBusy, or that of a store.
func (s *Service) Register(ctx context.Context, reg Registration) (*SignIn, error) {
	email, err := parseEmail(reg.Email)
	if err != nil {
		return nil, err
	}
	name, err := parseName(reg.Name)
	if err != nil {
		return nil, err
	}
	if err := s.signUp(ctx, reg.Client); err != nil {
		return nil, err
	}
	if err := s.passwords.Check(reg.Password, email, name); err != nil {
		return nil, err
	}
	// Before the work of hashing; what counts is CreateUser's own check.
	if _, taken, err := s.users.UserByEmail(ctx, email); err != nil {
		return nil, err
	} else if taken {
		return nil, ErrEmailTaken
	}
	hash, err := s.passwords.Hash(ctx, reg.Password)
	if err != nil {
		return nil, err
	}
	u := newUser(email, name)
	u.Password = hash
	return s.create(ctx, u, nil, reg.Client)
}

// create stores a new user, whose sessions nobody can have ended before.
func (s *Service) create(ctx context.Context, u User, id *ExternalIdentity, c Client) (*SignIn, error) {
	epoch, err := s.sessions.Epoch(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	if err := s.users.CreateUser(ctx, u, id); err != nil {
		return nil, err
	}
	e := Event{Kind: EventRegistered, UserID: u.ID, IP: c.IP}
	if id != nil {
		e.Provider = id.Issuer
	}
	s.event(ctx, e)
	return &SignIn{s: s, user: u, epoch: epoch, client: c}, nil
}

func newUser(email, name string) User {
	return User{ID: strings.ToLower(rand.Text()), Email: email, Name: name, Created: time.Now().UTC().Truncate(time.Millisecond)}
}

// parseName trims a name and refuses what can't be shown on one line.
func parseName(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", ErrName
	}
	return s, nil
}
