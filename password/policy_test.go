package password_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/password"
)

func TestP12_Policy(t *testing.T) {
	h := newHasher(t, &password.Options{Policy: password.Policy{Words: []string{"Gatewire"}}})
	hints := []string{"alice.liddell@wonderland.example", "Alicé Liddell", "bob"}
	for _, c := range []struct {
		pw   password.Password
		want password.Reason // "" is let through
	}{
		{"", password.ReasonTooShort},
		{"x7#kQ!z", password.ReasonTooShort},
		{"x7#kQ!zp", ""},
		{"日本語のパスワ", password.ReasonTooShort}, // 21 bytes, 7 characters
		{"日本語のパスワー", ""},
		{"e\u0301e\u0301e\u0301e\u0301zk", password.ReasonTooShort}, // 10 code points as typed, 6 in NFC
		{password.Password(strings.Repeat("long ", 13)), ""},        // 65 characters
		{password.Password(strings.Repeat("ab", password.MaxBytes/2)), ""},
		{password.Password(strings.Repeat("ab", password.MaxBytes/2) + "c"), password.ReasonTooLong},

		// No composition rules.
		{"only lower case letters", ""},
		{"83910274651", ""},
		{"        x        ", ""},

		// Common ones, in any case.
		{"password", password.ReasonCommon},
		{"PassWord", password.ReasonCommon},
		{"password1", password.ReasonCommon},
		{"12345678", password.ReasonCommon},
		{"qwertyuiop", password.ReasonCommon},
		{"trustno1", password.ReasonCommon},
		{"ILOVEYOU", password.ReasonCommon},
		{"aaaaaaaaaaaaaaaaaaaaaaa", password.ReasonCommon},
		{"AAAAaaaa", password.ReasonCommon},
		{"abcdefghijk", password.ReasonCommon},
		{"zyxwvuts", password.ReasonCommon},
		{"abcdefgi", ""},

		// Context words.
		{"gatewire", password.ReasonContext},
		{"GateWire2026", password.ReasonContext},
		{"gatewiregatewire", password.ReasonContext},
		{"alice.liddell@wonderland.example", password.ReasonContext},
		{"Alice1865", password.ReasonContext},
		{"ALIC\u00c91865", password.ReasonContext},
		{"ALICE\u03011865", password.ReasonContext},
		{"liddellalice", password.ReasonContext},
		{"bobbob123", password.ReasonContext},
		{"wonderland!", password.ReasonContext},
		{"pasalicesword", password.ReasonContext},
		{"alice likes tall tea pots", ""},
		{"wonderland of good tea", ""},
	} {
		err := h.Check(c.pw, hints...)
		if c.want == "" {
			require.NoError(t, err, "%q", string(c.pw))
			continue
		}
		require.ErrorIs(t, err, password.ErrPolicy, "%q", string(c.pw))
		var pe *password.PolicyError
		require.True(t, errors.As(err, &pe))
		require.Equal(t, c.want, pe.Reason, "%q", string(c.pw))
		require.NotEmpty(t, pe.UserMessage())
	}
}

func TestP12_MinLength(t *testing.T) {
	h := newHasher(t, &password.Options{Policy: password.Policy{MinLength: 15}})
	err := h.Check("fourteen chars")
	require.EqualError(t, err, "password: Use at least 15 characters.")
	require.NoError(t, h.Check("fifteen  chars!"))
}

func TestP12_TheHasherIsImmutable(t *testing.T) {
	o := &password.Options{Policy: password.Policy{Words: []string{"gatewire"}}}
	h := newHasher(t, o)
	o.Policy.Words[0] = "another"
	require.ErrorIs(t, h.Check("gatewire-2026"), password.ErrPolicy)
}

func TestP12_HintsAreBounded(t *testing.T) {
	h := newHasher(t, nil)
	many := make([]string, 10_000)
	for i := range many {
		many[i] = strings.Repeat("word ", 1000)
	}
	require.NoError(t, h.Check("a fine pass phrase", many...))
	require.NoError(t, h.Check("a fine pass phrase", "", " ", "\xff\xfe", "-", "é"))
	hints := []string{"b", "a"}
	require.NoError(t, h.Check("a fine pass phrase", hints...))
	require.Equal(t, []string{"b", "a"}, hints)
}

func TestP12_CommonList(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(password.CommonList(), "\n"), "\n")
	require.Len(t, lines, 11833, "the number in Check's comment and in NOTICE")
	require.True(t, slices.IsSorted(lines))
	require.Len(t, slices.Compact(slices.Clone(lines)), len(lines))
	for _, l := range lines {
		require.GreaterOrEqual(t, utf8.RuneCountInString(l), 8)
		require.Equal(t, strings.ToLower(l), l)
		require.True(t, password.IsCommon(l), l)
		require.False(t, password.IsCommon(l+"\x00"), l)
	}
	for _, pw := range []string{"", "!", "\x00", "~~~~~~~~~z", "\n", lines[0] + "\n" + lines[1], lines[0][:7]} {
		require.False(t, password.IsCommon(pw), "%q", pw)
	}
}

func FuzzP12_Check(f *testing.F) {
	h := newHasher(f, nil)
	for _, s := range []string{"", "password", "alice1865", "e\u0301", "\xff", "İİİİİİİİ"} {
		f.Add(s, "alice@wonderland.example")
	}
	f.Fuzz(func(t *testing.T, pw, hint string) {
		err := h.Check(password.Password(pw), hint)
		if err == nil {
			require.GreaterOrEqual(t, utf8.RuneCountInString(pw), 8)
			return
		}
		require.ErrorIs(t, err, password.ErrPolicy)
	})
}
