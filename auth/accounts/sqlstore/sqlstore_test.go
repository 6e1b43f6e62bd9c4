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

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/auth/accounts/sqlstore"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// With modernc.org/sqlite imported for its driver, this is all it takes.
func ExampleNew() {
	db, err := sql.Open("sqlite", sessionsql.SQLiteDSN("app.db"))
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

func TestNewRefusesWhatCannotWork(t *testing.T) {
	_, err := sqlstore.New(nil, "oracle")
	require.ErrorContains(t, err, "db is nil")
	require.ErrorContains(t, err, `unknown dialect "oracle"`)
}

func TestMigrationsAreExported(t *testing.T) {
	for _, d := range []sqlstore.Dialect{sqlstore.SQLite, sqlstore.PostgreSQL} {
		names, err := fs.Glob(d.Migrations(), "*")
		require.NoError(t, err)
		require.Equal(t, "0001_accounts.sql", names[0])
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
	_, found, err := s.UserByID(t.Context(), "x")
	require.EqualError(t, err, "accounts/sqlstore: user by id: connection refused")
	require.False(t, found)
	require.ErrorIs(t, s.SetDisabled(t.Context(), "x", true, nil), errDown)
	require.NotErrorIs(t, s.SetDisabled(t.Context(), "x", true, nil), accounts.ErrNoUser)
	_, err = s.Keys(t.Context())
	require.ErrorIs(t, err, errDown)
}
