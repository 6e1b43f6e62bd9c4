package integration_test

import (
	"testing"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sessiontest"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// The rules do not depend on the settings SQLite is opened with.
func TestS25_SQLiteSessionContract(t *testing.T) {
	for name, dsn := range map[string]func(string) string{"advised": sessionsql.SQLiteDSN, "bare": bareDSN} {
		t.Run(name, func(t *testing.T) {
			sessiontest.Run(t, func(t *testing.T) session.Store {
				return sessionsOn(t, openDSN(t, dsn(sqliteFile(t))))
			})
		})
	}
}
