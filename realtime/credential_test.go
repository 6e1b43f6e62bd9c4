package realtime_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

func TestR5_RefusalsAreCodedAndTerminal(t *testing.T) {
	s := open(t, nil)
	for name, c := range map[string]struct {
		h       header
		connect string
	}{
		"R5 nothing":                        {header{}, `{}`},
		"R5 bad cookie":                     {header{cookie: "bad/x"}, `{}`},
		"R5 bad bearer":                     {header{bearer: "bad/x"}, `{}`},
		"R5 bad token":                      {header{}, `{"token":"bad/x"}`},
		"R5 bad token beside a good cookie": {header{cookie: "ann/s1"}, `{"token":"bad/x"}`},
		"R5 bad cookie beside a good token": {header{cookie: "bad/x"}, `{"token":"ann/s1"}`},
		"R5 cookie and token disagree":      {header{cookie: "ann/s1"}, `{"token":"ann/s2"}`},
		"R5 header and token disagree":      {header{bearer: "ann/s1"}, `{"token":"bob/s1"}`},
		"R5 bad header beside a good token": {header{bearer: "bad/x"}, `{"token":"ann/s1"}`},
		"R5 no user":                        {header{cookie: "/s1"}, `{}`},
		"R5 no session":                     {header{cookie: "ann/"}, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			cl := s.dial(c.h)
			cl.write(`{"id":1,"connect":` + c.connect + `}`)
			require.Equal(t, 3500, cl.code())
		})
	}
}

func TestCredentials(t *testing.T) {
	s := open(t, nil)
	later := fmt.Sprintf("ann/s1/%d", time.Now().Add(time.Minute).Unix())
	for name, c := range map[string]struct {
		h       header
		connect string
		expires bool
	}{
		"cookie":           {header{cookie: "ann/s1"}, `{}`, false},
		"cookie that ends": {header{cookie: later}, `{}`, false},
		"bearer":           {header{bearer: later}, `{}`, true},
		"token":            {header{}, `{"token":"` + later + `"}`, true},
		"token for good":   {header{}, `{"token":"ann/s1"}`, false},
		"cookie and token": {header{cookie: "ann/s1"}, `{"token":"` + later + `"}`, true},
		"header and token": {header{bearer: "ann/s1"}, `{"token":"` + later + `"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.dial(c.h).call(`"connect":` + c.connect)
			var reply struct {
				Client  string
				Expires bool
				TTL     int
				Ping    int
				Pong    bool
			}
			require.NoError(t, json.Unmarshal(r["connect"], &reply))
			require.NotEmpty(t, reply.Client)
			require.Equal(t, 25, reply.Ping)
			require.True(t, reply.Pong)
			require.Equal(t, c.expires, reply.Expires)
			require.Equal(t, c.expires, reply.TTL > 40 && reply.TTL < 60)
		})
	}
}

func TestExpiredConnectTokenIs109AndMayTryAgain(t *testing.T) {
	c := open(t, nil).dial(header{})
	require.Equal(t, 109, code(c.call(`"connect":{"token":"ann/s1/1"}`)))
	require.Contains(t, c.call(`"connect":{"token":"ann/s1"}`), "connect")
}

func TestStoreDownIsTemporary(t *testing.T) {
	for _, down := range []error{authError{kind: "unavailable"}, errors.New("down"), errors.Join(authError{kind: "none"}, authError{kind: "unavailable"})} {
		s := open(t, nil)
		s.world.set(func() { s.world.down = down })
		r := s.dial(header{cookie: "ann/s1"}).call(`"connect":{}`)
		require.JSONEq(t, `{"code":100,"message":"internal server error","temporary":true}`, string(r["error"]))
	}
}

func TestR6_OriginsAndHandshakes(t *testing.T) {
	s := open(t, func(o *realtime.Options) { o.AllowedOrigins = []string{"https://Admin.example:443/"} })
	host := strings.TrimPrefix(s.server.URL, "http://")
	for origin, status := range map[string]int{
		"":                            101,
		"https://app.example":         101,
		"HTTPS://APP.example":         101,
		"https://admin.example":       101,
		"https://evil.example":        403,
		"http://app.example":          403,
		"https://app.example.evil":    403,
		"https://app.example:8443":    403,
		"https://app.example/":        403,
		"null":                        403,
		"http://" + host:              403, // being the Host proves nothing
		"https://app.example https:x": 403,
	} {
		_, r, err := s.handshake(header{cookie: "ann/s1", origin: origin})
		require.Equal(t, status, r.StatusCode, "%q: %v", origin, err)
	}
	for offer, status := range map[string]int{"centrifuge-json": 101, "centrifuge-protobuf": 400, "other": 400, "centrifuge-protobuf, centrifuge-json": 101} {
		ws, r, _ := s.handshake(header{}, strings.Split(offer, ", ")...)
		require.Equal(t, status, r.StatusCode, offer)
		if status == 101 {
			require.Equal(t, "centrifuge-json", ws.Subprotocol())
		}
	}
	r, err := http.Get(s.server.URL)
	require.NoError(t, err)
	require.Equal(t, http.StatusUpgradeRequired, r.StatusCode)
	require.NoError(t, r.Body.Close())
	for range 2 { // two Origin headers are nobody's
		req, err := http.NewRequest(http.MethodGet, s.server.URL, nil)
		require.NoError(t, err)
		req.Header["Origin"] = []string{"https://app.example", "https://evil.example"}
		r, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, r.Body)
		require.NoError(t, r.Body.Close())
		require.Equal(t, 403, r.StatusCode)
	}
}

func in(d time.Duration) string { return fmt.Sprintf("ann/s1/%d", time.Now().Add(d).Unix()) }

func TestR3_Expiry(t *testing.T) {
	t.Run("R3 a token that is not refreshed: 3005", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, nil).dial(header{})
			c.call(`"connect":{"token":"` + in(time.Minute) + `"}`)
			start := time.Now()
			require.Equal(t, 3005, c.code())
			require.WithinDuration(t, start.Add(65*time.Second), time.Now(), time.Second)
		})
	})
	t.Run("R3 a cookie's session at its end: 4501", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, apart{w}, w, nil).join(in(time.Hour))
			start := time.Now()
			time.Sleep(59 * time.Minute)
			w.end("s1") // no log has it: it is its time that is over
			require.Eventually(t, func() bool { return !c.live() }, 2*time.Hour, time.Second)
			require.Equal(t, 4501, c.code())
			require.WithinDuration(t, start.Add(time.Hour), time.Now(), 2*time.Second)
		})
	})
	t.Run("R3 one that has been given a longer life meanwhile: 3004, and on with the new end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			s := inBubble(t, w, w, nil)
			c := s.join(in(time.Hour))
			start := time.Now()
			time.Sleep(59 * time.Minute)
			require.True(t, c.live())
			again := in(time.Hour)
			require.Eventually(t, func() bool { return !c.live() }, 2*time.Minute, time.Second)
			require.Equal(t, 3004, c.code())
			require.WithinDuration(t, start.Add(time.Hour), time.Now(), 2*time.Second)
			c = s.join(again)
			time.Sleep(58 * time.Minute)
			require.True(t, c.live())
		})
	})
	for name, alive := range map[string]func(w *world){
		"fail": func(w *world) { w.down = errors.New("down") },
		"hang": func(w *world) { w.alive = func(string) { time.Sleep(time.Minute) } },
	} {
		t.Run("R3 at its end, when the sessions "+name+": 3004", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				c := inBubble(t, apart{w}, w, nil).join(in(time.Hour))
				start := time.Now()
				time.Sleep(59 * time.Minute)
				w.set(func() { alive(w) })
				require.Eventually(t, func() bool { return !c.live() }, 2*time.Minute, time.Second)
				require.Equal(t, 3004, c.code())
				require.WithinDuration(t, start.Add(time.Hour), time.Now(), 2*time.Second)
			})
		})
	}
	t.Run("R3 refreshed in band it goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, nil).dial(header{})
			c.call(`"connect":{"token":"` + in(time.Minute) + `"}`)
			for range 10 {
				time.Sleep(50 * time.Second)
				require.JSONEq(t, `{"expires":true,"ttl":50}`, string(c.call(`"refresh":{"token":"` + in(time.Minute) + `"}`)["refresh"]))
			}
			require.True(t, c.live())
			require.Equal(t, 109, code(c.call(`"refresh":{"token":"ann/s1/1"}`)))
			require.Equal(t, 3005, c.code())
		})
	})
	for name, token := range map[string]string{"another user": "bob/s1", "another session": "ann/s2", "bad": "bad/x"} {
		t.Run("R3 refresh with "+name+": 3500", func(t *testing.T) {
			c := open(t, nil).dial(header{})
			c.call(`"connect":{"token":"ann/s1"}`)
			c.write(`{"id":2,"refresh":{"token":"` + token + `"}}`)
			require.Equal(t, 3500, c.code())
		})
	}
	t.Run("R3 a refresh after the session ended: 4501", func(t *testing.T) {
		s := open(t, nil)
		c := s.dial(header{})
		c.call(`"connect":{"token":"ann/s1"}`)
		s.world.end("s1")
		c.write(`{"id":2,"refresh":{"token":"ann/s1"}}`)
		require.Equal(t, 4501, c.code())
	})
	t.Run("R3 a refresh moves an earlier end forward", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			c := inBubble(t, w, w, nil).dial(header{})
			c.call(`"connect":{"token":"` + in(time.Hour) + `"}`)
			c.call(`"refresh":{"token":"` + in(10*time.Second) + `"}`)
			start := time.Now()
			require.Equal(t, 3005, c.code())
			require.WithinDuration(t, start.Add(15*time.Second), time.Now(), time.Second)
		})
	})
}
