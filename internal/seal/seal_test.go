package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/seal"
)

func TestSealOpen(t *testing.T) {
	old, oldText, err := seal.Generate("2025")
	require.NoError(t, err)
	_, newText, err := seal.Generate("2026")
	require.NoError(t, err)
	both, err := seal.Parse(newText + ", " + oldText)
	require.NoError(t, err)

	box, err := old.Seal("flow", []byte("secret"), []byte("aad"))
	require.NoError(t, err)
	again, err := old.Seal("flow", []byte("secret"), []byte("aad"))
	require.NoError(t, err)
	require.NotEqual(t, box, again, "the nonce must be fresh")

	got, err := both.Open("flow", box, []byte("aad"))
	require.NoError(t, err)
	require.Equal(t, "secret", string(got))

	newBox, err := both.Seal("flow", []byte("secret"), nil)
	require.NoError(t, err)
	_, err = old.Open("flow", newBox, nil)
	require.ErrorIs(t, err, seal.ErrOpen, "the first key seals")

	for name, open := range map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return both.Open("jwt", box, []byte("aad")) },
		"another aad":     func() ([]byte, error) { return both.Open("flow", box, []byte("aae")) },
		"nil":             func() ([]byte, error) { return both.Open("flow", nil, nil) },
		"id only":         func() ([]byte, error) { return both.Open("flow", box[:5], []byte("aad")) },
		"id cut":          func() ([]byte, error) { return both.Open("flow", []byte{200, 'a'}, nil) },
		"zero keys":       func() ([]byte, error) { return seal.Keys{}.Open("flow", box, []byte("aad")) },
	} {
		_, err := open()
		require.ErrorIs(t, err, seal.ErrOpen, name)
	}
	for i := range box {
		bad := bytes.Clone(box)
		bad[i] ^= 1
		_, err := both.Open("flow", bad, []byte("aad"))
		require.ErrorIs(t, err, seal.ErrOpen, "byte %d flipped", i)
	}
	_, err = seal.Keys{}.Seal("flow", nil, nil)
	require.Error(t, err)
}

func TestParseErrors(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32))
	_, err := seal.Parse("a:" + strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(good))
	require.NoError(t, err, "URL-safe base64 without padding")

	for in, want := range map[string]string{
		"":                                "no key",
		"abc":                             "want id:base64",
		":" + good:                        "1 to 32 characters",
		"a b:" + good:                     "letters, digits",
		"a:???":                           "not base64",
		"a:AAAA":                          "3 bytes, want 32",
		"c2VjcmV0:a":                      "key 1: not base64", // the two swapped
		"a:" + good + ",a:" + good:        "appears twice",
		strings.Repeat("x", 33) + ":AAAA": "1 to 32 characters",
	} {
		_, err := seal.Parse(in)
		require.ErrorContains(t, err, want, in)
		require.NotContains(t, err.Error(), good)
		require.NotContains(t, err.Error(), "c2VjcmV0")
	}
}

func TestP14_KeysPrintAsRedacted(t *testing.T) {
	ks, text, err := seal.Generate("k")
	require.NoError(t, err)
	secret := strings.TrimPrefix(text, "k:")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "keys", ks, "in", struct{ K seal.Keys }{ks})
	js, err := json.Marshal(ks)
	require.NoError(t, err)
	for _, out := range []string{
		fmt.Sprint(ks), fmt.Sprintf("%v %+v %#v %s %q %x", ks, ks, ks, ks, ks, ks),
		fmt.Sprintf("%+v", &ks), log.String(), string(js),
	} {
		require.Contains(t, out, "REDACTED")
		require.NotContains(t, out, secret)
	}

	// fmt calls no method of an unexported field.
	ks, err = seal.New("k", [seal.KeySize]byte([]byte(strings.Repeat("A", seal.KeySize))))
	require.NoError(t, err)
	hidden := struct{ k seal.Keys }{ks}
	for _, out := range []string{fmt.Sprintf("%v %+v %#v %s %x", hidden, hidden, hidden, hidden, hidden), fmt.Sprintf("%+v", &hidden)} {
		for _, secret := range []string{"AAAA", "65 65", "0x41, 0x41", "4141"} {
			require.NotContains(t, out, secret)
		}
	}
}
