package accounts

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// Event is something that happened to an account, for an audit log. It holds no
// secret and no address of mail: people type passwords into the wrong field.
type Event struct {
	Kind      EventKind
	Time      time.Time
	UserID    string     // empty when nobody is known by the address
	SessionID string     // of what concerns one session
	IP        netip.Addr // of the client, where there is one
	Provider  string     // the issuer, of what concerns a provider
	Count     int        // of sessions, of EventSessionsEnded, EventSessionsEndedLate and EventProviderLogout
}

// EventKind names an [Event].
type EventKind string

const (
	EventRegistered        EventKind = "registered"
	EventSignedIn          EventKind = "signed in"
	EventSignInFailed      EventKind = "sign-in failed"
	EventSignInRefused     EventKind = "sign-in refused: account disabled"
	EventThrottled         EventKind = "throttled"
	EventPasswordChanged   EventKind = "password changed"
	EventPasswordWrong     EventKind = "password change refused: wrong password"
	EventLinkRefused       EventKind = "provider sign-in refused: the email address has an account"
	EventSignedOut         EventKind = "signed out"
	EventSessionEnded      EventKind = "session ended by its user"
	EventSessionsEnded     EventKind = "all sessions ended"
	EventEndingOwed        EventKind = "sessions still to be ended"
	EventSessionsEndedLate EventKind = "all sessions ended late"
	EventProviderLogout    EventKind = "signed out at the provider"
	EventLogoutRefused     EventKind = "sign-in refused: signed out at the provider meanwhile"
	EventDisabled          EventKind = "account disabled"
	EventEnabled           EventKind = "account enabled"
	EventGrantsChanged     EventKind = "scopes and roles changed"
)

// event tells the hook and the log. Refresh tokens used twice are an event of
// package session.
func (s *Service) event(ctx context.Context, e Event) {
	e.Time = time.Now().UTC()
	attrs := []slog.Attr{}
	for _, a := range [...]struct{ key, value string }{{"user", e.UserID}, {"session", e.SessionID}, {"provider", e.Provider}} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	if e.IP.IsValid() {
		attrs = append(attrs, slog.String("ip", e.IP.String()))
	}
	if e.Kind == EventSessionsEnded || e.Kind == EventSessionsEndedLate || e.Kind == EventProviderLogout {
		attrs = append(attrs, slog.Int("count", e.Count))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "accounts: "+string(e.Kind), attrs...)
	if s.events != nil {
		s.events(ctx, e)
	}
}
