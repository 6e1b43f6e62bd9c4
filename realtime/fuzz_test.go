package realtime_test

import (
	"bytes"
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

// What is read quickly is read as encoding/json reads it.
func FuzzR14_QuickCommand(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"rpc":{"method":"echo","data":{"a":[1,-0.5e+3,"x\u00e9",true,null,{}]}}}`, `{"rpc":{"data":1,"method":"m"},"id":7}`,
		`{"id":2,"publish":{"channel":"room:x","data":"hi"}}`, `{"send":{"data":[ 1 , 2 ]}}`, `{"id":1,"connect":{}}`, `{"id":01,"rpc":{"method":"m"}}`,
		`{"id":1,"rpc":{"method":"a","method":"b"}}`, `{"id":1,"id":2,"send":{"data":0}}`, `{"id":1,"rpc":{"method":"m","data":1},"x":0}`,
		`{"ID":1,"rpc":{"method":"m"}}`, `{"id":1,"rpc":{"method":"m","data":1}} `, `{"id":1,"rpc":{"method":"\u0061","data":"\ud800"}}`,
		`{"id":4294967296,"rpc":{"method":"m","data":1}}`, `{"id":1,"rpc":{}}`, `{"id":1,"publish":{"channel":"a","data":"` + "\x01" + `"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if !utf8.Valid(line) { // a message that isn't is refused before
			return
		}
		quick, full, ok, fullOK := realtime.QuickCommand(line)
		if ok {
			require.True(t, fullOK)
			require.Equal(t, full, quick)
		}
		valid, spaced := realtime.ScanJSON(line)
		if valid {
			require.True(t, json.Valid(line))
			var b bytes.Buffer
			require.NoError(t, json.Compact(&b, line))
			require.Equal(t, b.Len() != len(line), spaced)
		} else if json.Valid(line) { // but for what stands around it, and depth
			trimmed := bytes.TrimSpace(line)
			deep := bytes.Count(line, []byte{'['})+bytes.Count(line, []byte{'{'}) > 500
			require.True(t, deep || len(trimmed) < len(line), "%q", line)
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
