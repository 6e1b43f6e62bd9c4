package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// socket is a raw client of the realtime protocol.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
	id   int
}

// dial opens a socket with c's cookies; header adds "Name", "value".
func dial(t *testing.T, p *process, c *http.Client, header ...string) *socket {
	t.Helper()
	h := http.Header{"Origin": {p.url}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	conn, _, err := websocket.Dial(t.Context(), p.url+"/realtime", &websocket.DialOptions{HTTPClient: c, HTTPHeader: h})
	require.NoError(t, err)
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{t: t, conn: conn}
}

// command sends one command and returns its reply, past any pushes.
func (s *socket) command(name string, params object) object {
	s.t.Helper()
	s.id++
	b, err := json.Marshal(object{"id": s.id, name: params})
	require.NoError(s.t, err)
	require.NoError(s.t, s.conn.Write(s.t.Context(), websocket.MessageText, b))
	return s.until(func(m object) bool { return m["id"] == float64(s.id) })
}

// until reads messages until one satisfies want.
func (s *socket) until(want func(object) bool) object {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	for {
		_, frame, err := s.conn.Read(ctx)
		require.NoError(s.t, err)
		var match object
		for line := range strings.Lines(string(frame)) {
			var m object
			require.NoError(s.t, json.Unmarshal([]byte(line), &m), line)
			if match == nil && want(m) {
				match = m
			}
		}
		if match != nil {
			return match
		}
	}
}

// closed reads until the socket is closed and returns the code.
func (s *socket) closed() (websocket.StatusCode, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	for {
		if _, _, err := s.conn.Read(ctx); err != nil {
			var ce websocket.CloseError
			require.ErrorAs(s.t, err, &ce)
			return ce.Code, ce.Reason
		}
	}
}

// However a session ends, its sockets are closed with 4501 within a second,
// and those of the user's other sessions are not.
func TestEndingASessionClosesItsSockets(t *testing.T) {
	p := start(t)
	status := func(want int) func(int, object) {
		return func(got int, out object) {
			t.Helper()
			require.Equal(t, want, got, "%v", out)
		}
	}
	endings := map[string]struct {
		end      func(t *testing.T, victim, other *http.Client, pair object)
		survives bool // the other session
	}{
		"sign-out": {func(t *testing.T, victim, _ *http.Client, _ object) {
			status(204)(call(t, victim, "POST", p.url+"/auth/logout", nil))
		}, true},
		"sign-out everywhere": {func(t *testing.T, _, other *http.Client, _ object) {
			status(204)(call(t, other, "POST", p.url+"/auth/logout/all", nil))
		}, false},
		"revoked device": {func(t *testing.T, victim, other *http.Client, _ object) {
			_, me := call(t, victim, "GET", p.url+"/auth/me", nil)
			status(204)(call(t, other, "DELETE", p.url+"/auth/sessions/"+me["session"].(object)["id"].(string), nil))
		}, true},
		"password change": {func(t *testing.T, _, other *http.Client, _ object) {
			status(204)(call(t, other, "POST", p.url+"/auth/password", object{"current": goodPassword, "new": "another quiet harbour"}))
		}, true},
		"signing in as another user": {func(t *testing.T, victim, _ *http.Client, _ object) {
			signUp(t, victim, p.url, "usurper@example.org")
		}, true},
	}
	for name, e := range endings {
		t.Run(name, func(t *testing.T) {
			victim, other := browser(t), browser(t)
			email := strings.ReplaceAll(name, " ", "-") + "@example.org"
			signUp(t, victim, p.url, email)
			status(200)(call(t, other, "POST", p.url+"/auth/login", object{"email": email, "password": goodPassword}))
			a, b := dial(t, p, victim), dial(t, p, other)
			require.Contains(t, a.command("connect", object{}), "connect")
			require.Contains(t, b.command("connect", object{}), "connect")

			e.end(t, victim, other, nil)
			answered := time.Now()
			code, reason := a.closed()
			require.Equal(t, websocket.StatusCode(4501), code, reason)
			require.NotEmpty(t, reason)
			require.Less(t, time.Since(answered), time.Second)
			if e.survives {
				require.Contains(t, b.command("rpc", object{"method": "echo", "data": 1}), "rpc")
			} else {
				code, _ = b.closed()
				require.Equal(t, websocket.StatusCode(4501), code)
			}
		})
	}

	t.Run("refresh token reused", func(t *testing.T) {
		signUp(t, browser(t), p.url, "reuse@example.org")
		api := &http.Client{}
		_, pair := call(t, api, "POST", p.url+"/auth/login", object{"email": "reuse@example.org", "password": goodPassword, "mode": "token"})
		refresh := func(token string) (int, object) {
			res := send(t, api, "POST", p.url+"/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
			var out object
			require.NoError(t, json.NewDecoder(res.Body).Decode(&out))
			return res.StatusCode, out
		}
		s := dial(t, p, api)
		hello := s.command("connect", object{"token": pair["access_token"]})
		require.Equal(t, true, hello["connect"].(object)["expires"], "%v", hello)

		first := pair["refresh_token"].(string)
		got, next := refresh(first)
		require.Equal(t, 200, got)
		got, again := refresh(first)
		require.Equal(t, 200, got, "a repeat within the grace gets the same successor")
		require.Equal(t, next["refresh_token"], again["refresh_token"])
		got, _ = refresh(next["refresh_token"].(string))
		require.Equal(t, 200, got)
		got, out := refresh(first)
		require.Equal(t, 400, got)
		require.Equal(t, "invalid_grant", out["error"])
		code, _ := s.closed()
		require.Equal(t, websocket.StatusCode(4501), code)
	})
}

func TestContractOverWebSocket(t *testing.T) {
	p := start(t)
	ada, bob := browser(t), browser(t)
	adaID := signUp(t, ada, p.url, "ada@example.org")["user"].(object)["id"].(string)
	signUp(t, bob, p.url, "bob@example.org")

	t.Run("rooms", func(t *testing.T) {
		a, b := dial(t, p, ada), dial(t, p, bob)
		connected := a.command("connect", object{})["connect"].(object)
		require.NotEmpty(t, connected["client"])
		require.NotContains(t, connected, "expires", "a cookie connection has nothing to refresh")
		b.command("connect", object{})
		sub := a.command("subscribe", object{"channel": "room:lobby"})["subscribe"].(object)
		require.Equal(t, true, sub["recoverable"], "%v", sub)
		b.command("subscribe", object{"channel": "room:lobby"})
		a.until(func(m object) bool {
			push, _ := m["push"].(object)
			join, _ := push["join"].(object)
			info, _ := join["info"].(object)
			who, _ := info["conn_info"].(object)
			return who["name"] == "bob"
		})
		b.command("publish", object{"channel": "room:lobby", "data": object{"text": "hello"}})
		pub := a.until(func(m object) bool { push, _ := m["push"].(object); return push["pub"] != nil })
		require.Equal(t, object{"text": "hello"}, pub["push"].(object)["pub"].(object)["data"])
		presence := a.command("presence", object{"channel": "room:lobby"})["presence"].(object)["presence"].(object)
		require.Len(t, presence, 2)
		history := a.command("history", object{"channel": "room:lobby", "limit": 10})["history"].(object)
		require.Len(t, history["publications"], 1)
	})
	t.Run("gates", func(t *testing.T) {
		s := dial(t, p, bob)
		s.command("connect", object{})
		for channel, code := range map[string]float64{"user:" + adaID: 103, "board:scores": 102, "nothing": 102, "": 107, "room:": 102} {
			for _, command := range []string{"subscribe", "history", "presence", "publish"} {
				reply := s.command(command, object{"channel": channel, "data": 1})
				require.Contains(t, reply, "error", "%s %q: %v", command, channel, reply)
				require.Equal(t, code, reply["error"].(object)["code"], "%s %q", command, channel)
			}
		}
		require.Equal(t, 104.0, s.command("rpc", object{"method": "none"})["error"].(object)["code"])
	})
	t.Run("refusals", func(t *testing.T) {
		for name, tc := range map[string]struct {
			send string
			code websocket.StatusCode
		}{
			"no credential":   {`{"id":1,"connect":{}}`, 3500},
			"bad token":       {`{"id":1,"connect":{"token":"x.y.z"}}`, 3500},
			"not JSON":        {`hello`, 3501},
			"before connect":  {`{"id":1,"subscribe":{"channel":"room:lobby"}}`, 3501},
			"unknown command": {`{"id":1,"fly":{}}`, 3501},
		} {
			s := dial(t, p, &http.Client{})
			require.NoError(t, s.conn.Write(t.Context(), websocket.MessageText, []byte(tc.send)), name)
			code, reason := s.closed()
			require.Equal(t, tc.code, code, "%s: %s", name, reason)
			require.NotEmpty(t, reason)
		}
		_, res, err := websocket.Dial(t.Context(), p.url+"/realtime", &websocket.DialOptions{HTTPClient: ada, HTTPHeader: http.Header{"Origin": {"https://evil.example"}}})
		require.Error(t, err)
		require.Equal(t, http.StatusForbidden, res.StatusCode)
	})
	t.Run("drain", func(t *testing.T) {
		s := dial(t, p, ada)
		s.command("connect", object{})
		require.NoError(t, p.cmd.Process.Signal(interrupt))
		code, _ := s.closed()
		require.Equal(t, websocket.StatusCode(3001), code)
	})
}
