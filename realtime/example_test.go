package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/gatewire/gatewire/realtime"
)

func ExampleNew() {
	sessions := &world{} // a session manager has these methods: Authenticate, Alive, EndedSince

	mayJoin := func(ctx context.Context, who realtime.Identity, channel string) (realtime.Grant, error) {
		if channel == "room:staff" && who.UserID() != "ann" {
			return realtime.Grant{}, realtime.ErrDenied
		}
		return realtime.Grant{Publish: true, Presence: true, History: true, Recover: true}, nil
	}
	hub, err := realtime.New("https://app.example", realtime.Via(sessions.Authenticate), sessions,
		realtime.Rules{"room:": mayJoin}, &realtime.Options{
			Channels: map[string]realtime.Channel{"room:": {HistorySize: 100, HistoryTTL: time.Hour}},
		})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer hub.Close()
	server := httptest.NewServer(hub)
	defer server.Close()

	// What an SDK does: connect and subscribe, here as bob.
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, strings.Replace(server.URL, "http", "ws", 1), &websocket.DialOptions{
		HTTPHeader: http.Header{"Cookie": {"session=bob/s1"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ws.CloseNow()
	say := func(s string) { _ = ws.Write(ctx, websocket.MessageText, []byte(s)) }
	hear := func() string { _, b, _ := ws.Read(ctx); return string(b) }

	say(`{"id":1,"connect":{}}`)
	hear()
	say(`{"id":2,"subscribe":{"channel":"room:staff"}}`)
	fmt.Println(hear())
	say(`{"id":3,"subscribe":{"channel":"room:lobby"}}`)
	hear()
	_ = hub.Publish(ctx, "room:lobby", json.RawMessage(`{"text":"hello"}`))
	fmt.Println(hear())

	// Signed out: the socket goes too.
	_ = hub.EndSession(ctx, "s1", "signed out")
	_, _, err = ws.Read(ctx)
	fmt.Println(int(websocket.CloseStatus(err)))
	// Output:
	// {"id":2,"error":{"code":103,"message":"permission denied"}}
	// {"push":{"channel":"room:lobby","pub":{"data":{"text":"hello"},"offset":1}}}
	// 4501
}
