package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sqlstore"
)

// With modernc.org/sqlite imported for its driver, this is all it takes.
func ExampleNew() {
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN("app.db"))
	if err != nil {
		fmt.Println("no driver in this example")
		return
	}
	store, err := sqlstore.New(db, sqlstore.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: no driver in this example
}

// With jackc/pgx/v5/stdlib imported for its driver.
func ExampleNew_postgreSQL() {
	db, err := sql.Open("pgx", "postgres://app:password@db.internal/app?sslmode=verify-full")
	if err != nil {
		fmt.Println("no driver in this example")
		return
	}
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	store, err := sqlstore.New(db, sqlstore.PostgreSQL)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: no driver in this example
}

// With go-sql-driver/mysql imported for its driver.
func ExampleNew_mySQL() {
	db, err := sql.Open("mysql", "app:password@tcp(db.internal:3306)/app?tls=true")
	if err != nil {
		fmt.Println("no driver in this example")
		return
	}
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	store, err := sqlstore.New(db, sqlstore.MySQL)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: no driver in this example
}

func ExampleSQLiteDSN() {
	fmt.Println(sqlstore.SQLiteDSN("/var/lib/app/100% app.db"))
	// Output: file:///var/lib/app/100%25%20app.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_txlock=immediate
}

func TestSQLiteDSN(t *testing.T) {
	const settings = "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_txlock=immediate"
	for file, want := range map[string]string{
		"app.db":                      "file:app.db",
		"data/app.db":                 "file:data/app.db",
		"/data/app.db":                "file:///data/app.db",
		"//data/app.db":               "file:////data/app.db",
		":memory:":                    "file::memory:",
		"a?mode=memory&_txlock=x#y%z": "file:a%3Fmode=memory&_txlock=x%23y%25z",
		"é.db":                        "file:%C3%A9.db",
	} {
		require.Equal(t, want+settings, sqlstore.SQLiteDSN(file), file)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	_, err := sqlstore.New(nil, "oracle")
	require.ErrorContains(t, err, "db is nil")
	require.ErrorContains(t, err, `unknown dialect "oracle"`)
	_, err = sqlstore.New(sql.OpenDB(down{}), "")
	require.ErrorContains(t, err, `unknown dialect ""`)
}

func TestMigrationsAreExported(t *testing.T) {
	for _, d := range []sqlstore.Dialect{sqlstore.SQLite, sqlstore.PostgreSQL, sqlstore.MySQL} {
		names, err := fs.Glob(d.Migrations(), "*")
		require.NoError(t, err)
		require.Equal(t, "0001_sessions.sql", names[0])
	}
	require.Nil(t, sqlstore.Dialect("oracle").Migrations())
}

// down is a database that can't be reached.
type down struct{}

var errDown = errors.New("connection refused")

func (down) Connect(context.Context) (driver.Conn, error) { return nil, errDown }
func (down) Driver() driver.Driver                        { return nil }

func TestDatabaseDownIsAnError(t *testing.T) {
	s, err := sqlstore.New(sql.OpenDB(down{}), sqlstore.SQLite)
	require.NoError(t, err, "New does not dial")
	_, found, err := s.Load(t.Context(), session.Key{})
	require.ErrorIs(t, err, errDown)
	require.EqualError(t, err, "session/sqlstore: load: connection refused")
	require.False(t, found)
	require.ErrorIs(t, s.Migrate(t.Context()), errDown)
}
