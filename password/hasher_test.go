package password_test

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/password"
)

const right password.Password = "correct horse battery"

func newHasher(t testing.TB, o *password.Options) *password.Hasher {
	t.Helper()
	h, err := password.New(o)
	require.NoError(t, err)
	return h
}

// cheap hashes in microseconds, as almost every test here may.
func cheap(t testing.TB, o *password.Options) *password.Hasher {
	t.Helper()
	return password.Cheap(newHasher(t, o), 64)
}

func hash(t testing.TB, h *password.Hasher, pw password.Password) password.Hash {
	t.Helper()
	s, err := h.Hash(t.Context(), pw)
	require.NoError(t, err)
	return s
}

func TestP1_DefaultAndProfiles(t *testing.T) {
	for _, c := range []struct {
		params password.Argon2idParams
		prefix string
	}{
		{password.Argon2idParams{}, "$argon2id$v=19$m=19456,t=2,p=1$"},
		{password.Argon2id19MiB(), "$argon2id$v=19$m=19456,t=2,p=1$"},
		{password.Argon2id46MiB(), "$argon2id$v=19$m=47104,t=1,p=1$"},
		{password.Argon2id64MiB(), "$argon2id$v=19$m=65536,t=3,p=4$"},
	} {
		h := newHasher(t, &password.Options{Argon2id: c.params})
		s := hash(t, h, right)
		require.True(t, strings.HasPrefix(string(s), c.prefix), string(s))
	}
}

func TestP1_WeakParametersAreRefused(t *testing.T) {
	type p = password.Argon2idParams
	for _, c := range []struct {
		params p
		ok     bool
	}{
		{p{47104, 1, 1}, true},
		{p{47103, 1, 1}, false},
		{p{19456, 2, 1}, true},
		{p{19455, 2, 1}, false},
		{p{12288, 3, 1}, true},
		{p{12287, 3, 1}, false},
		{p{12288, 64, 16}, true},
		{p{7168, 5, 1}, false}, // OWASP's cheat sheet has it, ASVS does not
		{p{19456, 0, 1}, false},
		{p{19456, 65, 1}, false},
		{p{19456, 2, 0}, false},
		{p{19456, 2, 17}, false},
		{p{1 << 20, 1, 1}, false}, // more than the budget
	} {
		_, err := password.New(&password.Options{Argon2id: c.params})
		require.Equal(t, c.ok, err == nil, "%+v: %v", c.params, err)
	}
}

func TestNewTellsAllMistakesAtOnce(t *testing.T) {
	_, err := password.New(&password.Options{
		Argon2id:     password.Argon2idParams{MemoryKiB: 8, Time: 99, Threads: 99},
		MemoryBudget: -1, MaxWait: -2, MaxWaiting: -1,
		Policy: password.Policy{MinLength: 7},
	})
	require.Error(t, err)
	for _, name := range []string{"MemoryKiB", "Time", "Threads", "MemoryBudget", "MaxWait ", "MaxWaiting", "MinLength"} {
		require.ErrorContains(t, err, name)
	}
	_, err = password.New(&password.Options{MemoryBudget: 1 << 20})
	require.ErrorContains(t, err, "MemoryBudget")
	_, err = password.New(&password.Options{Policy: password.Policy{MinLength: 65}})
	require.ErrorContains(t, err, "MinLength")
}

func TestP2_FreshSaltEachTime(t *testing.T) {
	h := newHasher(t, nil)
	a, b := hash(t, h, right), hash(t, h, right)
	require.NotEqual(t, a, b)
	// 16 bytes of salt are 22 characters, 32 bytes of tag are 43.
	require.Regexp(t, regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`), string(a))
	require.NotEqual(t, strings.Split(string(a), "$")[4], strings.Split(string(b), "$")[4])
}

func TestVerify(t *testing.T) {
	h := cheap(t, nil)
	s := hash(t, h, right)
	_, err := h.Verify(t.Context(), right, s)
	require.NoError(t, err)
	for _, wrong := range []password.Password{"", "null", "Correct horse battery", "correct horse battery ", "correct horse batter", right + "\x00"} {
		rehash, err := h.Verify(t.Context(), wrong, s)
		require.ErrorIs(t, err, password.ErrMismatch)
		require.False(t, rehash)
	}
}

// What argon2's reference command-line tool, 0~20171227, printed for
// "correct horse".
func TestVerifyForeignArgon2id(t *testing.T) {
	h := newHasher(t, nil)
	for s, wantRehash := range map[password.Hash]bool{
		"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$k9ohroejZy1PN5E1SbHNPug6vB8eQAahb5SOAp6iGF4": false,
		"$argon2id$v=19$m=256,t=3,p=4$c2FsdHNhbHQ$YwOmaCbWNvXREpMLKMrLuaIcAGWdZzz+":                         true,
	} {
		rehash, err := h.Verify(t.Context(), "correct horse", s)
		require.NoError(t, err)
		require.Equal(t, wantRehash, rehash)
		_, err = h.Verify(t.Context(), "correct house", s)
		require.ErrorIs(t, err, password.ErrMismatch)
	}
}

func TestP7_StrangePasswords(t *testing.T) {
	h := cheap(t, nil)

	t.Run("P7 the empty password is never hashed and never verifies", func(t *testing.T) {
		_, err := h.Hash(t.Context(), "")
		require.ErrorIs(t, err, password.ErrEmpty)
		// What the reference implementation makes of the empty password would
		// verify if it weren't refused.
		_, err = h.Verify(t.Context(), "", password.EmptyHash(h))
		require.ErrorIs(t, err, password.ErrMismatch)
	})
	t.Run("P7 longer than 4096 bytes is refused everywhere, before any work", func(t *testing.T) {
		s := hash(t, h, right)
		for _, n := range []int{password.MaxBytes + 1, 1 << 20} {
			long := password.Password(strings.Repeat("a", n))
			_, err := h.Hash(t.Context(), long)
			require.ErrorIs(t, err, password.ErrTooLong)
			_, err = h.Verify(t.Context(), long, s)
			require.ErrorIs(t, err, password.ErrTooLong)
			require.ErrorIs(t, h.VerifyMissing(t.Context(), long), password.ErrTooLong)
			require.ErrorIs(t, h.Check(long), password.ErrPolicy)
		}
	})
	t.Run("P7 every byte counts: no truncation, NUL is data", func(t *testing.T) {
		for _, c := range [][2]password.Password{
			{"ab\x00ab", "ab"},
			{"\x00", "\x00\x00"},
			{"caf\xe9", "café"}, // Latin-1 is not UTF-8: taken byte by byte
			{"\xff\xfe", "\ufffd\ufffd"},
			{password.Password(strings.Repeat("x", 4095) + "a"), password.Password(strings.Repeat("x", 4095) + "b")},
			{password.Password(strings.Repeat("x", 72) + "a"), password.Password(strings.Repeat("x", 72) + "b")},
		} {
			s := hash(t, h, c[0])
			_, err := h.Verify(t.Context(), c[0], s)
			require.NoError(t, err)
			_, err = h.Verify(t.Context(), c[1], s)
			require.ErrorIs(t, err, password.ErrMismatch)
		}
	})
	t.Run("P7 NFC and NFD are one password", func(t *testing.T) {
		for _, c := range [][2]password.Password{
			{"r\u00e9sum\u00e9", "re\u0301sume\u0301"},
			{"\u1ec7", "e\u0323\u0302"},
			{"\ud55c\uae00", "\u1112\u1161\u11ab\u1100\u1173\u11af"},
			{"\u212b", "A\u030a"},
		} {
			for _, pair := range [][2]password.Password{c, {c[1], c[0]}} {
				_, err := h.Verify(t.Context(), pair[1], hash(t, h, pair[0]))
				require.NoError(t, err)
			}
		}
		// Compatibility forms stay apart: NFC, not NFKC.
		_, err := h.Verify(t.Context(), "fi", hash(t, h, "\ufb01"))
		require.ErrorIs(t, err, password.ErrMismatch)
	})
}

func TestP9_RehashWhenTheCostChanged(t *testing.T) {
	now := newHasher(t, nil)
	old := password.Cheap(now, 46<<10)
	s := hash(t, old, right)
	rehash, err := now.Verify(t.Context(), right, s)
	require.NoError(t, err)
	require.True(t, rehash)
	rehash, err = now.Verify(t.Context(), "wrong", s)
	require.ErrorIs(t, err, password.ErrMismatch)
	require.False(t, rehash)

	s = hash(t, now, right)
	rehash, err = now.Verify(t.Context(), right, s)
	require.NoError(t, err)
	require.False(t, rehash)
}

// store is the part of a user store that a rehash needs.
type store struct {
	mu   sync.Mutex
	hash password.Hash
}

func (s *store) load() password.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hash
}

// swap stores the new hash only while the stored one is old.
func (s *store) swap(old, new password.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hash != old {
		return false
	}
	s.hash = new
	return true
}

func login(ctx context.Context, h *password.Hasher, s *store, pw password.Password, between func()) error {
	old := s.load()
	rehash, err := h.Verify(ctx, pw, old)
	if err != nil {
		return err
	}
	if between != nil {
		between()
	}
	if rehash {
		if new, err := h.Hash(ctx, pw); err == nil {
			s.swap(old, new)
		}
	}
	return nil
}

// A sign-in with the old password was verified just before the user changed it:
// its rehash must not bring the old password back.
func TestP9_APasswordChangeWinsOverTheRehash(t *testing.T) {
	h := cheap(t, nil)
	weak := password.Cheap(h, 32)
	s := &store{hash: hash(t, weak, right)}

	require.NoError(t, login(t.Context(), h, s, right, func() {
		require.True(t, s.swap(s.load(), hash(t, h, "a new password")))
	}))
	require.NoError(t, login(t.Context(), h, s, "a new password", nil))
	require.ErrorIs(t, login(t.Context(), h, s, right, nil), password.ErrMismatch)

	s = &store{hash: hash(t, weak, right)}
	before := s.load()
	require.NoError(t, login(t.Context(), h, s, right, nil))
	require.NotEqual(t, before, s.load(), "without a change the rehash is stored")
	rehash, err := h.Verify(t.Context(), right, s.load())
	require.NoError(t, err)
	require.False(t, rehash)
}
