package password_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/password"
)

func b64(n int) string {
	return base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("s", n)))
}

func phc(params, salt, tag string) password.Hash {
	return password.Hash("$argon2id$v=19$" + params + "$" + salt + "$" + tag)
}

type phcCase struct {
	name string
	hash password.Hash
	want error // nil: parses, and is the hash of something else
}

func phcCases() []phcCase {
	const ok = "m=64,t=1,p=1"
	salt, tag := b64(16), b64(32)
	id := func(s string) string { return ok + ",keyid=" + base64.RawStdEncoding.EncodeToString([]byte(s)) }
	bad, params := password.ErrMalformed, password.ErrParams
	return []phcCase{
		{"plain", phc(ok, salt, tag), nil},
		{"salt 8", phc(ok, b64(8), tag), nil},
		{"salt 64, tag 64", phc(ok, b64(64), b64(64)), nil},
		{"tag 16", phc(ok, salt, b64(16)), nil},
		{"salt 7", phc(ok, b64(7), tag), bad},
		{"salt 65", phc(ok, b64(65), tag), bad},
		{"no salt", phc(ok, "", tag), bad},
		{"tag 15", phc(ok, salt, b64(15)), bad},
		{"tag 65", phc(ok, salt, b64(65)), bad},
		{"empty tag", phc(ok, salt, ""), bad},
		{"no tag", "$argon2id$v=19$" + ok + password.Hash("$"+salt), bad},
		{"one part more", phc(ok, salt, tag) + "$", bad},
		{"t=0", phc("m=64,t=0,p=1", salt, tag), bad},
		{"p=0", phc("m=64,t=1,p=0", salt, tag), bad},
		{"m=0", phc("m=0,t=1,p=1", salt, tag), bad},
		{"m below 8p", phc("m=15,t=1,p=2", salt, tag), bad},
		{"leading zero", phc("m=064,t=1,p=1", salt, tag), bad},
		{"plus", phc("m=+64,t=1,p=1", salt, tag), bad},
		{"minus", phc("m=-64,t=1,p=1", salt, tag), bad},
		{"space", phc("m= 64,t=1,p=1", salt, tag), bad},
		{"space after", phc("m=64,t=1,p=1 ", salt, tag), bad},
		{"hex", phc("m=0x40,t=1,p=1", salt, tag), bad},
		{"underscore", phc("m=6_4,t=1,p=1", salt, tag), bad},
		{"Arabic digits", phc("m=٦٤,t=1,p=1", salt, tag), bad},
		{"order", phc("t=1,m=64,p=1", salt, tag), bad},
		{"twice", phc("m=64,m=64,t=1,p=1", salt, tag), bad},
		{"twice at the end", phc("m=64,t=1,p=1,p=1", salt, tag), bad},
		{"one missing", phc("m=64,t=1", salt, tag), bad},
		{"nothing", phc("", salt, tag), bad},
		{"case", phc("M=64,t=1,p=1", salt, tag), bad},
		{"other parameter", phc(ok+",data=AAAA", salt, tag), bad},
		{"after keyid", phc(id("a")+",data=AAAA", salt, tag), bad},
		{"padding", phc(ok, salt+"==", tag), bad},
		{"URL-safe alphabet", phc(ok, strings.Repeat("-", 22), tag), bad},
		{"stray bits", phc(ok, salt[:21]+"B", tag), bad},
		{"newline in base64", phc(ok, salt[:4]+"\n"+salt[4:], tag), bad},
		{"return in base64", phc(ok, salt, tag[:4]+"\r"+tag[4:]), bad},
		{"newline at the end", phc(ok, salt, tag) + "\n", bad},
		{"NUL at the end", phc(ok, salt, tag) + "\x00", bad},
		{"space before", " " + phc(ok, salt, tag), bad},
		{"upper case name", "$ARGON2ID$v=19$" + ok + password.Hash("$"+salt+"$"+tag), bad},
		{"version 16", "$argon2id$v=16$" + ok + password.Hash("$"+salt+"$"+tag), bad},
		{"version 190", "$argon2id$v=190$" + ok + password.Hash("$"+salt+"$"+tag), bad},
		{"empty keyid", phc(ok+",keyid=", salt, tag), bad},
		{"keyid not base64", phc(ok+",keyid=!", salt, tag), bad},
		{"keyid with a space", phc(id("a b"), salt, tag), bad},
		{"keyid of 33", phc(id(strings.Repeat("k", 33)), salt, tag), bad},
		{"keyid of 32", phc(id(strings.Repeat("k", 32)), salt, tag), password.ErrUnknownPepper},
		{"long", phc(ok, salt, tag) + password.Hash(strings.Repeat("A", 1<<20)), bad},
		{"garbage", "garbage", bad},
		{"dollars", password.Hash(strings.Repeat("$", 500)), bad},
		{"m of 4 TiB", phc("m=4294967295,t=1,p=1", salt, tag), params},
		{"m over 32 bits", phc("m=4294967296,t=1,p=1", salt, tag), bad},
		{"m over 64 bits", phc("m=18446744073709551617,t=1,p=1", salt, tag), bad},
		{"m over the budget", phc("m=262145,t=1,p=1", salt, tag), params},
		{"t=65", phc("m=64,t=65,p=1", salt, tag), params},
		{"t of 32 bits", phc("m=64,t=4294967295,p=1", salt, tag), params},
		{"p=17", phc("m=4096,t=1,p=17", salt, tag), params},
		{"p=257 is not 1", phc("m=4096,t=1,p=257", salt, tag), params},
		{"m times t", phc("m=262144,t=4,p=1", salt, tag), params},
	}
}

func TestP3_StoredHashes(t *testing.T) {
	h := cheap(t, nil)
	for _, c := range phcCases() {
		t.Run(c.name, func(t *testing.T) {
			if c.want == password.ErrMalformed { // Verify would take its time
				_, err := password.Parse(c.hash)
				require.ErrorIs(t, err, c.want)
				return
			}
			want := c.want
			if want == nil {
				want = password.ErrMismatch
			}
			_, err := h.Verify(t.Context(), right, c.hash)
			require.ErrorIs(t, err, want)
		})
	}
}

func TestP4_HostileParametersCostNothing(t *testing.T) {
	h := newHasher(t, &password.Options{MemoryBudget: 32 << 20})
	hostile := phc("m=4294967295,t=1,p=1", b64(16), b64(32))
	// The best of many: a busy machine may delay any one of them.
	best := time.Hour
	allocs := testing.AllocsPerRun(100, func() {
		start := time.Now()
		_, err := h.Verify(t.Context(), right, hostile)
		best = min(best, time.Since(start))
		require.ErrorIs(t, err, password.ErrParams)
	})
	require.Less(t, best, time.Millisecond)
	require.Less(t, allocs, 50.0)
}

func TestOtherSchemesAreNamed(t *testing.T) {
	h := cheap(t, nil)
	for s, name := range map[password.Hash]string{
		"$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy": "bcrypt",
		"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy": "bcrypt",
		"$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy": "bcrypt",
		"$2x$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy": "$2x$",
		"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$AAAA":               "argon2i",
		"$argon2d$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$AAAA":               "argon2d",
		"$argon2id$m=65536,t=2,p=1$c29tZXNhbHQ$AAAA":                   "argon2id of a version",
		"$scrypt$ln=17,r=8,p=1$c2FsdA$AAAA":                            "scrypt",
		"pbkdf2_sha256$600000$salt$AAAA":                               "Django pbkdf2_sha256",
		"pbkdf2_sha1$600000$salt$AAAA":                                 "Django pbkdf2_sha1",
		"argon2$argon2id$v=19$m=102400,t=2,p=8$c2FsdA$AAAA":            "Django argon2",
		"bcrypt_sha256$$2b$12$AAAA":                                    "Django bcrypt_sha256",
		"scrypt$16384$salt$8$1$AAAA":                                   "Django scrypt",
		"$pbkdf2-sha256$29000$c2FsdA$AAAA":                             "passlib pbkdf2-sha256",
		"$bcrypt-sha256$v=2,t=2b,r=12$AAAA$AAAA":                       "passlib bcrypt-sha256",
		"{bcrypt}$2a$10$AAAA":                                          "Spring {bcrypt}",
		"{noop}plain":                                                  "Spring {noop}",
		"{SSHA}AAAA":                                                   "{id}",
		"$6$salt$AAAA":                                                 "sha512-crypt",
	} {
		_, err := h.Verify(t.Context(), right, s)
		require.ErrorIs(t, err, password.ErrUnsupported, string(s))
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "AAAA")
		require.NotContains(t, err.Error(), "N9qo8")
		require.NotContains(t, err.Error(), "plain")
	}
}

func TestDisabledNeverVerifies(t *testing.T) {
	h := cheap(t, nil)
	for _, s := range []password.Hash{"", "!", "*", "!!", "*LK*", "*NP*", "!" + hash(t, h, right)} {
		pws := []password.Password{right}
		if s == "" {
			pws = []password.Password{right, "", "null"}
		}
		for _, pw := range pws {
			_, err := h.Verify(t.Context(), pw, s)
			require.ErrorIs(t, err, password.ErrMismatch)
		}
	}
}

func FuzzP3_Parse(f *testing.F) {
	for _, c := range phcCases() {
		if len(c.hash) < 1000 {
			f.Add(string(c.hash))
		}
	}
	f.Add("$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")
	f.Add("!")
	f.Fuzz(func(t *testing.T, s string) {
		again, err := password.Parse(password.Hash(s))
		if err == nil {
			require.Equal(t, s, string(again), "one hash has one spelling")
		}
	})
}
