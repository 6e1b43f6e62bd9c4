package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/chrome"
	"github.com/gatewire/gatewire/examples/internal/site"
	"github.com/gatewire/gatewire/examples/internal/sitetest"
	"github.com/gatewire/gatewire/realtime"
)

const patience = sitetest.Patience

func say(w *chrome.Window, text string) {
	w.Type("#text", text)
	w.Click("#say button")
}

// reads waits until these are the room's messages, each once and in this order.
func reads(w *chrome.Window, texts ...string) {
	w.Until(patience, fmt.Sprintf("[...document.querySelectorAll('.message p')].map((p) => p.textContent).join('|') === %q", strings.Join(texts, "|")))
}

// here waits until exactly these are shown as here.
func here(w *chrome.Window, names ...string) {
	w.Until(patience, fmt.Sprintf("[...document.querySelectorAll('#here li')].map((li) => li.textContent).join('|') === %q", strings.Join(names, "|")))
}

// One story: two people chat, lose their connections, and one of them signs out.
func TestTwoPeople(t *testing.T) {
	held, release := make(chan struct{}, 1), make(chan struct{}, 1)
	var hub *realtime.Hub
	server := sitetest.Start(t, "chat", web, func(ctx context.Context, s *site.Site) (_ *realtime.Hub, err error) {
		s.Mux.HandleFunc("GET /hold", func(http.ResponseWriter, *http.Request) { held <- struct{}{}; <-release })
		hub, err = build(ctx, s)
		return hub, err
	})
	b := chrome.Start(t)
	ada, bob := b.Open(t, server.URL), b.Open(t, server.URL)
	sitetest.Looks(t, ada, "chat-sign-in")
	sitetest.SignIn(ada, "Ada")
	ada.Shot("chat-empty")
	sitetest.SignIn(bob, "Bob")
	here(ada, "Ada (you)", "Bob")
	here(bob, "Ada", "Bob (you)")
	ada.Until(patience, "document.querySelector('.note')?.textContent === 'Bob came in'")

	say(ada, "Does the engine run?")
	for _, w := range []*chrome.Window{ada, bob} {
		reads(w, "Does the engine run?")
	}
	require.Contains(t, bob.Text(".message header"), "Ada")
	require.Contains(t, ada.Text(".message header"), "You")

	// That somebody types is told, and kept nowhere.
	ada.Type("#text", "It")
	bob.Until(patience, "document.querySelector('#typing').textContent === 'Ada is typing…'")
	bob.Shot("chat-typing")
	bob.Until(patience, "document.querySelector('#typing').textContent === ''")
	ada.JS("document.querySelector('#text').value = ''", nil)

	const markup = `<img src=x onerror=alert(1)>`
	say(bob, markup)
	reads(ada, "Does the engine run?", markup)
	sitetest.Looks(t, ada, "chat")

	// A reload reads the room's history; other rooms have their own.
	ada.JS("location.reload()", nil)
	sitetest.Connected(ada)
	reads(ada, "Does the engine run?", markup)
	ada.Click("#rooms li:nth-child(2) a")
	ada.Until(patience, "document.querySelector('#title').textContent === '# kitchen'")
	here(ada, "Ada (you)")
	here(bob, "Bob (you)")
	reads(ada)
	ada.Click("#rooms li:nth-child(1) a")
	here(bob, "Ada", "Bob (you)")
	reads(ada, "Does the engine run?", markup)

	// What is said while a connection is lost comes when it is made again, once.
	// Ada's page stands still while both connections break and Bob's comes back.
	ada.JS(`{
		const { send } = WebSocket.prototype;
		window.sent = '';
		WebSocket.prototype.send = function (data) { sent += data; send.call(this, data); };
	}`, nil)
	const hold = `void setTimeout(() => { const r = new XMLHttpRequest(); r.open('GET', '/hold', false); r.send(); })`
	ada.JS(hold, nil)
	<-held
	server.Cut(bob)
	say(bob, "Still there?")
	reads(bob, "Does the engine run?", markup, "Still there?")
	release <- struct{}{}
	reads(ada, "Does the engine run?", markup, "Still there?")
	sitetest.Connected(ada)
	here(ada, "Ada (you)", "Bob")
	var sent string
	ada.JS("sent", &sent)
	require.Contains(t, sent, `"recover":true`)
	require.NotContains(t, sent, `"history"`, "it need not be read anew")

	// When more was said than the room keeps, the page says so and begins anew. What
	// is said while it reads the history, and comes in one frame with it, is shown, too.
	ada.JS(`{
		const { set, ...own } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
		Object.defineProperty(WebSocket.prototype, 'onmessage', { ...own, set(take) {
			set.call(this, take && ((event) => {
				if (!reply && event.data.includes('"history"')) reply = event.data;
				else if (event.data.includes('Anybody')) take({ data: reply + '\n' + event.data });
				else take(event);
			}));
		} });
		window.reply = '';
	}`, nil)
	ada.JS(hold, nil)
	<-held
	server.Cut(bob)
	for range kept + 1 {
		require.NoError(t, hub.Publish(t.Context(), "room:lobby", []byte(`"of the server"`)))
	}
	release <- struct{}{}
	ada.Until(patience, "reply")
	say(bob, "Anybody?")
	reads(ada, "Anybody?")
	require.Contains(t, ada.Text("#messages"), "away for long")

	// Signing out in one window throws out the guest's others, and nobody else.
	second := ada.Another(server.URL)
	sitetest.Connected(second)
	second.Click("#sign-out")
	second.Until(patience, "document.querySelector('#name')")
	ada.Until(patience, "document.querySelector('#over').open")
	require.Contains(t, ada.Text("#over"), "signed out")
	ada.Shot("chat-thrown-out")
	here(bob, "Bob (you)")
	ada.Click("#over button")
	ada.Until(patience, "document.querySelector('#name')")
	for _, w := range []*chrome.Window{ada, bob, second} {
		w.Clean("WebSocket", "Synchronous XMLHttpRequest")
	}
}

// What a browser or a stranger may not do. All three examples are served alike.
func TestRefusals(t *testing.T) {
	server := sitetest.Start(t, "chat", web, build)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	c := &http.Client{Jar: jar}
	send := func(method, path, name, origin, host string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(url.Values{"name": {name}}.Encode()))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if host != "" {
			r.Host = host
		}
		res, err := c.Do(r)
		require.NoError(t, err)
		res.Body.Close()
		return res
	}
	const evil = "https://evil.example"
	require.Equal(t, http.StatusForbidden, send("POST", "/sign-in", "Eve", evil, "").StatusCode)
	require.Equal(t, http.StatusMisdirectedRequest, send("POST", "/sign-in", "Eve", "", "evil.example").StatusCode, "a name that was made to lead here")
	for _, name := range []string{"", "  ", strings.Repeat("n", 25), "a\x00b", "a\u202eb", "\xff"} {
		require.Equal(t, http.StatusBadRequest, send("POST", "/sign-in", name, server.URL, "").StatusCode, "%q", name)
	}
	page := send("POST", "/sign-in", "Ada", server.URL, "")
	require.Equal(t, http.StatusOK, page.StatusCode)
	for name, want := range map[string]string{
		"Content-Security-Policy":    "default-src 'none'",
		"X-Content-Type-Options":     "nosniff",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Cache-Control":              "no-store",
	} {
		require.Contains(t, page.Header.Get(name), want)
	}
	cookie := jar.Cookies(page.Request.URL)
	require.Len(t, cookie, 1)
	require.Equal(t, "chat", cookie[0].Name)

	upgrade := func(origin string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/realtime", nil)
		require.NoError(t, err)
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin,
		} {
			r.Header.Set(name, value)
		}
		res, err := c.Do(r)
		require.NoError(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	require.Equal(t, http.StatusForbidden, upgrade(evil))
	require.Equal(t, http.StatusSwitchingProtocols, upgrade(server.URL))

	// A guest's name is text in the page, too.
	markup := send("POST", "/sign-in", "<b>Ada</b>", server.URL, "")
	require.Equal(t, http.StatusOK, markup.StatusCode)
	require.Equal(t, http.StatusForbidden, send("POST", "/sign-out", "", evil, "").StatusCode)
	require.Equal(t, http.StatusOK, send("POST", "/sign-out", "", server.URL, "").StatusCode)
	require.Empty(t, jar.Cookies(page.Request.URL))
}

func TestRoomsHaveNames(t *testing.T) {
	for channel, there := range map[string]bool{
		"room:lobby": true, "room:a-1": true, "room:": false, "room:A": false, "room:a b": false, "room:" + strings.Repeat("a", 25): false,
	} {
		grant, err := inRoom(t.Context(), realtime.Identity{}, channel)
		require.Equal(t, there, err == nil, channel)
		require.Equal(t, there, grant.Publish, channel)
		grant, err = aboutRoom(t.Context(), realtime.Identity{}, strings.Replace(channel, "room:", "typing:", 1))
		require.Equal(t, there, err == nil, channel)
		require.Equal(t, realtime.Grant{Publish: there}, grant, "nothing is kept that could be read")
	}
}
