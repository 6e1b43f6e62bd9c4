package session

import (
	"slices"
	"time"
)

// Session is a session as it was when it was read: a copy, which does not
// change and does not keep the session alive. Its methods UserID, SessionID,
// AuthTime, ExpiresAt and Grants are the shape other packages take a signed-in
// caller in. It is safe for concurrent use as far as D is.
type Session[D any] struct {
	rec  Record
	data D
}

// UserID is the signed-in user, empty for an anonymous visitor.
func (s *Session[D]) UserID() string { return s.rec.UserID }

// SessionID is the session's public name. Knowing it gives no rights.
func (s *Session[D]) SessionID() string { return s.rec.ID }

// AuthTime is when the user last proved who they are.
func (s *Session[D]) AuthTime() time.Time { return s.rec.AuthTime }

// ExpiresAt is the absolute end of the session. It can end earlier.
func (s *Session[D]) ExpiresAt() time.Time { return s.rec.Expires }

// Grants returns what the session was given at sign-in, or by
// [Manager.SetGrants] since.
func (s *Session[D]) Grants() (scopes, roles []string) {
	return slices.Clone(s.rec.Scopes), slices.Clone(s.rec.Roles)
}

// ID is SessionID.
func (s *Session[D]) ID() string { return s.rec.ID }

// Kind says how the session is presented. It is empty for an anonymous visitor
// about whom nothing is stored.
func (s *Session[D]) Kind() Kind { return s.rec.Kind }

// Data is the host's data, the zero D where nothing was stored. Change it with
// [Manager.Update] only.
func (s *Session[D]) Data() D { return s.data }

// Origin is the provider sign-in that AuthTime is of; empty when it was none.
func (s *Session[D]) Origin() Origin { return s.rec.Origin }

// Info describes the session for a list of devices.
func (s *Session[D]) Info() Info { return infoOf(s.rec) }

// Info describes a session for a list of "your devices". It holds nothing one
// could sign in with.
type Info struct {
	ID        string
	Kind      Kind
	UserID    string
	Created   time.Time
	Seen      time.Time // to within TouchEvery
	AuthTime  time.Time
	Expires   time.Time // absolute end
	UserAgent string
	IP        string
}

func infoOf(rec Record) Info {
	return Info{
		ID: rec.ID, Kind: rec.Kind, UserID: rec.UserID,
		Created: rec.Created, Seen: rec.Seen, AuthTime: rec.AuthTime, Expires: rec.Expires,
		UserAgent: rec.UserAgent, IP: rec.IP,
	}
}

// Start describes a sign-in.
type Start struct {
	UserID string // required
	Scopes []string
	Roles  []string
	Origin Origin // the provider sign-in, when it was one

	// AuthTime is when the user proved who they are, where that was not just
	// now: a provider's auth_time (OpenID Connect Core 1.0 section 2), or the
	// session of another library that is carried over. What asks for a recent
	// proof goes by it. Defaults to now; a time that is yet to come is now.
	AuthTime time.Time

	UserAgent string // cut to 512 bytes
	IP        string // cut to 64 bytes

	// Epoch is what Manager.Epoch said before the credentials were checked.
	// Set, the sign-in fails with ErrEpoch when the user's sessions were ended
	// in between (a password change, an account disabled). Set it wherever
	// signing in takes more than one step.
	Epoch *uint64
}
