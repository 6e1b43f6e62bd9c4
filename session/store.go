package session

import (
	"context"
	"errors"
	"time"
)

// Key finds a record in a [Store]. It is a SHA-256 of what the client holds:
// of the cookie's token for a cookie session, of the refresh token's locator
// for a token session. A store never sees a token.
type Key [32]byte

// Kind says how the client presents a session.
type Kind string

const (
	// KindCookie is a session presented by a cookie.
	KindCookie Kind = "cookie"
	// KindToken is a session presented by a rotating refresh token.
	KindToken Kind = "token"
)

// Record is a session as a [Store] keeps it. Times are UTC; a store keeps at
// least their milliseconds.
type Record struct {
	Key  Key    // what the client presents, hashed; changes at every renewal
	ID   string // public name, never changes; useless as a credential
	Kind Kind
	Rev  uint64 // raised by every Replace; Create stores 1

	UserID   string // empty: nobody has signed in yet
	Scopes   []string
	Roles    []string
	AuthTime time.Time // when the user last proved who they are; zero for nobody

	Created     time.Time
	Seen        time.Time // last activity, as coarse as touches are coalesced
	IdleExpires time.Time // moved by Touch, never past Expires
	Expires     time.Time // absolute end, moved by signing in again alone

	UserAgent string
	IP        string

	Origin  Origin
	Refresh Refresh // KindToken alone

	Data []byte // the manager's encoding of the host's data
}

// Origin is the provider sign-in that a session's user proved themselves by
// last, so that the provider can end it (OpenID Connect Back-Channel Logout
// 1.0). Empty for a password. Each part has at most 1,020 bytes: 255
// characters, whichever.
type Origin struct {
	Issuer  string
	Subject string
	SID     string // the provider's session, where it names them
}

// names says whether o is enough to find sessions by.
func (o Origin) names() bool { return o.Issuer != "" && (o.Subject != "" || o.SID != "") }

// Refresh is the rotating half of a token session. Secrets are SHA-256 sums.
type Refresh struct {
	Secret    [32]byte  // of the refresh token that is good now
	Previous  [32]byte  // of the one before it; zero before the first rotation
	RotatedAt time.Time // when Previous was exchanged for Secret
	Successor []byte    // the current secret, sealed under a key derived from the previous one; replaced by the next when used
}

// Ended is a session that is over, as the log of ended sessions keeps it.
type Ended struct {
	ID     string
	UserID string
	Reason Reason
	At     time.Time
}

// Reason says why a session ended.
type Reason string

const (
	ReasonSignedOut       Reason = "signed out"
	ReasonRevoked         Reason = "revoked"
	ReasonPasswordChanged Reason = "password changed"
	ReasonReplaced        Reason = "signed in as another user"
	ReasonReused          Reason = "refresh token reused"
	ReasonDisabled        Reason = "account disabled"
	ReasonExpired         Reason = "expired"
	ReasonEvicted         Reason = "too many sessions"
	ReasonProvider        Reason = "signed out at the provider"
)

// AnyEpoch tells [Store.Create] not to compare the user's epoch.
const AnyEpoch = ^uint64(0)

// Errors of a [Store]. A store wraps them or returns them as they are; every
// other error means that the store could not tell.
var (
	ErrExists     = errors.New("session: a record with this key or id exists")
	ErrNotFound   = errors.New("session: no such record")
	ErrConflict   = errors.New("session: the record has changed since it was read")
	ErrEpoch      = errors.New("session: the user's sessions were ended meanwhile")
	ErrOrigin     = errors.New("session: to end sessions by their origin takes an issuer, and a subject or a sid")
	ErrCursorLost = &cursorLostError{}
)

// cursorLostError is a type so that another package can recognise it by its
// method, without importing this one.
type cursorLostError struct{}

func (*cursorLostError) Error() string {
	return "session: the log of ended sessions no longer reaches back to this cursor"
}

// CursorLost reports that the reader must ask about each session it holds.
func (*cursorLostError) CursorLost() bool { return true }

// A Store keeps session records. All methods may be called concurrently, also
// by several processes on one store; each is one atomic step. The rules, each
// a subtest of sessiontest.Run:
//
//   - C1. Create stores a record with Rev 1, or returns ErrExists when its Key or ID is taken (also by an ended session still in the log), and changes nothing.
//   - C2. Create returns ErrEpoch when epoch is not AnyEpoch and differs from Epoch(UserID).
//   - L1. Load and ByID return exactly what was stored, and found=false for what is not there. Expiry is the caller's business.
//   - U1. Replace stores rec with Rev ifRev+1 in place of the record under old when its Rev is ifRev; rec.ID and rec.Created are those it had.
//   - U2. Replace returns ErrConflict for another Rev, ErrNotFound for no record. It never inserts.
//   - U3. With rec.Key other than old, old finds nothing from then on.
//   - U4. Replace does not move Seen and IdleExpires backwards past a concurrent Touch.
//   - T1. Touch moves Seen and IdleExpires forwards, never backwards, IdleExpires never past Expires, and nothing else (not Rev either).
//   - T2. Touch of what is not there is a no-op without an error.
//   - E1. End, EndUser, EndUserAt and EndOrigin remove records and append them to the log in one step; what they removed never comes back.
//   - E2. EndUser ends all sessions of the user but exceptID (empty: none is spared) and raises the user's epoch even when there are none. Those that nobody has signed in to are no user's.
//   - E3. A user's Epoch never returns to a value it had while a sign-in could still hold it (an hour).
//   - E4. EndOrigin ends every session whose Origin has o.Issuer and, of o.Subject and o.SID, those that are not empty, in O(those); without an issuer or with neither of the two it is an error and ends nothing.
//   - E5. EndUserAt is EndUser while epoch is the user's Epoch, compared and raised in one step; otherwise ErrEpoch, and nothing changes. Of many with one epoch one ends.
//   - I1. ListUser returns the user's records, in O(those), newest first, and none for the empty user.
//   - W1. EndedSince("") returns no sessions and the cursor of now. Any later cursor returns what ended after it, oldest first, each once, at most limit; nothing that ended is skipped, whatever ended concurrently.
//   - W2. A cursor older than the log is ErrCursorLost, and so is a text that is no cursor of this store. The log reaches back at least 15 minutes and survives a restart where records do.
//   - R1. Reap ends at most limit records whose IdleExpires or Expires is not after now, with ReasonExpired, and forgets what the log no longer needs to keep.
//
// An error that is none of the sentinels means the store could not tell. The
// manager then fails closed.
type Store interface {
	Create(ctx context.Context, rec Record, epoch uint64) error
	Load(ctx context.Context, key Key) (rec Record, found bool, err error)
	ByID(ctx context.Context, id string) (rec Record, found bool, err error)
	Replace(ctx context.Context, old Key, rec Record, ifRev uint64) error
	Touch(ctx context.Context, key Key, seen, idleExpires time.Time) error

	End(ctx context.Context, id string, reason Reason, at time.Time) (ended bool, err error)
	EndUser(ctx context.Context, userID, exceptID string, reason Reason, at time.Time) (ended []Ended, err error)
	EndUserAt(ctx context.Context, userID, exceptID string, epoch uint64, reason Reason, at time.Time) (ended []Ended, err error)
	EndOrigin(ctx context.Context, o Origin, reason Reason, at time.Time) (ended []Ended, err error)
	EndedSince(ctx context.Context, cursor string, limit int) (ended []Ended, next string, err error)

	ListUser(ctx context.Context, userID string) ([]Record, error)
	Epoch(ctx context.Context, userID string) (uint64, error)
	Reap(ctx context.Context, now time.Time, limit int) (ended []Ended, err error)
}
