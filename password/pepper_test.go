package password_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"

	"github.com/gatewire/gatewire/password"
)

const (
	pepperA = "a:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
	pepperB = "b:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
)

func peppered(t testing.TB, peppers ...string) *password.Hasher {
	t.Helper()
	return cheap(t, withPeppers(t, peppers...))
}

func withPeppers(t testing.TB, peppers ...string) *password.Options {
	t.Helper()
	ps, err := password.ParsePeppers(strings.Join(peppers, ","))
	require.NoError(t, err)
	return &password.Options{Peppers: ps}
}

func TestP8_ParsePeppers(t *testing.T) {
	key := func(n int) string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", n))) }
	for _, c := range []struct {
		text string
		want string // part of the error, "" for none
	}{
		{"", ""},
		{"  ", ""},
		{pepperA, ""},
		{pepperA + "," + pepperB, ""},
		{" " + pepperA + " , " + pepperB + "\n", ""},
		{"2026-11_x.y:" + key(32), ""},
		{"a:" + strings.Repeat("_-", 16) + "w==", "not base64"}, // stray bits
		{"a:" + strings.Repeat("_-", 16), ""},                   // URL-safe
		{"a:" + strings.TrimRight(key(16), "="), ""},
		{"a:" + key(128), ""},
		{"a:" + key(15), "pepper 1: 15 bytes"},
		{"a:" + key(129), "pepper 1: 129 bytes"},
		{"a:", "pepper 1: 0 bytes"},
		{"a", "pepper 1: want id:base64"},
		{":" + key(32), "pepper 1: want an id"},
		{"a b:" + key(32), "pepper 1: want an id"},
		{strings.Repeat("i", 33) + ":" + key(32), "pepper 1: want an id"},
		{pepperA + "," + pepperA, "pepper 2: its id appears twice"},
		{pepperA + ",", "pepper 2: want id:base64"},
		{pepperA + ",b:SECRET!SECRET", "pepper 2: not base64"},
		{"a:QUFB\nQUFBQUFBQUFBQUFBQUFBQUFB", "pepper 1: not base64"},
		{"SECRET,b:SECRET!", "pepper 2: not base64"},
		{strings.Repeat(",", 64), "65 peppers"},
	} {
		ps, err := password.ParsePeppers(c.text)
		if c.want == "" {
			require.NoError(t, err, c.text)
			require.Equal(t, strings.TrimSpace(c.text) == "", ps.IsZero())
			continue
		}
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "SECRET")
		require.True(t, ps.IsZero())
	}
}

func FuzzP8_ParsePeppers(f *testing.F) {
	for _, s := range []string{"", pepperA, pepperA + "," + pepperB, "a", "a:", ":", ",", "a:QQ", "a b:QQ=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ps, err := password.ParsePeppers(s)
		if err != nil {
			require.True(t, ps.IsZero())
		}
		require.Equal(t, "REDACTED", fmt.Sprint(ps))
	})
}

func TestP8_Pepper(t *testing.T) {
	none, a, ab, ba := cheap(t, nil), peppered(t, pepperA), peppered(t, pepperA, pepperB), peppered(t, pepperB, pepperA)
	underNone, underA := hash(t, none, right), hash(t, a, right)

	t.Run("P8 the id stands in the stored hash", func(t *testing.T) {
		require.Contains(t, string(underA), ",keyid="+base64.RawStdEncoding.EncodeToString([]byte("a"))+"$")
		require.LessOrEqual(t, len(hash(t, peppered(t, strings.Repeat("i", 32)+pepperA[1:]), right)), 160)
	})
	t.Run("P8 an old id verifies and asks for a rehash", func(t *testing.T) {
		for h, want := range map[*password.Hasher]bool{a: false, ab: false, ba: true} {
			rehash, err := h.Verify(t.Context(), right, underA)
			require.NoError(t, err)
			require.Equal(t, want, rehash)
			_, err = h.Verify(t.Context(), "wrong", underA)
			require.ErrorIs(t, err, password.ErrMismatch)
		}
	})
	t.Run("P8 a hash without pepper migrates", func(t *testing.T) {
		rehash, err := a.Verify(t.Context(), right, underNone)
		require.NoError(t, err)
		require.True(t, rehash)
	})
	t.Run("P8 an unknown id is a loud error", func(t *testing.T) {
		for _, h := range []*password.Hasher{none, peppered(t, pepperB)} {
			for _, pw := range []password.Password{right, "wrong"} {
				_, err := h.Verify(t.Context(), pw, underA)
				require.ErrorIs(t, err, password.ErrUnknownPepper)
				require.ErrorContains(t, err, `"a"`)
				require.NotErrorIs(t, err, password.ErrMismatch)
			}
		}
	})
	t.Run("P8 another key under the same id does not verify", func(t *testing.T) {
		_, err := peppered(t, "a"+pepperB[1:]).Verify(t.Context(), right, underA)
		require.ErrorIs(t, err, password.ErrMismatch)
	})
}

// A thief of the database knows the right password of an account and still can't
// confirm it: not by argon2 alone, not by taking the id out of the hash, not with
// a pepper of their own.
func TestP8_ADumpWithoutThePepperVerifiesNothing(t *testing.T) {
	s := hash(t, peppered(t, pepperA), right)
	parts := strings.Split(string(s), "$")
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	require.NoError(t, err)
	tag, err := base64.RawStdEncoding.DecodeString(parts[5])
	require.NoError(t, err)
	require.NotEqual(t, tag, argon2.IDKey([]byte(right), salt, 1, 64, 1, 32))

	stripped := password.Hash(strings.Replace(string(s), ",keyid=YQ", "", 1))
	require.NotEqual(t, s, stripped)
	for _, h := range []*password.Hasher{cheap(t, nil), peppered(t, pepperA)} {
		_, err = h.Verify(t.Context(), right, stripped)
		require.ErrorIs(t, err, password.ErrMismatch)
	}
	other := password.Hash(strings.Replace(string(s), "keyid=YQ", "keyid=Yg", 1))
	_, err = peppered(t, pepperB).Verify(t.Context(), right, other)
	require.ErrorIs(t, err, password.ErrMismatch)
}
