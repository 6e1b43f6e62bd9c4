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
)

const (
	// retryFor bounds how long one call is tried again when the database says
	// that another transaction was in the way.
	retryFor = 10 * time.Second
	// retryPause is the longest pause between two tries.
	retryPause = 100 * time.Millisecond
)

// ErrUnchanged makes a transaction roll back without being an error.
var ErrUnchanged = errors.New("nothing changed")

// DB runs statements and transactions, again where that can help.
type DB struct {
	DB         *sql.DB
	Migrations fs.FS   // the schema, numbered files
	Name       string  // of the store, in front of errors
	Own        []error // errors of the contract, returned as they are
}

// retry calls f until it succeeds, fails for good, or time is up. f must
// leave nothing behind when it fails.
func (d *DB) retry(ctx context.Context, op string, f func() error) error {
	start := time.Now()
	pause := time.Millisecond
	for {
		err := f()
		if err == nil || !retryable(err) || time.Since(start) > retryFor {
			return d.Wrap(op, err)
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			t.Stop()
			return d.Wrap(op, errors.Join(ctx.Err(), err))
		case <-t.C:
		}
		pause = min(2*pause, retryPause)
	}
}

// Tx runs f in a transaction. The first statement of f must be one that
// writes, also where it changes nothing: SQLite then has the write lock before
// the first row is read, and what f reads can't become stale.
func (d *DB) Tx(ctx context.Context, op string, f func(*sql.Tx) error) error {
	return d.retry(ctx, op, func() error {
		tx, err := d.DB.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after Commit it does nothing
		switch err := f(tx); {
		case err == ErrUnchanged:
			return nil
		case err != nil:
			return err
		}
		return tx.Commit()
	})
}

// Exec runs one statement by itself and returns how many rows it changed.
func (d *DB) Exec(ctx context.Context, op, query string, args ...any) (n int64, err error) {
	err = d.retry(ctx, op, func() error {
		n, err = Affected(d.DB.ExecContext(ctx, query, args...))
		return err
	})
	return n, err
}

// Row reads at most one row into dest.
func (d *DB) Row(ctx context.Context, op, query string, args, dest []any) (found bool, err error) {
	err = d.retry(ctx, op, func() error {
		err := d.DB.QueryRowContext(ctx, query, args...).Scan(dest...)
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
	return d.retry(ctx, op, func() error {
		reset()
		rows, err := d.DB.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		return Each(rows, scan)
	})
}

// Each calls scan for every row and closes rows.
func Each(rows *sql.Rows, scan func(*sql.Rows) error) error {
	defer func() { _ = rows.Close() }() // what could go wrong is in rows.Err
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Affected returns how many rows a statement changed.
func Affected(r sql.Result, err error) (int64, error) {
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
	// Drivers without a method for the code still pass on SQLite's message.
	return err != nil && (strings.Contains(err.Error(), "database is locked") ||
		strings.Contains(err.Error(), "database table is locked"))
}

// Migrate brings the schema up to date. table keeps the versions it has had.
func (d *DB) Migrate(ctx context.Context, table string) error {
	files := d.Migrations
	names, err := fs.Glob(files, "*.sql") // sorted: 0001_…, 0002_…
	if err != nil {
		return d.Wrap("migrate", err)
	}
	if _, err := d.Exec(ctx, "migrate", `CREATE TABLE IF NOT EXISTS `+table+
		` (version INTEGER NOT NULL PRIMARY KEY, applied BIGINT NOT NULL)`); err != nil {
		return err
	}
	return d.Tx(ctx, "migrate", func(tx *sql.Tx) error {
		// Takes the lock: of several processes that start, one migrates.
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE version < 0`); err != nil {
			return err
		}
		var have int
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM `+table).Scan(&have); err != nil {
			return err
		}
		switch {
		case have == len(names):
			return ErrUnchanged
		case have > len(names):
			return fmt.Errorf("the schema in the database is version %d and this program knows %d at most: it was migrated by a newer release; run that release, or restore a backup made before it", have, len(names))
		}
		for i := have; i < len(names); i++ {
			text, err := fs.ReadFile(files, names[i])
			if err != nil {
				return err
			}
			for stmt := range strings.SplitSeq(string(text), ";\n") {
				if strings.TrimSpace(stmt) == "" {
					continue
				}
				if _, err := tx.ExecContext(ctx, stmt); err != nil {
					return fmt.Errorf("%s: %w", names[i], err)
				}
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO `+table+` (version, applied) VALUES (?1, ?2)`,
				i+1, time.Now().UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
}
