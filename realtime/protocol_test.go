package realtime_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommands(t *testing.T) {
	s := open(t, nil)
	a := s.join("ann/s1")
	b := s.join("bob/s2")
	r := a.call(`"subscribe":{"channel":"room:x"}`)
	require.Contains(t, string(r["subscribe"]), `"recoverable":true`)
	require.Contains(t, a.push(), `"join":{"info":{"client":`)
	b.call(`"subscribe":{"channel":"room:x"}`)
	require.Contains(t, a.push(), `"user":"bob","conn_info":{"name":"bob"}`)
	require.Contains(t, b.push(), `"join"`)
	r = b.call(`"publish":{"channel":"room:x","data":{"n":1}}`)
	require.JSONEq(t, `{}`, string(r["publish"]))
	require.Contains(t, a.push(), `"pub":{"data":{"n":1},"info":{`)
	require.Contains(t, b.push(), `"offset":1`)
	require.JSONEq(t, `{"num_clients":2,"num_users":2}`, string(a.call(`"presence_stats":{"channel":"room:x"}`)["presence_stats"]))
	require.Contains(t, string(a.call(`"presence":{"channel":"room:x"}`)["presence"]), `"conn_info":{"name":"bob"}`)
	require.Contains(t, string(a.call(`"history":{"channel":"room:x","limit":10}`)["history"]), `"publications":[{"data":{"n":1}`)
	require.JSONEq(t, `{"data":[1,2]}`, string(a.call(`"rpc":{"method":"echo","data":[1,2]}`)["rpc"]))
	require.JSONEq(t, `{}`, string(b.call(`"unsubscribe":{"channel":"room:x"}`)["unsubscribe"]))
	require.Contains(t, a.push(), `"leave":{"info":{"client":`)
}
