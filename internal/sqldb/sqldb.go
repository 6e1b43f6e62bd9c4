// Package sqldb is what the SQL stores have in common: statements and
// transactions that are tried again where that can help, and migrations.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// retryFor bounds how long one call is tried again when the database says
	// that another transaction was in the way.
	retryFor = 10 * time.Second
	// callFor bounds a whole call to a server, which may be there and not answer.
	callFor = 15 * time.Second
	// retryPause is the longest pause between two tries.
	retryPause = 100 * time.Millisecond
)

// ErrUnchanged makes a transaction roll back without being an error.
var ErrUnchanged = errors.New("nothing changed")

// DB runs statements and transactions, again where that can help. Statements
// are written for SQLite, with numbered parameters (?1), as far as the others
// know the same words.
type DB struct {
	DB         *sql.DB
	Postgres   bool    // and not SQLite
	MySQL      bool    // and not SQLite
	Locks      string  // MySQL: the table whose rows Tx.Lock locks
	Migrations fs.FS   // the schema, numbered files
	Name       string  // of the store, in front of errors
	Own        []error // errors of the contract, returned as they are
}

// retry calls f until it succeeds, fails for good, or time is up. f must
// leave nothing behind when it fails.
func (d *DB) retry(ctx context.Context, op string, f func() error) error {
	return d.Wrap(op, again(ctx, f))
}

func again(ctx context.Context, f func() error) error {
	start := time.Now()
	pause := time.Millisecond
	for {
		err := f()
		if err == nil || !retryable(err) || time.Since(start) > retryFor {
			return err
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(ctx.Err(), err)
		case <-t.C:
		}
		pause = min(2*pause, retryPause)
	}
}

// bound limits a call over the network. SQLite bounds its own waiting.
func (d *DB) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.Postgres || d.MySQL {
		return context.WithTimeout(ctx, callFor)
	}
	return ctx, func() {}
}

// Exec runs one statement by itself and returns how many rows it changed.
func (d *DB) Exec(ctx context.Context, op, query string, args ...any) (n int64, err error) {
	query, args, err = d.statement(query, args)
	if err != nil {
		return 0, d.Wrap(op, err)
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	err = d.retry(ctx, op, func() error {
		n, err = affected(d.DB.ExecContext(ctx, query, args...))
		return err
	})
	return n, err
}

// Row reads at most one row into dest.
func (d *DB) Row(ctx context.Context, op, query string, args, dest []any) (found bool, err error) {
	query, args, err = d.statement(query, args)
	if err == errText {
		return false, nil // nothing by this name can be there
	}
	if err != nil {
		return false, d.Wrap(op, err)
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	err = d.retry(ctx, op, func() error {
		rows, err := d.DB.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		err = one(rows, dest)
		found = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return found, err
}

// Rows calls scan for every row. reset is called before each try.
func (d *DB) Rows(ctx context.Context, op, query string, args []any, reset func(), scan func(*sql.Rows) error) error {
	query, args, err := d.statement(query, args)
	if err == errText {
		reset()
		return nil
	}
	if err != nil {
		return d.Wrap(op, err)
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	return d.retry(ctx, op, func() error {
		reset()
		rows, err := d.DB.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		return each(rows, scan)
	})
}

// statement is query as the database wants it, and the args to send with it.
// What PostgreSQL can't keep is refused before any of it is sent: the server's
// own refusal comes in the middle of a transaction, and for a search it is no
// answer.
func (d *DB) statement(query string, args []any) (string, []any, error) {
	switch {
	case d.MySQL:
		query, err := literals(query, args)
		return query, nil, err
	case d.Postgres:
		for _, a := range args {
			if s, ok := a.(string); ok && (!utf8.ValidString(s) || strings.Contains(s, "\x00")) {
				return "", nil, errText
			}
		}
		query = strings.ReplaceAll(query, "?", "$")
	}
	return query, args, nil
}

// errText says what PostgreSQL can't keep, without repeating it.
var errText = errors.New("PostgreSQL keeps no text with a zero byte or with bytes that are not UTF-8")

// one reads the one row into dest and closes rows. None is [sql.ErrNoRows]. The
// usual driver of MySQL heeds the context up to Close: nothing may be left to
// read then, not even the mark of the end.
func one(rows *sql.Rows, dest []any) error {
	found := false
	err := each(rows, func(rows *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return rows.Scan(dest...)
	})
	if err == nil && !found {
		return sql.ErrNoRows
	}
	return err
}

// each calls scan for every row and closes rows.
func each(rows *sql.Rows, scan func(*sql.Rows) error) error {
	defer func() { _ = rows.Close() }() // what could go wrong is in rows.Err
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// affected returns how many rows a statement changed.
func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Wrap says where err comes from, unless it is one of the contract's.
func (d *DB) Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	for _, e := range d.Own {
		if err == e {
			return err
		}
	}
	return fmt.Errorf("%s: %s: %w", d.Name, op, err)
}

// retryable reports whether err means that another transaction was in the way
// and nothing was done. Drivers are recognised by their errors' methods.
func retryable(err error) bool {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		switch state.SQLState() {
		case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
			return true
		}
		return false
	}
	var code interface{ Code() int }
	if errors.As(err, &code) {
		switch code.Code() & 0xff { // the primary part of an extended result code
		case 5, 6, 15: // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_PROTOCOL
			return true
		}
		return false
	}
	switch mysqlError(err) {
	case mysqlLockTimeout, mysqlDeadlock, mysqlSnapshot:
		return true
	}
	// Drivers without a method for the code still pass on SQLite's message.
	return err != nil && (strings.Contains(err.Error(), "database is locked") ||
		strings.Contains(err.Error(), "database table is locked"))
}
