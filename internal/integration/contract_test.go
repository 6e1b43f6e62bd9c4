package integration_test

import (
	"testing"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sessiontest"
)

func TestS25_SessionContract(t *testing.T) {
	kinds(t, func(t *testing.T, dsn func(testing.TB) string) {
		sessiontest.Run(t, func(t *testing.T) session.Store { return sessionsOn(t, openDSN(t, dsn(t))) })
	})
}
