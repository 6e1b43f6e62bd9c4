package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/internal/sqldb"
	"github.com/gatewire/gatewire/jwt"
)

// Store is an [accounts.Store] and a [jwt.KeyStore] in an SQL database, and has
// a [Store.Limiter] and a [Store.Once]. It is safe for concurrent use, and for
// use by several processes on one database.
type Store struct {
	db      sqldb.DB
	sharing sharingQueries
	limiter limiter
	once    once
}

var (
	_ accounts.Store = (*Store)(nil)
	_ jwt.KeyStore   = (*Store)(nil)
)

// New returns a store on db, which stays the caller's to close. It does not
// touch the database: call [Store.Migrate] before anything else.
func New(db *sql.DB, d Dialect) (*Store, error) {
	var errs []error
	if db == nil {
		errs = append(errs, errors.New("accounts/sqlstore: db is nil: pass what sql.Open returned"))
	}
	if d.Migrations() == nil {
		errs = append(errs, fmt.Errorf("accounts/sqlstore: unknown dialect %q: pass sqlstore.SQLite or sqlstore.PostgreSQL", string(d)))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := &Store{sharing: sqliteSharing, db: sqldb.DB{
		DB:         db,
		Postgres:   d == PostgreSQL,
		Migrations: d.Migrations(),
		Name:       "accounts/sqlstore",
		Own: []error{accounts.ErrEmailTaken, accounts.ErrIdentityTaken, accounts.ErrNoUser, accounts.ErrConflict,
			jwt.ErrKeyConflict},
	}}
	s.limiter.s, s.once.s = s, s
	s.limiter.uses.begin()
	s.once.uses.begin()
	if d == PostgreSQL {
		s.sharing = postgresSharing
	} else {
		s.limiter.turn = make(chan struct{}, 1)
	}
	return s, nil
}

// Migrate creates the tables or brings them up to date, in one transaction. It
// may be called at every start, by any number of processes at once. A schema
// that is newer than this package knows is an error.
func (s *Store) Migrate(ctx context.Context) error {
	return s.db.Migrate(ctx, "gatewire_accounts_schema")
}
