package sqldb

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLiterals(t *testing.T) {
	for _, c := range []struct {
		query string
		args  []any
		want  string
	}{
		{"SELECT 1", nil, "SELECT 1"},
		{"?1, ?2, ?1", []any{"a'b", int64(-7)}, "x'612762', -7, x'612762'"},
		{"?10", []any{0, 0, 0, 0, 0, 0, 0, 0, 0, "ten"}, "x'74656e'"},
		{"(?1)", []any{""}, "(x'')"},
		{"?1 ?2 ?3", []any{nil, []byte(nil), []byte{}}, "NULL NULL x''"},
		{"?1 ?2", []any{int64(math.MinInt64), 1}, "-9223372036854775808 1"},
		{"?1", []any{"?2 key \xff\x00"}, "x'3f32206b657920ff00'"},
		{"key = ?1 AND h.key", []any{1}, "`key` = 1 AND h.`key`"},
		{"keys, my_key, key2, PRIMARY KEY", nil, "keys, my_key, key2, PRIMARY KEY"},
	} {
		got, err := literals(c.query, c.args)
		require.NoError(t, err, c.query)
		require.Equal(t, c.want, got)
	}
	for _, query := range []string{"?", "?0", "?2", "?99999999999999999999"} {
		_, err := literals(query, []any{1})
		require.Error(t, err, query)
	}
	for _, arg := range []any{1.5, uint64(1), true, struct{}{}, errors.New("x")} {
		_, err := literals("?1", []any{arg})
		require.Error(t, err, "%T", arg)
	}
}

// Whatever a value is, it stays within its own literal.
func FuzzLiterals(f *testing.F) {
	for _, seed := range []string{"", "'", "\\", "x' OR 1=1 -- ", "\x00\xff", "?1", "key"} {
		f.Add(seed, int64(len(seed)))
	}
	whole := regexp.MustCompile(`^\(x'([0-9a-f]*)', (-?[0-9]+), x'([0-9a-f]*)'\)$`)
	f.Fuzz(func(t *testing.T, s string, n int64) {
		got, err := literals("(?1, ?2, ?3)", []any{s, n, []byte(s)})
		require.NoError(t, err)
		m := whole.FindStringSubmatch(got)
		require.NotNil(t, m, got)
		require.Equal(t, hex.EncodeToString([]byte(s)), m[1])
		require.Equal(t, fmt.Sprint(n), m[2])
		require.Equal(t, m[1], m[3])
	})
}

type byValue struct{ Number uint16 }

func (byValue) Error() string { return "" }

type otherwise struct{ Number string }

func (*otherwise) Error() string { return "" }

func TestMySQLErrorNumber(t *testing.T) {
	require.EqualValues(t, 1213, mysqlError(fmt.Errorf("wrapped: %w", byValue{1213})))
	require.EqualValues(t, 1213, mysqlError(&byValue{1213}))
	require.Zero(t, mysqlError(nil))
	require.Zero(t, mysqlError(errors.New("Error 1213 (40001): Deadlock found")))
	require.Zero(t, mysqlError(&otherwise{"1213"}))
	require.Zero(t, mysqlError((*otherwise)(nil)))
}

func TestMySQLVersions(t *testing.T) {
	for version, want := range map[string]bool{
		"10.11.19-MariaDB-0+deb12u1": true, "10.6.0-MariaDB": true, "11.8.2-MariaDB-log": true, "12.0.1-MariaDB": true,
		"8.0.36": true, "8.4.0-commercial": true, "9.1.0": true,
		"10.5.29-MariaDB": false, "5.5.5-MariaDB": false, "5.7.44-log": false, "": false, "unknown": false,
	} {
		require.Equal(t, want, mysqlVersion(version), version)
	}
}
