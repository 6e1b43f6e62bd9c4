package integration_test

import (
	"testing"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/auth/accounts/accountstest"
)

func TestA15_AccountContract(t *testing.T) {
	accountKinds(t, func(t *testing.T, dsn func(testing.TB) string) {
		accountstest.Run(t, func(t *testing.T) accounts.Store { return accountsOn(t, openDSN(t, dsn(t))) })
	})
}
