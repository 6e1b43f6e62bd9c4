package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/gatewire/gatewire/internal/sqldb"
	"github.com/gatewire/gatewire/session"
)

// Store is a [session.Store] in an SQL database. It is safe for concurrent
// use, and for use by several processes on one database.
type Store struct {
	db      sqldb.DB
	queries queries
}

var _ session.Store = (*Store)(nil)

// New returns a store on db, which stays the caller's to close. It does not
// touch the database: call [Store.Migrate] before anything else.
func New(db *sql.DB, d Dialect) (*Store, error) {
	var errs []error
	if db == nil {
		errs = append(errs, errors.New("session/sqlstore: db is nil: pass what sql.Open returned"))
	}
	if d.Migrations() == nil {
		errs = append(errs, fmt.Errorf("session/sqlstore: unknown dialect %q: pass sqlstore.SQLite, sqlstore.PostgreSQL or sqlstore.MySQL", string(d)))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := &Store{queries: sqliteQueries, db: sqldb.DB{
		DB:         db,
		Postgres:   d == PostgreSQL,
		MySQL:      d == MySQL,
		Locks:      "gatewire_session_locks",
		Migrations: d.Migrations(),
		Name:       "session/sqlstore",
		Own:        []error{session.ErrExists, session.ErrNotFound, session.ErrConflict, session.ErrEpoch, session.ErrOrigin, session.ErrCursorLost},
	}}
	switch d {
	case PostgreSQL:
		s.queries = postgresQueries
	case MySQL:
		s.queries = mysqlQueries
	}
	return s, nil
}

// Migrate creates the tables or brings them up to date, in one transaction. It
// may be called at every start, by any number of processes at once. A schema
// that is newer than this package knows is an error.
//
// MySQL commits every statement of a schema by itself: what an interrupted
// Migrate leaves is not used before another one has finished it.
func (s *Store) Migrate(ctx context.Context) error {
	return s.db.Migrate(ctx, "gatewire_session_schema")
}

// Create implements [session.Store].
func (s *Store) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	rec.Rev = 1
	args, err := s.values(rec)
	if err != nil {
		return s.db.Wrap("create", err)
	}
	return s.db.Tx(ctx, "create", func(ctx context.Context, tx *sqldb.Tx) error {
		// EndUser raises the epoch and removes the sessions in one transaction,
		// which this one precedes or follows as a whole.
		if err := tx.Lock(ctx, userLock(rec.UserID), true); err != nil {
			return err
		}
		stored, err := tx.Insert(ctx, insertSession, args...)
		if err != nil {
			return err
		}
		if !stored {
			return session.ErrExists
		}
		var ended bool
		if err := tx.Row(ctx, hasEnded, []any{rec.ID, rec.Key[:]}, &ended); err != nil {
			return err
		}
		if ended {
			return session.ErrExists
		}
		if epoch == session.AnyEpoch {
			return nil
		}
		var now int64
		if err := tx.Row(ctx, userEpoch, []any{rec.UserID}, &now); err != nil {
			return err
		}
		if uint64(now) != epoch {
			return session.ErrEpoch
		}
		return nil
	})
}

// userLock is shared by those who begin a session of this user, and held alone
// by who ends them all. Without it PostgreSQL and MySQL would let EndUser miss a
// session that is not committed yet, whose beginner does not see the new epoch
// yet.
func userLock(userID string) sqldb.LockName { return sqldb.NameLock("session user", userID) }

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	return s.one(ctx, "load", sessionByKey, key[:])
}

// ByID implements [session.Store].
func (s *Store) ByID(ctx context.Context, id string) (session.Record, bool, error) {
	return s.one(ctx, "load by id", sessionByID, id)
}

func (s *Store) one(ctx context.Context, op, query string, arg any) (session.Record, bool, error) {
	var r row
	found, err := s.db.Row(ctx, op, query, []any{arg}, r.dest())
	if err != nil || !found {
		return session.Record{}, false, err
	}
	rec, err := r.record()
	if err != nil {
		return session.Record{}, false, s.db.Wrap(op, err)
	}
	return rec, true, nil
}

// ListUser implements [session.Store].
func (s *Store) ListUser(ctx context.Context, userID string) ([]session.Record, error) {
	if userID == "" {
		return nil, nil // sessions that nobody has signed in to are no user's
	}
	var list []session.Record
	err := s.db.Rows(ctx, "list", sessionsOfUser, []any{userID},
		func() { list = nil },
		func(rows *sql.Rows) error {
			var r row
			if err := rows.Scan(r.dest()...); err != nil {
				return err
			}
			rec, err := r.record()
			if err == nil {
				list = append(list, rec)
			}
			return err
		})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Replace implements [session.Store].
func (s *Store) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	rec.Rev = ifRev + 1
	args, err := s.values(rec)
	if err != nil {
		return s.db.Wrap("replace", err)
	}
	args = append(args[createColumns:], old[:], int64(ifRev))
	if s.db.Postgres {
		args = append(args, int64(userLock(rec.UserID)))
	}
	n, err := s.db.Exec(ctx, "replace", s.queries.replace, args...)
	if err == nil && n == 0 && s.db.MySQL {
		n, err = s.replaceFrom(ctx, rec.UserID, args)
	}
	if err != nil || n > 0 {
		return err
	}
	// Which of the two it is may have changed by now; either is true of a
	// moment within this call.
	var there bool
	if _, err := s.db.Row(ctx, "replace", hasSession, []any{old[:]}, []any{&there}); err != nil {
		return err
	}
	if there {
		return session.ErrConflict
	}
	return session.ErrNotFound
}

// replaceFrom replaces a session that changes hands, sharing the lock of its new
// user: see userLock. Those that stay their user's wait for nobody.
func (s *Store) replaceFrom(ctx context.Context, userID string, args []any) (n int64, err error) {
	err = s.db.Tx(ctx, "replace", func(ctx context.Context, tx *sqldb.Tx) (err error) {
		if err = tx.Lock(ctx, userLock(userID), true); err != nil {
			return err
		}
		n, err = tx.Exec(ctx, replaceSession, args...)
		return err
	})
	return n, err
}

// Touch implements [session.Store].
func (s *Store) Touch(ctx context.Context, key session.Key, seen, idleExpires time.Time) error {
	_, err := s.db.Exec(ctx, "touch", touchSession, key[:], micros(seen), micros(idleExpires))
	return err
}
