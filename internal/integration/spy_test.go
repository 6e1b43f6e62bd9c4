package integration_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
)

// spy is a database whose statements can be watched and made to fail.
type spy struct {
	dsn string

	mu   sync.Mutex
	seen []statement
	fail func(query string) error // nil: nothing fails
	cut  error                    // not nil: what every result ends with, after its first row
}

type statement struct {
	query string
	args  []driver.NamedValue
}

func openSpy(t testing.TB, dsn string) (*spy, *sql.DB) {
	s := &spy{dsn: dsn}
	db := sql.OpenDB(s)
	t.Cleanup(func() { _ = db.Close() })
	return s, db
}

// sent counts the statements so far that begin like this.
func (s *spy) sent(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.seen {
		if strings.HasPrefix(st.query, prefix) {
			n++
		}
	}
	return n
}

// during returns the statements that f sends.
func (s *spy) during(f func()) []statement {
	s.mu.Lock()
	s.seen = nil
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *spy) setFail(f func(query string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

func (s *spy) note(query string, args []driver.NamedValue) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, statement{query, args})
	if s.fail != nil {
		return s.fail(query)
	}
	return nil
}

func (s *spy) Driver() driver.Driver {
	switch {
	case isPostgres(s.dsn):
		return stdlib.GetDefaultDriver()
	case isMySQL(s.dsn):
		return &mysql.MySQLDriver{}
	}
	return &sqlite.Driver{}
}

func (s *spy) Connect(context.Context) (driver.Conn, error) {
	c, err := s.Driver().Open(s.dsn)
	if err != nil {
		return nil, err
	}
	return &spyConn{c, s}, nil
}

type spyConn struct {
	driver.Conn
	spy *spy
}

func (c *spyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.spy.note(query, args); err != nil {
		return nil, err
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *spyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.spy.note(query, args); err != nil {
		return nil, err
	}
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	if err != nil || c.spy.cut == nil {
		return rows, err
	}
	return &cutRows{Rows: rows, err: c.spy.cut}, nil
}

// cutRows is a result whose connection breaks after the first row.
type cutRows struct {
	driver.Rows
	err error
	n   int
}

func (r *cutRows) Next(dest []driver.Value) error {
	if r.n++; r.n > 1 {
		return r.err
	}
	return r.Rows.Next(dest)
}

func (c *spyConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	return &spyTx{tx, c.spy}, nil
}

type spyTx struct {
	driver.Tx
	spy *spy
}

func (t *spyTx) Commit() error {
	if err := t.spy.note("COMMIT", nil); err != nil {
		_ = t.Rollback()
		return err
	}
	return t.Tx.Commit()
}
