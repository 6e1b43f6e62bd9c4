package integration_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

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
			for _, table := range []string{"gatewire_session_schema", "gatewire_accounts_schema", "gatewire_session_head"} {
				var n int
				require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM `+table).Scan(&n))
				require.Equal(t, 1, n, table)
			}
		}
	})
}

func TestMigrateTwiceKeepsWhatIsThere(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		require.NoError(t, s.Create(t.Context(), record("s1", "u1"), session.AnyEpoch))
		require.NoError(t, a.CreateUser(t.Context(), user(1), nil))
		cursor := cursorOf(t, s)

		s, a = sessionsOn(t, db), accountsOn(t, db)
		_, found, err := s.ByID(t.Context(), "s1")
		require.NoError(t, err)
		require.True(t, found)
		_, found, err = a.UserByID(t.Context(), "user-1")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, cursor, cursorOf(t, s))
	})
}

func TestMigrateRefusesNewerSchema(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		for _, table := range []string{"gatewire_session_schema", "gatewire_accounts_schema"} {
			_, err := db.Exec(`INSERT INTO ` + table + ` (version, applied) VALUES (7, 0)`)
			require.NoError(t, err)
		}
		require.ErrorContains(t, s.Migrate(t.Context()), "session/sqlstore: migrate: the schema in the database is version 7")
		require.ErrorContains(t, a.Migrate(t.Context()), "accounts/sqlstore: migrate: the schema in the database is version 7")
	})
}

// A migration that fails half-way leaves nothing behind.
func TestMigrateIsAllOrNothing(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
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
