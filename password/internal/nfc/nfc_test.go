package nfc_test

import (
	_ "embed"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/password/internal/nfc"
)

// Lines "source;NFC;NFD" from NormalizationTest.txt of Unicode 15.0: its part 0
// and a sample of the others. All of it passes. See password/NOTICE.
//
//go:embed testdata/normalization.txt
var conformance string

func decode(t *testing.T, field string) string {
	var b strings.Builder
	for _, f := range strings.Fields(field) {
		n, err := strconv.ParseUint(f, 16, 21)
		require.NoError(t, err)
		b.WriteRune(rune(n))
	}
	return b.String()
}

func TestP7_Conformance(t *testing.T) {
	f, err := nfc.New()
	require.NoError(t, err)
	lines := 0
	for line := range strings.Lines(conformance) {
		fields := strings.Split(strings.TrimSpace(line), ";")
		require.Len(t, fields, 3)
		want := decode(t, fields[1])
		for _, source := range fields {
			require.Equal(t, want, f.String(decode(t, source)), line)
		}
		lines++
	}
	require.Greater(t, lines, 500)
}

func TestP7_InvalidUTF8IsLeftAlone(t *testing.T) {
	f, err := nfc.New()
	require.NoError(t, err)
	for _, s := range []string{"e\u0301\xff", "\xff", "\xed\xa0\x80", ""} {
		require.Equal(t, s, f.String(s))
	}
}

func FuzzP7_NFC(f *testing.F) {
	form, err := nfc.New()
	require.NoError(f, err)
	for _, s := range []string{"", "e\u0301", "\u1100\u1161\u11a8", "\u0344", "a\u0315\u0300", "\u0300", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := form.String(s)
		require.Equal(t, once, form.String(once), "normalizing twice changes nothing")
		require.Equal(t, utf8.ValidString(s), utf8.ValidString(once))
	})
}
