package integration_test

import (
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	accountsql "github.com/gatewire/gatewire/auth/accounts/sqlstore"
	"github.com/gatewire/gatewire/session"
)

// Eight handles open a database that is empty and migrate it at once.
func TestMigrateAtOnce(t *testing.T) {
	kinds(t, func(t *testing.T, dsn func(testing.TB) string) {
		for range 5 {
			where := dsn(t)
			var wg, ready sync.WaitGroup
			ready.Add(8)
			for range 8 {
				wg.Go(func() {
					db := openDSN(t, where)
					_ = db.Ping()
					ready.Done()
					ready.Wait()
					sessionsOn(t, db)
					accountsOn(t, db)
				})
			}
			wg.Wait()
			require.False(t, t.Failed())
			db := openDSN(t, where)
			wants := map[string]int{
				"gatewire_session_schema":  versions(t, dialectOf(db).Migrations()),
				"gatewire_accounts_schema": versions(t, accountsql.SQLite.Migrations()),
				"gatewire_session_head":    1,
			}
			if onMySQL(db) {
				delete(wants, "gatewire_accounts_schema")
				wants["gatewire_session_locks"] = 256
			}
			for table, want := range wants {
				var n int
				require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM `+table).Scan(&n))
				require.Equal(t, want, n, table)
			}
		}
	})
}

func versions(t *testing.T, migrations fs.FS) int {
	t.Helper()
	names, err := fs.Glob(migrations, "*.sql")
	require.NoError(t, err)
	return len(names)
}

// Sessions that a release before 0002_origins.sql stored are found by their
// origin once it has run.
func TestMigrateFromTheFirstSchema(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		first, err := fs.ReadFile(dialectOf(db).Migrations(), "0001_sessions.sql")
		require.NoError(t, err)
		for _, q := range append(strings.Split(string(first), ";\n"),
			`CREATE TABLE gatewire_session_schema (version INTEGER NOT NULL PRIMARY KEY, applied BIGINT NOT NULL)`,
			`INSERT INTO gatewire_session_schema VALUES (1, 0)`) {
			if strings.TrimSpace(q) == "" {
				continue
			}
			_, err := db.Exec(q)
			require.NoError(t, err)
		}
		require.NoError(t, manySessions(db, 100, "concat('u', i)", "1000000000000000000"))
		ended, err := sessionsOn(t, db).EndOrigin(t.Context(), session.Origin{Issuer: origin.Issuer, SID: "sid7"}, session.ReasonProvider, time.Now())
		require.NoError(t, err)
		require.Len(t, ended, 1)
		require.Equal(t, "id7", ended[0].ID)
	})
}

// Accounts that a release before 0003_endings.sql stored owe nothing, and can.
func TestMigrateAccountsFromTheSecondSchema(t *testing.T) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		dialect, ctx := accountsql.SQLite, t.Context()
		if onPostgres(db) {
			dialect = accountsql.PostgreSQL
		}
		queries := []string{`CREATE TABLE gatewire_accounts_schema (version INTEGER NOT NULL PRIMARY KEY, applied BIGINT NOT NULL)`,
			`INSERT INTO gatewire_accounts_schema VALUES (1, 0), (2, 0)`}
		for _, name := range []string{"0001_accounts.sql", "0002_shared.sql"} {
			text, err := fs.ReadFile(dialect.Migrations(), name)
			require.NoError(t, err)
			queries = append(queries, strings.Split(string(text), ";\n")...)
		}
		queries = append(queries, `INSERT INTO gatewire_users VALUES ('old', 'a@example.com', 'a@example.com', TRUE, '', '', 0, 'hash', FALSE, '[]', '[]')`)
		for _, q := range queries {
			_, err := db.Exec(q)
			require.NoError(t, err, q)
		}
		a := accountsOn(t, db)
		u, found, err := a.UserByID(ctx, "old")
		require.NoError(t, err)
		require.True(t, found)
		require.Nil(t, u.Ending)
		owed := owedAt("m", time.Now().UTC().Truncate(time.Microsecond))
		require.NoError(t, a.SetPassword(ctx, "old", "hash", "new", owed))
		owing, err := a.Owing(ctx, time.Now().Add(time.Second), 10)
		require.NoError(t, err)
		require.Len(t, owing, 1)
		require.Equal(t, owed, owing[0].Ending)
	})
}

func TestMigrateTwiceKeepsWhatIsThere(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		require.NoError(t, s.Create(t.Context(), record("s1", "u1"), session.AnyEpoch))
		if a != nil {
			require.NoError(t, a.CreateUser(t.Context(), user(1), nil))
		}
		cursor := cursorOf(t, s)

		s, a = sessionsOn(t, db), accountsOn(t, db)
		_, found, err := s.ByID(t.Context(), "s1")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, cursor, cursorOf(t, s))
		if a == nil {
			return
		}
		_, found, err = a.UserByID(t.Context(), "user-1")
		require.NoError(t, err)
		require.True(t, found)
	})
}

func TestMigrateRefusesNewerSchema(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		newer := `INSERT INTO gatewire_session_schema (version, applied) VALUES (7, 0)`
		_, err := db.Exec(newer)
		require.NoError(t, err)
		require.ErrorContains(t, s.Migrate(t.Context()), "session/sqlstore: migrate: the schema in the database is version 7")
		if a == nil {
			return
		}
		_, err = db.Exec(strings.Replace(newer, "session", "accounts", 1))
		require.NoError(t, err)
		require.ErrorContains(t, a.Migrate(t.Context()), "accounts/sqlstore: migrate: the schema in the database is version 7")
	})
}

// A migration that fails half-way leaves nothing behind. (MySQL's can't: see
// TestMySQLMigrationResumes.)
func TestMigrateIsAllOrNothing(t *testing.T) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		_, err := db.Exec(`CREATE TABLE gatewire_session_epochs (in_the_way INTEGER)`)
		require.NoError(t, err)
		count := `SELECT COUNT(*) FROM sqlite_master WHERE name = 'gatewire_sessions'`
		if onPostgres(db) {
			count = `SELECT COUNT(to_regclass('gatewire_sessions'))`
		}
		s, err := newSessions(db)
		require.NoError(t, err)
		require.ErrorContains(t, s.Migrate(t.Context()), "0001_sessions.sql")
		var n int
		require.NoError(t, db.QueryRow(count).Scan(&n))
		require.Zero(t, n)
		_, err = db.Exec(`DROP TABLE gatewire_session_epochs`)
		require.NoError(t, err)
		require.NoError(t, s.Migrate(t.Context()))
	})
}
