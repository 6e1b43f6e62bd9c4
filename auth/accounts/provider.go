package accounts

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/session"
)

// maxPicture bounds the URL of a picture in bytes.
const maxPicture = 2048

// signInWith is the [oidc.LoginFunc] of our providers.
func (s *Service) signInWith(w http.ResponseWriter, r *http.Request, p oidc.Profile) error {
	in, err := s.LoginWith(r.Context(), p, s.client(r))
	if err != nil {
		return err
	}
	_, err = in.Cookie(w, r)
	return err
}

// LoginWith signs in the user whom a provider has proved, and makes the account
// when (Issuer, Subject) is new. The email address never finds an account: when
// another one has it, the error is [ErrSignInOtherwise], verified or not.
func (s *Service) LoginWith(ctx context.Context, p oidc.Profile, c Client) (*SignIn, error) {
	if p.Issuer == "" || p.Subject == "" {
		return nil, errors.New("accounts: a profile without issuer or subject")
	}
	began := p.Received
	if began.IsZero() {
		began = time.Now()
	}
	in, found, err := s.byIdentity(ctx, p, c)
	if err != nil {
		return nil, err
	}
	if !found {
		in, err = s.createFrom(ctx, p, c)
		if errors.Is(err, ErrIdentityTaken) { // another tab was faster
			if in, found, err = s.byIdentity(ctx, p, c); err == nil && !found {
				err = ErrIdentityTaken
			}
		}
		if errors.Is(err, ErrEmailTaken) {
			s.event(ctx, Event{Kind: EventLinkRefused, IP: c.IP, Provider: p.Issuer})
			return nil, ErrSignInOtherwise
		}
		if err != nil {
			return nil, err
		}
	}
	in.origin = session.Origin{Issuer: p.Issuer, Subject: p.Subject, SID: p.SID}
	in.began, in.proved = began, p.AuthTime
	return in, nil
}

func (s *Service) byIdentity(ctx context.Context, p oidc.Profile, c Client) (in *SignIn, found bool, err error) {
	u, found, err := s.users.UserByIdentity(ctx, p.Issuer, p.Subject)
	if err != nil || !found {
		return nil, false, err
	}
	u, epoch, found, err := s.current(ctx, u.ID)
	if err != nil || !found {
		return nil, false, err
	}
	return &SignIn{s: s, user: u, epoch: epoch, client: c}, true, nil
}

// createFrom makes an account of a profile. What doesn't fit is left out: the
// provider, not the user in front of us, wrote it.
func (s *Service) createFrom(ctx context.Context, p oidc.Profile, c Client) (*SignIn, error) {
	if err := s.signUp(ctx, c); err != nil {
		return nil, err
	}
	email, err := parseEmail(p.Email)
	if err != nil {
		email = ""
	}
	u := newUser(email, clipName(p.Name))
	u.EmailVerified = email != "" && p.EmailVerified
	u.Picture = pictureURL(p.Picture)
	id := ExternalIdentity{Issuer: p.Issuer, Subject: p.Subject, UserID: u.ID, Email: email, Created: time.Now().UTC().Truncate(time.Millisecond)}
	return s.create(ctx, u, &id, c)
}

func clipName(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "")))
	for len(s) > maxName {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// pictureURL keeps an https URL. It is for browsers; the server never fetches it.
func pictureURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || len(s) > maxPicture {
		return ""
	}
	return s
}
