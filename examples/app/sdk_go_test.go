package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/session"
)

// goSDK is Centrifuge's official SDK for Go, and what it has told so far.
type goSDK struct {
	*centrifuge.Client
	t *testing.T

	network sync.RWMutex // held by a dial; locked while there is no network

	mu     sync.Mutex
	conn   net.Conn // the last one
	events []string
	tokens int
}

// newGoSDK makes one for the hub at url. It has a token, and asks for others at
// GET /token.
func newGoSDK(t *testing.T, url string, token string) *goSDK {
	s := &goSDK{t: t}
	s.Client = centrifuge.NewJsonClient(strings.Replace(url, "http", "ws", 1)+"/realtime", centrifuge.Config{
		Token:             token,
		MinReconnectDelay: 50 * time.Millisecond,
		ReadTimeout:       20 * time.Second,
		HandshakeTimeout:  10 * time.Second,
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			s.network.RLock()
			defer s.network.RUnlock()
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.conn = conn
			return conn, err
		},
		GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			s.mu.Lock()
			s.tokens++
			s.mu.Unlock()
			return fetch(t, url+"/token")
		},
	})
	s.OnConnecting(func(e centrifuge.ConnectingEvent) { s.tell("connecting %d", e.Code) })
	s.OnConnected(func(centrifuge.ConnectedEvent) { s.tell("connected") })
	s.OnDisconnected(func(e centrifuge.DisconnectedEvent) { s.tell("disconnected %d %s", e.Code, e.Reason) })
	s.OnMessage(func(e centrifuge.MessageEvent) { s.tell("message %s", e.Data) })
	s.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		s.tell("%s subscribed %t %t", e.Channel, e.WasRecovering, e.Recovered)
	})
	s.OnPublication(func(e centrifuge.ServerPublicationEvent) { s.tell("%s publication %s", e.Channel, e.Data) })
	t.Cleanup(s.Close)
	return s
}

func fetch(t *testing.T, url string) (string, error) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	return string(b), err
}

// cut takes the network away until comes is called.
func (s *goSDK) cut() (comes func()) {
	s.network.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.Close()
	return s.network.Unlock
}

func (s *goSDK) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

func (s *goSDK) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// awaits waits until something was told since the last call to forget.
func (s *goSDK) awaits(event string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return slices.Contains(s.told(), event) }, 20*time.Second, 5*time.Millisecond, "%s", event)
}

func (s *goSDK) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
}

// in subscribes to a channel and waits until it is in it.
func (s *goSDK) in(channel string) *centrifuge.Subscription {
	s.t.Helper()
	sub, err := s.NewSubscription(channel, centrifuge.SubscriptionConfig{Recoverable: true, Positioned: true, JoinLeave: true, MinResubscribeDelay: 50 * time.Millisecond})
	require.NoError(s.t, err)
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		s.tell("%s subscribed %t %t", channel, e.WasRecovering, e.Recovered)
	})
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) { s.tell("%s unsubscribed %d", channel, e.Code) })
	sub.OnPublication(func(e centrifuge.PublicationEvent) { s.tell("%s publication %s", channel, e.Data) })
	sub.OnJoin(func(e centrifuge.JoinEvent) { s.tell("%s join %s", channel, e.User) })
	require.NoError(s.t, sub.Subscribe())
	return sub
}

func TestR17_GoSDK(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	h := newTokenHub(t, "http://"+server.Listener.Addr().String(), time.Minute, &realtime.Options{
		Subscribe: func(who realtime.Identity) []string { return []string{"user:" + who.UserID()} },
	}, inRoom)
	server.Config.Handler = h.mux
	server.Start()
	t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)

	s := newGoSDK(t, server.URL, "")
	require.NoError(t, s.Connect())
	s.awaits("connected")
	s.awaits("user:ada subscribed false false")

	room := s.in("room:go")
	s.awaits("room:go subscribed false false")
	s.awaits("room:go join ada")
	_, err := room.Publish(ctx, []byte(`{"n":1}`))
	require.NoError(t, err)
	s.awaits(`room:go publication {"n":1}`)
	h.say(t, "user:ada", 7)
	s.awaits("user:ada publication 7")
	require.NoError(t, h.SendUser(ctx, "ada", json.RawMessage(`"hello"`)))
	s.awaits(`message "hello"`)

	t.Run("R17 Go: RPC, presence, history", func(t *testing.T) {
		echoed, err := s.RPC(ctx, "echo", []byte(`{"deep":[1,2]}`))
		require.NoError(t, err)
		require.JSONEq(t, `{"deep":[1,2]}`, string(echoed.Data))
		_, err = s.RPC(ctx, "nothing", []byte(`{}`))
		var refused *centrifuge.Error
		require.ErrorAs(t, err, &refused)
		require.EqualValues(t, 104, refused.Code)
		presence, err := room.Presence(ctx)
		require.NoError(t, err)
		require.Len(t, presence.Clients, 1)
		for _, info := range presence.Clients {
			require.Equal(t, "ada", info.User)
		}
		stats, err := room.PresenceStats(ctx)
		require.NoError(t, err)
		require.Equal(t, centrifuge.PresenceStats{NumClients: 1, NumUsers: 1}, stats.PresenceStats)
		past, err := room.History(ctx, centrifuge.WithHistoryLimit(10))
		require.NoError(t, err)
		require.Len(t, past.Publications, 1)
		require.EqualValues(t, 1, past.Offset)
		require.NoError(t, s.Send(ctx, []byte(`{}`)))
	})
	t.Run("R17 Go: refused channels", func(t *testing.T) {
		s.in("nowhere:x")
		s.awaits("nowhere:x unsubscribed 102")
		s.in("user:bob")
		s.awaits("user:bob unsubscribed 103")
	})
	t.Run("R17 Go: recovers", func(t *testing.T) {
		s.forget()
		comes := s.cut()
		s.awaits("connecting 1")
		for n := 2; n <= 4; n++ {
			h.say(t, "room:go", n)
			h.say(t, "user:ada", n)
		}
		comes()
		s.awaits("room:go subscribed true true")
		s.awaits("user:ada subscribed true true")
		s.awaits("room:go publication 4")
		s.awaits("user:ada publication 4")
		var got []string
		for _, e := range s.told() {
			if strings.Contains(e, "publication") && strings.HasPrefix(e, "room:go") {
				got = append(got, e)
			}
		}
		require.Equal(t, []string{"room:go publication 2", "room:go publication 3", "room:go publication 4"}, got, "in order, each once")
	})
	t.Run("R17 Go: disconnect codes", func(t *testing.T) {
		s.forget()
		before := h.handshakes.Load()
		_, err := h.sessions.Revoke(ctx, "ada", h.id, session.ReasonRevoked)
		require.NoError(t, err)
		s.awaits("disconnected 4501 revoked")
		bad := newGoSDK(t, server.URL, "not a token")
		require.NoError(t, bad.Connect())
		bad.awaits("disconnected 3500 invalid credential")
		time.Sleep(500 * time.Millisecond)
		require.Equal(t, centrifuge.StateDisconnected, s.State())
		require.EqualValues(t, before+1, h.handshakes.Load(), "nobody tries again")
	})
}

// The tokens live for three seconds.
func TestR17_GoSDKRefreshes(t *testing.T) {
	t.Parallel()
	h := newTokenHub(t, "https://app.example", 3*time.Second, &realtime.Options{}, inRoom)
	server := httptest.NewServer(h.mux)
	t.Cleanup(server.Close)
	expired, err := fetch(t, server.URL+"/token")
	require.NoError(t, err)
	time.Sleep(3100 * time.Millisecond)
	s := newGoSDK(t, server.URL, expired)
	require.NoError(t, s.Connect())
	s.awaits("connected")
	s.forget()
	handshakes := h.handshakes.Load()
	time.Sleep(6 * time.Second)
	require.Empty(t, s.told(), "the socket stays")
	require.Equal(t, handshakes, h.handshakes.Load())
	s.mu.Lock()
	tokens := s.tokens
	s.mu.Unlock()
	require.GreaterOrEqual(t, tokens, 3)
	_, err = s.RPC(t.Context(), "echo", []byte(`1`))
	require.NoError(t, err)
}
