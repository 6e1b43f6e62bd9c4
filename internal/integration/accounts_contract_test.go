package integration_test

import (
	"testing"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/auth/accounts/accountstest"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// The rules do not depend on the settings SQLite is opened with.
func TestA15_SQLiteAccountContract(t *testing.T) {
	for name, dsn := range map[string]func(string) string{"advised": sessionsql.SQLiteDSN, "bare": bareDSN} {
		t.Run(name, func(t *testing.T) {
			accountstest.Run(t, func(t *testing.T) accounts.Store {
				return accountsOn(t, openDSN(t, dsn(sqliteFile(t))))
			})
		})
	}
}
