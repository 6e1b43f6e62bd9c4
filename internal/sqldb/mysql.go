package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// literals writes args into query: a number as its digits, text and bytes in
// hexadecimal (x'6162'), so that whatever the value, the sql_mode and the
// character set, nothing of it can be read as anything but a value. With
// parameters a statement would cost the usual driver a second round trip, to
// prepare it, or depend on how its user configured it; kept prepared, each would
// count against a limit of the server and bind the caller to a connection, which
// pools in between do not like.
//
// The column name key, which is a word of MySQL's own, is quoted.
func literals(query string, args []any) (string, error) {
	b := make([]byte, 0, 2*len(query))
	for i := 0; i < len(query); {
		end := i + 1
		switch c := query[i]; {
		case c == '?':
			for end < len(query) && '0' <= query[end] && query[end] <= '9' {
				end++
			}
			n, err := strconv.Atoi(query[i+1 : end])
			if err != nil || n < 1 || n > len(args) {
				return "", fmt.Errorf("no parameter %s", query[i:end])
			}
			if b, err = literal(b, args[n-1]); err != nil {
				return "", err
			}
		case wordly(c):
			for end < len(query) && wordly(query[end]) {
				end++
			}
			if query[i:end] == "key" {
				b = append(b, "`key`"...)
			} else {
				b = append(b, query[i:end]...)
			}
		default:
			b = append(b, c)
		}
		i = end
	}
	return string(b), nil
}

func wordly(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

func literal(b []byte, arg any) ([]byte, error) {
	switch v := arg.(type) {
	case nil:
		return append(b, "NULL"...), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case string:
		return hexadecimal(b, []byte(v)), nil
	case []byte:
		if v == nil {
			return append(b, "NULL"...), nil
		}
		return hexadecimal(b, v), nil
	}
	return nil, fmt.Errorf("a parameter of type %T", arg)
}

func hexadecimal(b, v []byte) []byte {
	b = append(b, "x'"...)
	b = hex.AppendEncode(b, v)
	return append(b, '\'')
}

// Numbers of MySQL's errors.
const (
	mysqlDuplicate   = 1062
	mysqlLockTimeout = 1205
	mysqlDeadlock    = 1213
	mysqlSnapshot    = 1020 // MariaDB, where it takes snapshots strictly: a row has changed since
)

// mysqlError returns the number of a MySQL server's error, 0 for another one.
// github.com/go-sql-driver/mysql has it in a field, and no method to ask for it.
func mysqlError(err error) uint64 {
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.ValueOf(err)
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			continue
		}
		if n := v.FieldByName("Number"); n.IsValid() && n.CanUint() {
			return n.Uint()
		}
	}
	return 0
}

// tryMySQL is try without a [sql.Tx], whose end the usual driver asks for
// without heeding the context: it waits for a server that has stopped answering
// as long as the connection stands.
func (d *DB) tryMySQL(ctx context.Context, f func(context.Context, *Tx) error) error {
	conn, err := d.begin(ctx)
	if err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended {
			// The server rolls back a transaction that has lost its connection.
			discard(conn)
		}
		_ = conn.Close()
	}()
	failed := f(ctx, &Tx{d, conn})
	end := `COMMIT`
	if failed != nil {
		end = `ROLLBACK`
	}
	// Whatever the completion_type, which could begin the next transaction at
	// once: what is outside one would then never be committed.
	_, err = conn.ExecContext(ctx, end+` AND NO CHAIN NO RELEASE`)
	ended = err == nil
	if failed != nil {
		return failed
	}
	return err
}

// begin returns a connection in a transaction.
func (d *DB) begin(ctx context.Context) (conn *sql.Conn, err error) {
	for range 3 { // as often as database/sql takes another connection for a broken one
		if conn, err = d.DB.Conn(ctx); err != nil {
			return nil, err
		}
		if _, err = conn.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL READ COMMITTED`); err == nil {
			_, err = conn.ExecContext(ctx, `START TRANSACTION`)
		}
		if err == nil {
			return conn, nil
		}
		// Whether it is in a transaction is not known.
		discard(conn)
		_ = conn.Close()
		if !errors.Is(err, driver.ErrBadConn) {
			break
		}
	}
	return nil, err
}

// discard makes database/sql drop the connection where it would keep it.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}

// lockRow is how a transaction locks a name in MySQL, which has no lock that
// ends with a transaction but that of a row. Names share the rows of d.Locks.
func (t *Tx) lockRow(ctx context.Context, name LockName, shared bool) error {
	how := ` FOR UPDATE`
	if shared {
		how = ` LOCK IN SHARE MODE` // the words that MariaDB knows too
	}
	var n int
	err := t.Row(ctx, `SELECT n FROM `+t.db.Locks+` WHERE n = ?1`+how, []any{int64(uint64(name) % LockRows)}, &n)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("a row is missing: table %s has those of 0 to %d", t.db.Locks, LockRows-1)
	}
	return err
}

// LockRows is how many rows DB.Locks has, numbered from 0.
const LockRows = 256

// migrateMySQL is Migrate where every statement of a schema commits at once. So
// each of a migration's must be one that may run again: a process that was
// interrupted leaves what it has done and no version, and the next one starts
// that migration anew.
func (d *DB) migrateMySQL(ctx context.Context, table, create string, names []string) (err error) {
	conn, err := d.DB.Conn(ctx)
	if err != nil {
		return d.Wrap("migrate", err)
	}
	defer func() { _ = conn.Close() }()
	m := &mysqlMigration{d, conn}
	database, err := m.check(ctx)
	if err != nil {
		return d.Wrap("migrate", err)
	}
	have, err := m.version(ctx, table)
	if err == nil && have != len(names) {
		err = m.alone(ctx, database+"."+table, func() error { return m.run(ctx, table, create, names) })
	}
	return d.Wrap("migrate", err)
}

// mysqlMigration holds the one connection of a migration.
type mysqlMigration struct {
	d    *DB
	conn *sql.Conn
}

// check returns the name of the database, or why it won't do.
func (m *mysqlMigration) check(ctx context.Context) (database string, err error) {
	var name sql.NullString
	var version string
	var autocommit, limited, safe int
	if err := m.row(ctx, `SELECT DATABASE(), VERSION(), @@autocommit, @@sql_select_limit < 4294967295, @@sql_safe_updates`, nil, &name, &version, &autocommit, &limited, &safe); err != nil {
		return "", err
	}
	var variable, isolation string // its name was changed
	if err := m.row(ctx, `SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')`, nil, &variable, &isolation); err != nil {
		return "", err
	}
	switch {
	case !name.Valid:
		return "", errors.New("no database is selected: name one in the data source name")
	case !mysqlVersion(version):
		return "", fmt.Errorf("the server is %s: it takes MySQL 8.0 or MariaDB 10.6, or later", version)
	case autocommit != 1:
		return "", errors.New("autocommit is off: what is stored would never be committed")
	case limited != 0:
		return "", errors.New("sql_select_limit is set: of a user's sessions some would not be seen")
	case safe != 0:
		return "", errors.New("sql_safe_updates is on: the server would refuse to end sessions")
	case isolation == "READ-UNCOMMITTED":
		return "", errors.New("the isolation level is READ UNCOMMITTED: reads would see what is never committed; choose another")
	}
	return name.String, nil
}

// mysqlVersion reports whether a server of this version knows what the stores
// ask of it: window functions, and SKIP LOCKED.
func mysqlVersion(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	if strings.Contains(version, "MariaDB") {
		return major > 10 || major == 10 && minor >= 6
	}
	return major >= 8
}

// version returns how many migrations have run.
func (m *mysqlMigration) version(ctx context.Context, table string) (have int, err error) {
	var there int
	err = m.row(ctx, `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?1`, []any{table}, &there)
	if err == nil && there > 0 {
		err = m.row(ctx, `SELECT COALESCE(MAX(version), 0) FROM `+table, nil, &have)
	}
	return have, err
}

// alone runs f while no other process migrates the same schema. The lock is the
// connection's.
func (m *mysqlMigration) alone(ctx context.Context, schema string, f func() error) (err error) {
	sum := sha256.Sum256([]byte(schema)) // names of locks are short
	name := "gatewire " + hex.EncodeToString(sum[:16])
	for locked := 0; locked == 0; { // until the caller has waited enough
		if err := m.row(ctx, `SELECT COALESCE(GET_LOCK(?1, 10), -1)`, []any{name}, &locked); err != nil {
			return err
		}
		if locked < 0 {
			return errors.New("the server refused a lock")
		}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callFor)
		defer cancel()
		var released int
		if m.row(ctx, `SELECT COALESCE(RELEASE_LOCK(?1), -1)`, []any{name}, &released) != nil {
			// The lock ends with the connection, which must not be used again.
			discard(m.conn)
		}
	}()
	return f()
}

func (m *mysqlMigration) run(ctx context.Context, table, create string, names []string) error {
	have, err := m.version(ctx, table)
	if err != nil {
		return err
	}
	if have > len(names) {
		return newerSchema(have, len(names))
	}
	if err := m.exec(ctx, create+` ENGINE = InnoDB`); err != nil {
		return err
	}
	for i := have; i < len(names); i++ {
		text, err := fs.ReadFile(m.d.Migrations, names[i])
		if err != nil {
			return err
		}
		for stmt := range statements(string(text)) {
			if err := m.exec(ctx, stmt); err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
		}
		if err := m.transactional(ctx); err != nil {
			return err
		}
		done, err := literals(`INSERT INTO `+table+` (version, applied) VALUES (?1, ?2)`, []any{i + 1, time.Now().UnixMicro()})
		if err == nil {
			err = m.exec(ctx, done)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transactional refuses tables that a server without InnoDB has made its own way.
func (m *mysqlMigration) transactional(ctx context.Context) error {
	var others int
	err := m.row(ctx, `SELECT COUNT(*) FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_name LIKE 'gatewire%' AND engine <> 'InnoDB'`, nil, &others)
	if err == nil && others > 0 {
		err = errors.New("the tables that begin with gatewire are not all of the engine InnoDB: without it there are no transactions")
	}
	return err
}

func (m *mysqlMigration) exec(ctx context.Context, stmt string) error {
	return again(ctx, func() error {
		_, err := m.conn.ExecContext(ctx, stmt)
		return err
	})
}

func (m *mysqlMigration) row(ctx context.Context, query string, args []any, dest ...any) error {
	query, err := literals(query, args)
	if err != nil {
		return err
	}
	return again(ctx, func() error {
		rows, err := m.conn.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		return one(rows, dest)
	})
}
