package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"strings"
)

// Tx is a transaction under way.
type Tx struct {
	db *DB
	on querier
}

// querier is a [sql.Tx], or a [sql.Conn] that is in a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Tx runs f in a transaction.
//
// With SQLite, the first statement of f must be one that writes, also where it
// changes nothing: f then has the write lock before the first row is read, and
// what it reads can't become stale. With the others the isolation level is READ
// COMMITTED, whatever the server's default: each statement sees what was
// committed before it began, so what f reads after a lock is true while the
// lock is held. (A snapshot taken before the lock would not be.)
func (d *DB) Tx(ctx context.Context, op string, f func(context.Context, *Tx) error) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	return d.tx(ctx, op, f)
}

func (d *DB) tx(ctx context.Context, op string, f func(context.Context, *Tx) error) error {
	try := d.try
	if d.MySQL {
		try = d.tryMySQL
	}
	return d.retry(ctx, op, func() error {
		err := try(ctx, f)
		if err == ErrUnchanged {
			return nil
		}
		return err
	})
}

func (d *DB) try(ctx context.Context, f func(context.Context, *Tx) error) error {
	var o *sql.TxOptions
	if d.Postgres {
		o = &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	}
	tx, err := d.DB.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := f(ctx, &Tx{d, tx}); err != nil {
		return err
	}
	return tx.Commit()
}

// Lock waits until no other transaction holds name in a way that excludes this
// one: any number may share it. It is held to the end of the transaction. With
// SQLite it does nothing, since there is one writer at a time.
func (t *Tx) Lock(ctx context.Context, name LockName, shared bool) error {
	switch {
	case t.db.MySQL:
		return t.lockRow(ctx, name, shared)
	case !t.db.Postgres:
		return nil
	case shared:
		return t.void(ctx, `SELECT pg_advisory_xact_lock_shared($1)`, int64(name))
	}
	return t.void(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(name))
}

func (t *Tx) void(ctx context.Context, query string, args ...any) error {
	_, err := t.on.ExecContext(ctx, query, args...)
	return err
}

// LockName is the number of an advisory lock, or chooses a row to lock. Programs
// that share a database share these numbers; two names with one number wait for
// each other, no more.
type LockName int64

// NameLock makes a number nobody can aim at somebody else's.
func NameLock(parts ...string) LockName {
	sum := sha256.Sum256([]byte("gatewire\x00" + strings.Join(parts, "\x00")))
	return LockName(binary.BigEndian.Uint64(sum[:]))
}

// Exec runs a statement and returns how many rows it changed.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	query, args, err := t.db.statement(query, args)
	if err != nil {
		return 0, err
	}
	return affected(t.on.ExecContext(ctx, query, args...))
}

// Insert stores the one row of an INSERT, unless one with the same unique key is
// there. The transaction goes on either way.
func (t *Tx) Insert(ctx context.Context, query string, args ...any) (stored bool, err error) {
	if !t.db.MySQL {
		// PostgreSQL's transactions end with their first error.
		query += ` ON CONFLICT DO NOTHING`
	}
	// MySQL's "ON DUPLICATE KEY UPDATE" counts the same rows or none by a setting
	// of the connection, and its "IGNORE" ignores more than that.
	n, err := t.Exec(ctx, query, args...)
	if t.db.MySQL && mysqlError(err) == mysqlDuplicate {
		return false, nil
	}
	return n > 0, err
}

// Row reads one row into dest. None is [sql.ErrNoRows].
func (t *Tx) Row(ctx context.Context, query string, args []any, dest ...any) error {
	query, args, err := t.db.statement(query, args)
	if err != nil {
		return err
	}
	rows, err := t.on.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return one(rows, dest)
}

// Rows calls scan for every row.
func (t *Tx) Rows(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	query, args, err := t.db.statement(query, args)
	if err != nil {
		return err
	}
	rows, err := t.on.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return each(rows, scan)
}
