package accounts

import (
	"context"
	"errors"
	"time"

	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

// User is an account.
type User struct {
	ID            string // random, never reused
	Email         string // as typed, trimmed; empty: none is known
	EmailVerified bool
	Name          string
	Picture       string // a URL; never fetched by the server
	Created       time.Time

	Password password.Hash // empty: this user has no password
	Disabled bool
	Scopes   []string
	Roles    []string

	Ending *Ending // what is owed; nil: nothing, as with every new user
}

// Ending is the end of all of a user's sessions that is owed: to be carried out,
// and not confirmed by the session store yet. It stands with the user, because it
// is written by the same step as what makes it necessary.
type Ending struct {
	Mark   string // random, new with every write: what it is compared by
	Reason session.Reason
	Since  time.Time // when it came to be owed
	Due    time.Time // until then whoever wrote it is at work on it
}

// ExternalIdentity ties an account to a provider's subject. Its key is
// (Issuer, Subject) and never the email (OpenID Connect Core 1.0 section 5.7).
type ExternalIdentity struct {
	Issuer  string
	Subject string
	UserID  string
	Email   string // what the provider said last; informative
	Created time.Time
}

// Errors of a [Store]. Every other error means that the store could not tell.
var (
	ErrEmailTaken    = errors.New("accounts: this email address has an account")
	ErrIdentityTaken = errors.New("accounts: this external identity belongs to an account")
	ErrNoUser        = errors.New("accounts: no such user")
	ErrConflict      = errors.New("accounts: the user has changed since it was read")
)

// A Store keeps users and their external identities. All methods may be called
// concurrently, also by several processes on one store; each is one atomic
// step. The rules, each a subtest of accountstest.Run:
//
//   - U1. CreateUser stores the user, and with it the identity when there is one, or nothing. ErrEmailTaken for an email whose EmailKey is in use, ErrIdentityTaken for a known (Issuer, Subject). N concurrent calls for one email store one user. An empty email is no email: any number of users have none.
//   - U2. UserByID, UserByEmail (compared by EmailKey) and UserByIdentity (byte for byte) return exactly what was stored (times to the microsecond at least, UTC), found=false for what is not there; UserByEmail("") never finds anybody. Ending is of no concern to CreateUser.
//   - U3. SetPassword stores the new hash only while the stored one is old, and when owed is not nil only while no ending is owed, which it stores in the same step; otherwise ErrConflict, and nothing is stored. With nil it leaves what is owed. ErrNoUser when there is none.
//   - U4. SetDisabled sets or clears Disabled, and when owed is not nil stores it in the same step, in place of what was owed; with nil it leaves that. ErrNoUser when there is none.
//   - U5. SwapEnding puts next in place of the ending that is owed under mark, or strikes that off when next is nil; ErrConflict for another mark and where nothing is owed. Of many with one mark one succeeds. ErrNoUser when there is no such user.
//   - U6. Owing returns the users whose ending is owed with a Due that is not after at, oldest Due first, at most limit.
//   - U7. SetGrants stores Scopes and Roles in place of those there are, and nothing else. ErrNoUser when there is none.
type Store interface {
	CreateUser(ctx context.Context, u User, id *ExternalIdentity) error
	UserByID(ctx context.Context, id string) (u User, found bool, err error)
	UserByEmail(ctx context.Context, email string) (u User, found bool, err error)
	UserByIdentity(ctx context.Context, issuer, subject string) (u User, found bool, err error)
	SetPassword(ctx context.Context, userID string, old, new password.Hash, owed *Ending) error
	SetDisabled(ctx context.Context, userID string, disabled bool, owed *Ending) error
	SetGrants(ctx context.Context, userID string, scopes, roles []string) error
	SwapEnding(ctx context.Context, userID, mark string, next *Ending) error
	Owing(ctx context.Context, at time.Time, limit int) ([]User, error)
}
