// Package sessiontest checks implementations of [session.Store].
package sessiontest

import (
	"testing"

	"github.com/gatewire/gatewire/session"
)

// Run checks the stores that newStore makes against the rules of
// [session.Store], one subtest a rule. Every subtest gets a fresh, empty store.
func Run(t *testing.T, newStore func(t *testing.T) session.Store) {
	t.Helper()
	t.Run("C1", func(t *testing.T) { _ = newStore(t) })
}
