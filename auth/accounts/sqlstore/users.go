package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/internal/sqldb"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

// CreateUser implements [accounts.Store]. Where both the email and the identity
// are known the error is ErrIdentityTaken: that user can simply be signed in.
func (s *Store) CreateUser(ctx context.Context, u accounts.User, id *accounts.ExternalIdentity) error {
	if id != nil && id.UserID != u.ID {
		return s.db.Wrap("create user", errors.New("the identity names another user"))
	}
	key := emailKey(u.Email)
	return s.db.Tx(ctx, "create user", func(ctx context.Context, tx *sqldb.Tx) error {
		users, err := tx.Exec(ctx, insertUser, u.ID, u.Email, key, u.EmailVerified, u.Name, u.Picture,
			u.Created.UnixMicro(), string(u.Password), u.Disabled, listText(u.Scopes), listText(u.Roles))
		if err != nil {
			return err
		}
		if id != nil {
			var taken bool
			if err := tx.Row(ctx, hasIdentity, []any{id.Issuer, id.Subject}, &taken); err != nil {
				return err
			}
			if taken {
				return accounts.ErrIdentityTaken
			}
		}
		if users == 0 {
			var taken bool
			if err := tx.Row(ctx, hasEmail, []any{key}, &taken); err != nil {
				return err
			}
			if taken {
				return accounts.ErrEmailTaken
			}
			return errors.New("a user with this id exists")
		}
		if id == nil {
			return nil
		}
		identities, err := tx.Exec(ctx, insertIdentity, id.Issuer, id.Subject, u.ID, id.Email, id.Created.UnixMicro())
		if err == nil && identities == 0 {
			return accounts.ErrIdentityTaken
		}
		return err
	})
}

// listText is a list of scopes or roles as its column holds it.
func listText(list []string) string {
	b, _ := json.Marshal(list) // it never fails for strings
	return string(b)
}

// emailKey is NULL for no address: unique columns hold any number of those.
func emailKey(email string) any {
	if key := accounts.EmailKey(email); key != "" {
		return key
	}
	return nil
}

// UserByID implements [accounts.Store].
func (s *Store) UserByID(ctx context.Context, id string) (accounts.User, bool, error) {
	return s.user(ctx, "user by id", userByID, id)
}

// UserByEmail implements [accounts.Store].
func (s *Store) UserByEmail(ctx context.Context, email string) (accounts.User, bool, error) {
	return s.user(ctx, "user by email", userByEmail, emailKey(email)) // nothing equals NULL
}

// UserByIdentity implements [accounts.Store].
func (s *Store) UserByIdentity(ctx context.Context, issuer, subject string) (accounts.User, bool, error) {
	return s.user(ctx, "user by identity", userByIdentity, issuer, subject)
}

func (s *Store) user(ctx context.Context, op, query string, args ...any) (accounts.User, bool, error) {
	var r userRow
	found, err := s.db.Row(ctx, op, query, args, r.dest())
	if err != nil || !found {
		return accounts.User{}, false, err
	}
	u, err := r.user()
	if err != nil {
		return accounts.User{}, false, s.db.Wrap(op, err)
	}
	return u, true, nil
}

// userRow is userColumns.
type userRow struct {
	u             accounts.User
	created       int64
	hash          string
	scopes, roles []byte
	mark, reason  sql.NullString
	since, due    sql.NullInt64
}

func (r *userRow) dest() []any {
	return []any{&r.u.ID, &r.u.Email, &r.u.EmailVerified, &r.u.Name, &r.u.Picture, &r.created, &r.hash, &r.u.Disabled,
		&r.scopes, &r.roles, &r.mark, &r.reason, &r.since, &r.due}
}

func (r *userRow) user() (accounts.User, error) {
	u := r.u
	u.Created = time.UnixMicro(r.created).UTC()
	u.Password = password.Hash(r.hash)
	// A user whose rights can't be read must not come back with none or some.
	if json.Unmarshal(r.scopes, &u.Scopes) != nil || json.Unmarshal(r.roles, &u.Roles) != nil {
		return accounts.User{}, fmt.Errorf("the row of user %q is damaged: scopes and roles are JSON arrays of strings", u.ID)
	}
	switch n := r.mark.Valid; {
	case n != r.reason.Valid, n != r.since.Valid, n != r.due.Valid:
		return accounts.User{}, fmt.Errorf("the row of user %q is damaged: of an ending everything or nothing is there", u.ID)
	case n:
		u.Ending = &accounts.Ending{Mark: r.mark.String, Reason: session.Reason(r.reason.String),
			Since: time.UnixMicro(r.since.Int64).UTC(), Due: time.UnixMicro(r.due.Int64).UTC()}
	}
	return u, nil
}

// endingArgs are the four columns of an ending, NULL for none.
func endingArgs(e *accounts.Ending) []any {
	if e == nil {
		return []any{nil, nil, nil, nil}
	}
	return []any{e.Mark, string(e.Reason), e.Since.UnixMicro(), e.Due.UnixMicro()}
}

// SetPassword implements [accounts.Store].
func (s *Store) SetPassword(ctx context.Context, userID string, old, new password.Hash, owed *accounts.Ending) error {
	query, args := setPassword, []any{userID, string(old), string(new)}
	if owed != nil {
		query, args = setPasswordOwing, append(args, endingArgs(owed)...)
	}
	return s.swap(ctx, "set password", userID, query, args)
}

// SwapEnding implements [accounts.Store].
func (s *Store) SwapEnding(ctx context.Context, userID, mark string, next *accounts.Ending) error {
	return s.swap(ctx, "swap ending", userID, swapEnding, append([]any{userID, mark}, endingArgs(next)...))
}

// swap runs a statement that changes the user's row while it is as expected.
func (s *Store) swap(ctx context.Context, op, userID, query string, args []any) error {
	n, err := s.db.Exec(ctx, op, query, args...)
	if err != nil || n > 0 {
		return err
	}
	var there bool
	if _, err := s.db.Row(ctx, op, hasUser, []any{userID}, []any{&there}); err != nil {
		return err
	}
	if there {
		return accounts.ErrConflict
	}
	return accounts.ErrNoUser
}

// SetDisabled implements [accounts.Store].
func (s *Store) SetDisabled(ctx context.Context, userID string, disabled bool, owed *accounts.Ending) error {
	query, args := setDisabled, []any{userID, disabled}
	if owed != nil {
		query, args = setDisabledOwing, append(args, endingArgs(owed)...)
	}
	return s.change(ctx, "set disabled", query, args...)
}

// SetGrants implements [accounts.Store].
func (s *Store) SetGrants(ctx context.Context, userID string, scopes, roles []string) error {
	return s.change(ctx, "set grants", setGrants, userID, listText(scopes), listText(roles))
}

// change runs a statement that changes the user's row, whatever is in it.
func (s *Store) change(ctx context.Context, op, query string, args ...any) error {
	n, err := s.db.Exec(ctx, op, query, args...)
	if err == nil && n == 0 {
		return accounts.ErrNoUser
	}
	return err
}

// Owing implements [accounts.Store].
func (s *Store) Owing(ctx context.Context, at time.Time, limit int) ([]accounts.User, error) {
	var users []accounts.User
	// To SQLite a negative limit is none.
	err := s.db.Rows(ctx, "owing", owing, []any{at.UnixMicro(), max(limit, 0)},
		func() { users = nil },
		func(rows *sql.Rows) error {
			var r userRow
			if err := rows.Scan(r.dest()...); err != nil {
				return err
			}
			u, err := r.user()
			users = append(users, u)
			return err
		})
	if err != nil {
		return nil, err
	}
	return users, nil
}
