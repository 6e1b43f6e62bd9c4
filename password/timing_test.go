package password_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/password"
)

// compare takes n samples of each function in turns and returns their lower
// quartiles as a share of the first one's. Turns, so that whatever else the
// machine does at the moment hits all alike, and the lower quartile, because it
// only ever makes things slower.
func compare(t *testing.T, n int, fs ...func() error) []float64 {
	t.Helper()
	samples := make([][]time.Duration, len(fs))
	for range n {
		for i, f := range fs {
			start := time.Now()
			err := f()
			samples[i] = append(samples[i], time.Since(start))
			require.Error(t, err)
			require.False(t, errors.Is(err, password.ErrBusy))
		}
	}
	out := make([]float64, len(fs))
	for i := range samples {
		slices.Sort(samples[i])
		slices.Sort(samples[0])
		out[i] = float64(samples[i][n/4]) / float64(samples[0][n/4])
	}
	return out
}

func TestP11_AnUnknownUserCostsWhatAKnownOneCosts(t *testing.T) {
	h := newHasher(t, withPeppers(t, pepperA))
	known := hash(t, h, right)
	samples, noise := 100, 0.25
	if raceEnabled { // argon2 takes five times as long
		samples, noise = 8, 0.5
	}
	ratio := compare(t, samples,
		func() error { _, err := h.Verify(t.Context(), "wrong", known); return err },
		func() error { return h.VerifyMissing(t.Context(), "wrong") },
	)
	require.InDelta(t, 1, ratio[1], noise)
}

func TestP11_WhatIsStoredDoesNotShow(t *testing.T) {
	h := newHasher(t, withPeppers(t, pepperA))
	known := hash(t, h, right)
	verify := func(pw password.Password, s password.Hash) func() error {
		return func() error { _, err := h.Verify(t.Context(), pw, s); return err }
	}
	names := []string{"known", "empty password", "disabled", "no hash", "damaged", "bcrypt", "unknown pepper", "cheap"}
	ratios := compare(t, 3,
		verify("wrong", known),
		verify("", known),
		verify(right, "!"+known),
		verify(right, ""),
		verify(right, known[:40]),
		verify(right, "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"),
		verify(right, hash(t, peppered(t, pepperB), right)),
		verify("wrong", phc("m=64,t=1,p=1", b64(16), b64(32))),
	)
	// A mechanism that is missing shows as a hundredth or less.
	for i, ratio := range ratios {
		require.Greater(t, ratio, 0.5, names[i])
		require.Less(t, ratio, 2.5, names[i])
	}
}
