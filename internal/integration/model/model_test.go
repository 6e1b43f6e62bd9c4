package model_test

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatewire/gatewire/internal/integration/dbtest"
	"github.com/gatewire/gatewire/session"
)

// memoryRuns is how many runs the memory store gets by default.
const memoryRuns = 1500

func TestMain(m *testing.M) {
	// A failure prints its seed; what the command line says still counts.
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.steps": "60"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(dbtest.Run(m))
}

// runs is how many runs a test does: GATEWIRE_MODEL_RUNS, or so many.
func runs(t *testing.T, n int) {
	t.Helper()
	if given := os.Getenv("GATEWIRE_MODEL_RUNS"); given != "" {
		var err error
		n, err = strconv.Atoi(given)
		require.NoError(t, err, "GATEWIRE_MODEL_RUNS")
	}
	require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(n)))
}

// In the memory store time is fake and passes also while requests are under way.
func TestS3_S4_S5_S6_S7_S8_S22_S23_S27_J14_Model(t *testing.T) {
	runs(t, memoryRuns)
	t.Cleanup(func() { t.Log(figures()) })
	rapid.Check(t, inMemory(func() session.Store { return session.NewMemoryStore(nil) }, true))
}

// inMemory runs the model on a new store in a bubble.
func inMemory(open func() session.Store, strict bool) func(*rapid.T) {
	return func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) { simulate(t, open(), true, strict, nil) })
	}
}

func TestS24_S25_Model(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			store := s.open(t)
			runs(t, s.runs)
			t.Cleanup(func() { t.Log(figures()) })
			rapid.Check(t, func(t *rapid.T) { simulate(t, store, false, true, nil) })
		})
	}
}
