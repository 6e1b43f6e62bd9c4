package redisstore_test

import (
	"testing"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sessiontest"
)

func TestS24_Contract(t *testing.T) {
	sessiontest.Run(t, func(t *testing.T) session.Store { return storeOn(t, client(t)) })
}

// On a cluster a script whose keys are in two slots, or in none that it has
// declared, is refused.
func TestS24_ContractOnACluster(t *testing.T) {
	sessiontest.Run(t, func(t *testing.T) session.Store { return storeOn(t, clusterClient(t)) })
}
