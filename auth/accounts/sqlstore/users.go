package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/internal/sqldb"
	"github.com/gatewire/gatewire/password"
)

// CreateUser implements [accounts.Store]. Where both the email and the identity
// are known the error is ErrIdentityTaken: that user can simply be signed in.
func (s *Store) CreateUser(ctx context.Context, u accounts.User, id *accounts.ExternalIdentity) error {
	scopes, err := json.Marshal(u.Scopes)
	if err != nil {
		return s.db.Wrap("create user", err)
	}
	roles, err := json.Marshal(u.Roles)
	if err != nil {
		return s.db.Wrap("create user", err)
	}
	if id != nil && id.UserID != u.ID {
		return s.db.Wrap("create user", errors.New("the identity names another user"))
	}
	key := emailKey(u.Email)
	return s.db.Tx(ctx, "create user", func(ctx context.Context, tx *sqldb.Tx) error {
		users, err := tx.Exec(ctx, insertUser, u.ID, u.Email, key, u.EmailVerified, u.Name, u.Picture,
			u.Created.UnixMicro(), string(u.Password), u.Disabled, string(scopes), string(roles))
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
	var (
		u             accounts.User
		created       int64
		hash          string
		scopes, roles []byte
	)
	found, err := s.db.Row(ctx, op, query, args, []any{
		&u.ID, &u.Email, &u.EmailVerified, &u.Name, &u.Picture, &created, &hash, &u.Disabled, &scopes, &roles})
	if err != nil || !found {
		return accounts.User{}, false, err
	}
	u.Created = time.UnixMicro(created).UTC()
	u.Password = password.Hash(hash)
	// A user whose rights can't be read must not come back with none or some.
	if json.Unmarshal(scopes, &u.Scopes) != nil || json.Unmarshal(roles, &u.Roles) != nil {
		return accounts.User{}, false, s.db.Wrap(op, fmt.Errorf("the row of user %q is damaged: scopes and roles are JSON arrays of strings", u.ID))
	}
	return u, true, nil
}

// SetPassword implements [accounts.Store].
func (s *Store) SetPassword(ctx context.Context, userID string, old, new password.Hash) error {
	n, err := s.db.Exec(ctx, "set password", setPassword, userID, string(old), string(new))
	if err != nil || n > 0 {
		return err
	}
	var there bool
	if _, err := s.db.Row(ctx, "set password", hasUser, []any{userID}, []any{&there}); err != nil {
		return err
	}
	if there {
		return accounts.ErrConflict
	}
	return accounts.ErrNoUser
}

// SetDisabled implements [accounts.Store].
func (s *Store) SetDisabled(ctx context.Context, userID string, disabled bool) error {
	n, err := s.db.Exec(ctx, "set disabled", setDisabled, userID, disabled)
	if err == nil && n == 0 {
		return accounts.ErrNoUser
	}
	return err
}
