package rtmodel_test

import (
	"flag"
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// defaultRuns is how many runs there are by default.
const defaultRuns = 1000

func TestMain(m *testing.M) {
	// A failure prints its seed; what the command line says still counts.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	debug.SetGCPercent(400) // a run leaves much behind, and little of it at once
	os.Exit(m.Run())
}

func TestR1_R2_R3_R4_R5_R8_R9_R10_R16_Model(t *testing.T) {
	n := defaultRuns
	if given := os.Getenv("GATEWIRE_MODEL_RUNS"); given != "" {
		var err error
		n, err = strconv.Atoi(given)
		require.NoError(t, err, "GATEWIRE_MODEL_RUNS")
	}
	require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(n)))
	t.Cleanup(func() {
		t.Log(figures())
		if failure != "" {
			t.Log("what happened:\n" + failure)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) { run(t, lie{}, nil) })
	})
}
