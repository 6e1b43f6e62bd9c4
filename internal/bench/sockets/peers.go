//go:build linux

package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/coder/websocket"
	"github.com/lxzan/gws"
	"github.com/olahol/melody"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/session"
)

type manager = session.Manager[struct{}]

// channel is the one everybody is in.
const channel = "room:1"

// peer is one library as a server of one room. All check the same sessions
// before they accept, and let nobody in without.
type peer struct {
	handler http.Handler
	publish func(data []byte) error

	// commands says that clients speak the protocol of Centrifuge: they send
	// connect and subscribe, and messages come in an envelope.
	commands bool
	close    func()
}

// frame is what a peer sends for data, for the floor to send the same.
func (p *peer) frame(data []byte) []byte {
	if p.commands {
		data = slices.Concat([]byte(`{"push":{"channel":"`+channel+`","pub":{"data":`), data, []byte(`}}}`))
	}
	return textFrame(data)
}

// peers by name. What follows a colon is a setting.
var peers = map[string]func(*manager) (*peer, error){
	"gatewire":         ours,
	"centrifuge":       func(m *manager) (*peer, error) { return centrifugeNode(m, false) },
	"centrifuge:timer": func(m *manager) (*peer, error) { return centrifugeNode(m, true) },
	"gws":              gwsRoom,
	"melody":           melodyRoom,
	"coder":            coderRoom,
}

// pingEvery keeps pings out of all runs: they would come at different times.
const pingEvery = time.Hour

// ours is the finished hub. Beside the interval of pings, its limit of commands
// a second is raised, which request and reply would meet.
func ours(m *manager) (*peer, error) {
	rule := func(context.Context, realtime.Identity, string) (realtime.Grant, error) {
		return realtime.Grant{}, nil
	}
	hub, err := realtime.New("https://app.example", realtime.Via(m.Authenticate), m, realtime.Rules{"room:": rule}, &realtime.Options{
		RPC: map[string]realtime.RPCFunc{
			"echo": func(_ context.Context, _ *realtime.Conn, data json.RawMessage) (json.RawMessage, error) {
				return data, nil
			},
		},
		PingInterval:   pingEvery,
		CommandsPerSec: 1_000_000,
		Logger:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return &peer{
		handler:  hub,
		publish:  func(data []byte) error { return hub.Publish(context.Background(), channel, data) },
		commands: true,
		close:    func() { _ = hub.Close() },
	}, nil
}

// signedIn asks the sessions before next, as the peers' users do.
func signedIn(m *manager, next func(w http.ResponseWriter, r *http.Request, user string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := m.Authenticate(r)
		if err != nil {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		next(w, r, s.UserID())
	})
}

// centrifugeNode is centrifuge with its memory broker: as it comes, or set to
// collect messages for 5 ms on a timer, which makes it leanest and, with many
// messages under way, fastest.
func centrifugeNode(m *manager, timer bool) (*peer, error) {
	node, err := centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelNone})
	if err != nil {
		return nil, err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		if !timer {
			return centrifuge.ConnectReply{}, nil
		}
		return centrifuge.ConnectReply{WriteDelay: 5 * time.Millisecond, WriteWithTimer: true, MaxMessagesInFrame: 64}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
		c.OnRPC(func(e centrifuge.RPCEvent, done centrifuge.RPCCallback) { done(centrifuge.RPCReply{Data: e.Data}, nil) })
	})
	if err := node.Run(); err != nil {
		return nil, err
	}
	config := centrifuge.WebsocketConfig{
		CheckOrigin:    func(*http.Request) bool { return true },
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: pingEvery, PongTimeout: time.Minute},
	}
	if timer {
		config.UseWriteBufferPool, config.ReadBufferSize = true, 512
	}
	ws := centrifuge.NewWebsocketHandler(node, config)
	return &peer{
		handler: signedIn(m, func(w http.ResponseWriter, r *http.Request, user string) {
			ctx := centrifuge.SetCredentials(r.Context(), &centrifuge.Credentials{UserID: user})
			ws.ServeHTTP(w, r.WithContext(ctx))
		}),
		publish:  func(data []byte) error { _, err := node.Publish(channel, data); return err },
		commands: true,
		close:    func() { _ = node.Shutdown(context.Background()) },
	}, nil
}

type gwsHandler struct {
	gws.BuiltinEventHandler
	mu    sync.Mutex
	conns map[*gws.Conn]struct{}
}

func (h *gwsHandler) OnOpen(c *gws.Conn) {
	h.mu.Lock()
	h.conns[c] = struct{}{}
	h.mu.Unlock()
}

func (h *gwsHandler) OnClose(c *gws.Conn, _ error) {
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
}

func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

// gwsRoom is gws with its Broadcaster over a set of connections.
func gwsRoom(m *manager) (*peer, error) {
	h := &gwsHandler{conns: map[*gws.Conn]struct{}{}}
	up := gws.NewUpgrader(h, &gws.ServerOption{})
	return &peer{
		handler: signedIn(m, func(w http.ResponseWriter, r *http.Request, _ string) {
			if c, err := up.Upgrade(w, r); err == nil {
				go c.ReadLoop()
			}
		}),
		publish: func(data []byte) error {
			b := gws.NewBroadcaster(gws.OpcodeText, data)
			defer func() { _ = b.Close() }()
			h.mu.Lock()
			defer h.mu.Unlock()
			for c := range h.conns {
				if err := b.Broadcast(c); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() {},
	}, nil
}

// melodyRoom is melody as it comes.
func melodyRoom(m *manager) (*peer, error) {
	room := melody.New()
	room.Config.PingPeriod, room.Config.PongWait = pingEvery, 2*pingEvery
	room.HandleMessage(func(s *melody.Session, b []byte) { _ = s.Write(b) })
	return &peer{
		handler: signedIn(m, func(w http.ResponseWriter, r *http.Request, _ string) { _ = room.HandleRequest(w, r) }),
		publish: room.Broadcast,
		close:   func() { _ = room.Close() },
	}, nil
}

type coderHub struct {
	mu   sync.Mutex
	subs map[chan []byte]struct{}
}

// coderRoom is coder/websocket as its users write a chat: a channel and a
// writing goroutine for each connection, and a time for each write.
func coderRoom(m *manager) (*peer, error) {
	h := &coderHub{subs: map[chan []byte]struct{}{}}
	return &peer{
		handler: signedIn(m, func(w http.ResponseWriter, r *http.Request, _ string) { h.serve(w, r) }),
		publish: func(data []byte) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			for c := range h.subs {
				c <- data // it has room for more than are under way
			}
			return nil
		},
		close: func() {},
	}, nil
}

func (h *coderHub) serve(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	messages := make(chan []byte, 64)
	h.mu.Lock()
	h.subs[messages] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.subs, messages)
		h.mu.Unlock()
	}()
	write := func(b []byte) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return c.Write(ctx, websocket.MessageText, b)
	}
	go func() {
		defer cancel()
		for {
			_, b, err := c.Read(ctx)
			if err != nil || write(b) != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-messages:
			if write(b) != nil {
				return
			}
		}
	}
}
