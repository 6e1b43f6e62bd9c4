package session

import "time"

// Event is something that happened to a session, for an audit log. It holds no
// secret.
type Event struct {
	Kind      EventKind
	Time      time.Time
	SessionID string
	UserID    string
	Reason    Reason // of EventEnded and EventReused
	Err       error  // of EventUndecodable
}

// EventKind names an [Event].
type EventKind string

const (
	// EventBegun is a sign-in, also one that renewed the user's session.
	EventBegun EventKind = "session begun"
	// EventRenewed is a new secret for a session, by Renew.
	EventRenewed EventKind = "session renewed"
	// EventRefreshed is a refresh token exchanged for the next.
	EventRefreshed EventKind = "session refreshed"
	// EventEnded is a session ended by this manager.
	EventEnded EventKind = "session ended"
	// EventReused is a superseded refresh token presented: it was copied. The
	// session ends, which is an event of its own.
	EventReused EventKind = "refresh token reused"
	// EventUndecodable is a record whose data is not that of this manager's
	// type. The visitor gets a fresh session.
	EventUndecodable EventKind = "session undecodable"
)
