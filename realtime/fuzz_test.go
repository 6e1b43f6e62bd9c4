package realtime_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

func FuzzR14_Command(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"connect":{"token":"x","subs":{"a":{"recover":true}}}}`, `{"id":2,"subscribe":{"channel":"a"}}`, `{"send":{"data":1}}`,
		`{}`, `{"id":1}`, `{"id":-1,"rpc":{}}`, `{"id":1,"rpc":{"data":[[[[]]]]}}`, `null`, `[`, "\xff", `{"id":1,"history":{"limit":1e9}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if realtime.ParseCommand(line) {
			require.True(t, json.Valid(line))
		}
	})
}

func FuzzR5_CloseReason(f *testing.F) {
	for _, s := range []string{"", "signed out", "42", `{"reconnect":true}`, "null", "a\x00b\n", "\xff", string(make([]byte, 500)), "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := realtime.PlainReason(s)
		require.NotEmpty(t, r)
		require.LessOrEqual(t, len(r), 123)
		require.True(t, utf8.ValidString(r))
		require.False(t, json.Valid([]byte(r)), "SDKs take JSON for advice whether to come back")
	})
}
