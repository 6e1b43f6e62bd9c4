package sqldb_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/sqldb"
)

// silent is a server that takes statements and does not answer. It lets
// transactions begin, so that the statement in one is what hangs.
type silent struct{}

func (silent) Connect(context.Context) (driver.Conn, error) { return silent{}, nil }
func (silent) Driver() driver.Driver                        { return nil }
func (silent) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (silent) Close() error                                 { return nil }
func (silent) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }
func (silent) Commit() error                                { return nil }
func (silent) Rollback() error                              { return nil }

func (silent) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return silent{}, nil }

func (silent) ExecContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Result, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) QueryContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Rows, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Nobody waits for ever for a server that is there and does not answer.
func TestS25_ASilentServerIsAnError(t *testing.T) {
	for name, call := range map[string]func(context.Context, *sqldb.DB) error{
		"Exec": func(ctx context.Context, d *sqldb.DB) error { _, err := d.Exec(ctx, "op", "x"); return err },
		"Row":  func(ctx context.Context, d *sqldb.DB) error { _, err := d.Row(ctx, "op", "x", nil, nil); return err },
		"Rows": func(ctx context.Context, d *sqldb.DB) error {
			return d.Rows(ctx, "op", "x", nil, func() {}, func(*sql.Rows) error { return nil })
		},
		"Tx": func(ctx context.Context, d *sqldb.DB) error {
			return d.Tx(ctx, "op", func(ctx context.Context, tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, "x")
				return err
			})
		},
		"Lock": func(ctx context.Context, d *sqldb.DB) error {
			return d.Tx(ctx, "op", func(ctx context.Context, tx *sqldb.Tx) error {
				return tx.Lock(ctx, sqldb.NameLock("x"), true)
			})
		},
	} {
		for server, d := range map[string]sqldb.DB{"PostgreSQL": {Postgres: true}, "MySQL": {MySQL: true, Locks: "locks"}} {
			t.Run(name+" "+server, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					db := sql.OpenDB(silent{})
					defer func() { _ = db.Close() }()
					d.DB, d.Name = db, "store"
					start := time.Now()
					err := call(t.Context(), &d)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.ErrorContains(t, err, "store: op: ")
					require.Equal(t, 15*time.Second, time.Since(start))
				})
			})
		}
	}
}
