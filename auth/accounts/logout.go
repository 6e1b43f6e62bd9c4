package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/session"
)

// logoutKept is how long a logout at a provider is kept for sign-ins that are
// under way. One that takes longer between the provider's answer and its session,
// less a minute for clocks that disagree, is refused: nobody could tell any more.
const logoutKept = 15 * time.Minute

// ProviderLogout ends the sessions that a provider says have ended: those that
// began with its session l.SID, or all of l.Subject, cookie and token sessions
// alike. Doing it twice is no harm. A sign-in of that session or subject that is
// under way fails with [ErrProviderLogout]. An error means that sessions may live
// on, and that it should be tried again.
func (s *Service) ProviderLogout(ctx context.Context, l oidc.ProviderLogout) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	o := session.Origin{Issuer: l.Issuer, Subject: l.Subject, SID: l.SID}
	// The note comes first, and a sign-in looks for it last: one of the two sees
	// the other.
	if key := logoutKey(o); key != "" {
		if _, err := s.once.Take(ctx, key, logoutKept); err != nil {
			return err
		}
	}
	n, err := s.sessions.EndOrigin(ctx, o, session.ReasonProvider)
	if err != nil {
		return err
	}
	s.event(ctx, Event{Kind: EventProviderLogout, Provider: l.Issuer, Count: n})
	return nil
}

// logoutKey names a logout of one session, or of a subject when there is no SID.
func logoutKey(o session.Origin) string {
	kind, name := "sid", o.SID
	if name == "" {
		kind, name = "sub", o.Subject
	}
	if name == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{o.Issuer, name}, "\n")))
	return "provider logout " + kind + " " + base64.RawURLEncoding.EncodeToString(sum[:])
}

// outlived reports whether the provider has signed the user out since began. Both
// times are the nodes' own: their clocks must differ by less than an exchange with
// the provider takes. An earlier logout of the same SID doesn't count, since a
// provider can end one application's part of a session that goes on.
func (s *Service) outlived(ctx context.Context, o session.Origin, began time.Time) (bool, error) {
	if o.Issuer == "" {
		return false, nil
	}
	if time.Since(began) > logoutKept-time.Minute {
		return true, nil
	}
	began = began.Truncate(time.Microsecond) // which a Once keeps
	for _, about := range []session.Origin{{Issuer: o.Issuer, SID: o.SID}, {Issuer: o.Issuer, Subject: o.Subject}} {
		key := logoutKey(about)
		if key == "" {
			continue
		}
		at, taken, err := s.once.Taken(ctx, key)
		if err != nil {
			return false, err
		}
		if taken && !at.Before(began) {
			return true, nil
		}
	}
	return false, nil
}

// signedIn is whom a request's session began with at a provider. Where nobody can
// tell, nobody is sent an ID token.
func (s *Service) signedIn(r *http.Request) (issuer, subject string) {
	sess, err := s.sessions.Authenticate(r)
	if err != nil {
		return "", ""
	}
	o := sess.Origin()
	return o.Issuer, o.Subject
}

// metadataWait is how long the answer to where one can sign out waits for a
// provider.
const metadataWait = 2 * time.Second

// SignedInWith returns the name of the provider that a live session began with,
// empty when it began otherwise, and whether a form posted to /auth/NAME/logout
// signs out there too; false also when the provider can't be asked at present.
// The error is that of a store; a session that has ended began with nobody.
func (s *Service) SignedInWith(ctx context.Context, sessionID string) (provider string, canSignOut bool, err error) {
	sess, err := s.sessions.Session(ctx, sessionID)
	if errors.Is(err, session.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	for _, login := range s.logins {
		p := login.Provider()
		if p.Issuer != sess.Origin().Issuer {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, metadataWait)
		defer cancel()
		endpoint, err := login.EndSessionEndpoint(ctx)
		return p.Name, err == nil && endpoint != nil, nil
	}
	return "", false, nil
}
