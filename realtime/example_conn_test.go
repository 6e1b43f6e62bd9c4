package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/gatewire/gatewire/realtime"
)

// connect does what an SDK does, and returns how to speak and what comes.
func connect(hub *realtime.Hub, credential string) (say func(string), hear func() string, done func()) {
	server := httptest.NewServer(hub)
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, strings.Replace(server.URL, "http", "ws", 1), &websocket.DialOptions{
		HTTPHeader: http.Header{"Cookie": {"session=" + credential}},
	})
	if err != nil {
		panic(err)
	}
	say = func(s string) { _ = ws.Write(ctx, websocket.MessageText, []byte(s)) }
	hear = func() string { _, b, _ := ws.Read(ctx); return string(b) }
	say(`{"id":1,"connect":{}}`)
	hear()
	return say, hear, func() {
		_ = ws.CloseNow()
		_ = hub.Close()
		server.Close()
	}
}

// A hub without rules is a connection manager: messages of the host's own
// making, both ways, over connections that end with their session.
func ExampleNew_connections() {
	sessions := &world{} // a session manager has its methods

	hub, err := realtime.New("https://app.example", realtime.Via(sessions.Authenticate), sessions, nil, &realtime.Options{
		OnMessage: func(ctx context.Context, c *realtime.Conn, data json.RawMessage) {
			_ = c.Send(data) // or whatever your protocol says
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	say, hear, done := connect(hub, "ann/s1")
	defer done()
	say(`{"send":{"data":"hello"}}`)
	fmt.Println(hear())
	_ = hub.SendUser(context.Background(), "ann", json.RawMessage(`"news"`))
	fmt.Println(hear())
	// Output:
	// {"push":{"message":{"data":"hello"}}}
	// {"push":{"message":{"data":"news"}}}
}

func ExampleReply() {
	type add struct{ A, B int }
	type sum struct {
		Sum int `json:"sum"`
	}
	sessions := &world{}
	hub, err := realtime.New("https://app.example", realtime.Via(sessions.Authenticate), sessions, nil, &realtime.Options{
		RPC: map[string]realtime.RPCFunc{
			"add": realtime.Reply(func(_ context.Context, _ *realtime.Conn, in add) (sum, error) {
				return sum{in.A + in.B}, nil
			}),
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	say, hear, done := connect(hub, "ann/s1")
	defer done()
	say(`{"id":2,"rpc":{"method":"add","data":{"A":1,"B":2}}}`)
	fmt.Println(hear())
	say(`{"id":3,"rpc":{"method":"add","data":{"A":"one"}}}`)
	fmt.Println(hear())
	// Output:
	// {"id":2,"rpc":{"data":{"sum":3}}}
	// {"id":3,"error":{"code":107,"message":"bad request: A can't be a string"}}
}

// A room of a game: players send inputs, and all are sent what follows from
// them, 20 times a second.
func ExampleGroup() {
	type input struct{ Move int }
	var position atomic.Int64
	var room *realtime.Group
	sessions := &world{}
	hub, err := realtime.New("https://app.example", realtime.Via(sessions.Authenticate), sessions, nil, &realtime.Options{
		OnConnect: func(_ context.Context, c *realtime.Conn) (json.RawMessage, error) { return nil, room.Add(c) },
		OnMessage: realtime.Dispatch(map[string]realtime.MessageFunc{
			"input": realtime.Receive(func(_ context.Context, _ *realtime.Conn, in input) { position.Add(int64(in.Move)) }),
		}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	room, err = hub.NewGroup(&realtime.GroupOptions{Overflow: realtime.Latest})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	say, hear, done := connect(hub, "ann/s1")
	defer done()
	say(`{"send":{"data":{"type":"input","data":{"Move":3}}}}`)
	go room.Tick(ctx, 50*time.Millisecond, func(uint64) json.RawMessage {
		if position.Load() == 0 {
			return nil // nothing to tell yet
		}
		return fmt.Appendf(nil, `{"position":%d}`, position.Load())
	})
	fmt.Println(hear())
	// Output:
	// {"push":{"message":{"data":{"position":3}}}}
}

func ExampleBoard() {
	sessions := &world{}
	mayWatch := func(context.Context, realtime.Identity, string) (realtime.Grant, error) {
		return realtime.Grant{Recover: true}, nil
	}
	hub, err := realtime.New("https://app.example", realtime.Via(sessions.Authenticate), sessions,
		realtime.Rules{"board:": mayWatch}, &realtime.Options{
			Channels: map[string]realtime.Channel{"board:": {HistorySize: 1, HistoryTTL: time.Hour, Overflow: realtime.Latest}},
		})
	if err != nil {
		fmt.Println(err)
		return
	}
	board, err := hub.NewBoard("board:servers", 100*time.Millisecond)
	if err != nil {
		fmt.Println(err)
		return
	}

	say, hear, done := connect(hub, "ann/s1")
	defer done()
	say(`{"id":2,"subscribe":{"channel":"board:servers"}}`)
	hear()
	_ = board.Set("web1", 0.5)
	fmt.Println(hear())
	_ = board.Set("web2", 0.1)
	fmt.Println(hear())
	// Output:
	// {"push":{"channel":"board:servers","pub":{"data":{"web1":0.5},"offset":1}}}
	// {"push":{"channel":"board:servers","pub":{"data":{"web1":0.5,"web2":0.1},"offset":2}}}
}
