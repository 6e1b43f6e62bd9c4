package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/chrome"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

// A person's view of the program: the page in a real browser. A window that
// logs an error or a warning, or whose request fails, fails its test.

// window is a window of the program's page.
type window struct {
	*chrome.Window
	t *testing.T
}

func open(t *testing.T, b *chrome.Chrome, url string) *window {
	t.Helper()
	return &window{b.Open(t, url), t}
}

// fill types into the fields of a form, by their names.
func (w *window) fill(form string, fields map[string]string) {
	w.t.Helper()
	for name, value := range fields {
		field := fmt.Sprintf("%s [name=%q]", form, name)
		w.JS("document.querySelector("+quote(field)+").value = ''", nil)
		w.Type(field, value)
	}
}

// patience is for a machine that is busy with other things.
const patience = 30 * time.Second

const (
	shown     = "(e => !!e && e.checkVisibility())"
	connected = "document.querySelector('#connection').checkVisibility() && document.querySelector('#connection').dataset.state === 'connected'"
)

func (w *window) signUp(name, email string) {
	w.t.Helper()
	w.Click("#tab-up")
	w.fill("#sign-up", map[string]string{"name": name, "email": email, "password": goodPassword})
	w.Click("#sign-up [type=submit]")
	w.Until(patience, connected)
}

func (w *window) signIn(email, password string) {
	w.t.Helper()
	w.fill("#sign-in", map[string]string{"email": email, "password": password})
	w.Click("#sign-in [type=submit]")
}

// say sends a message to the room, as typing does: Enter sends.
func (w *window) say(text string) {
	w.t.Helper()
	w.Type("#message", text)
	// One event, as a keyboard makes it: the browser types a new line unless the page prevents that.
	for _, press := range []input.DispatchKeyEventParams{{Type: "keyDown", Text: "\r"}, {Type: "keyUp"}} {
		press.Key, press.Code, press.WindowsVirtualKeyCode = "Enter", "Enter", 13
		_, err := chromedp.Call(w.Context(), input.DispatchKeyEvent, press)
		require.NoError(w.t, err)
	}
	var left string
	w.JS("document.querySelector('#message').value", &left)
	require.Empty(w.t, left)
}

// reads waits until the newest message is text, and not less and not more.
func (w *window) reads(text string) {
	w.t.Helper()
	w.Until(patience, "[...document.querySelectorAll('.message .bubble')].at(-1)?.textContent === "+quote(text))
}

// sees waits until exactly these people are shown as here, in any order.
func (w *window) sees(names ...string) {
	w.t.Helper()
	w.Until(patience, fmt.Sprintf("document.querySelector('#people-count').textContent === '%d'", len(names)))
	people := w.Text("#people")
	for _, name := range names {
		require.Contains(w.t, people, name)
	}
}

// signedOut waits for the notice and returns what it says.
func (w *window) signedOut() string {
	w.t.Helper()
	w.Until(patience, shown+"(document.querySelector('#notice')) && !"+shown+"(document.querySelector('#app'))")
	return w.Text("#notice")
}

func TestBrowserTwoPeopleChat(t *testing.T) {
	app := start(t)
	b := chrome.Start(t)
	ada := open(t, b, app.url)
	ada.Until(patience, shown+"(document.querySelector('#sign-in'))")
	ada.Shot("01-sign-in")
	ada.Click("#tab-up")
	ada.Shot("02-sign-up")
	ada.signUp("Ada Lovelace", "ada@example.org")
	require.Equal(t, "Ada Lovelace", ada.Text("#my-name"))
	ada.Until(patience, "document.querySelector('.said.empty')")
	ada.Shot("03-empty-room")

	bob := open(t, b, app.url)
	bob.signUp("Bob", "bob@example.org")
	ada.sees("Ada Lovelace", "Bob")
	bob.sees("Ada Lovelace", "Bob")
	ada.Until(patience, "document.querySelector('#messages').innerText.includes('Bob joined')")

	ada.say("Good morning! Does the engine run?")
	bob.reads("Good morning! Does the engine run?")
	bob.say("It does, since noon.")
	const markup = `<img src=x onerror=alert(1)><b>bold & brave</b>`
	bob.say(markup)
	ada.reads(markup)
	var elements int
	ada.JS("document.querySelectorAll('.bubble *').length", &elements)
	require.Zero(t, elements, "text stays text")
	require.Equal(t, "You", ada.Text(".message.mine strong"))
	ada.Shot("04-chat")
	bob.Shot("05-chat-bob")

	ada.Do(chromedp.Reload())
	ada.Until(patience, connected)
	ada.reads(markup)
	require.Equal(t, 3, count(ada, ".message"), "history, once")
	bob.say("welcome back")
	ada.reads("welcome back")
	require.Equal(t, 4, count(ada, ".message"))

	// The same client with an access token beside the cookie.
	var echoed int
	ada.JS(`import('/client/realtime.js').then(async ({ Client }) => {
		const client = new Client('/realtime', {
			getToken: async () => (await (await fetch('/auth/session/token', { method: 'POST' })).json()).access_token,
		});
		client.connect();
		const answer = await client.rpc('echo', 5);
		client.close();
		return answer;
	})`, &echoed)
	require.Equal(t, 5, echoed)

	// Another room, and back.
	bob.Do(chromedp.SendKeys(chromedp.CSS("#room-name"), "Engine Room\r"))
	bob.Until(patience, "document.querySelector('#room-title').textContent === '#engine-room' && document.querySelector('#people-count').textContent === '1'")
	ada.sees("Ada Lovelace")
	bob.say("anybody here?")
	bob.reads("anybody here?")
	// What is said while the history is asked for is shown once.
	bob.JS(`{
		const { send } = WebSocket.prototype;
		WebSocket.prototype.send = function (data) {
			if (!data.includes('"history"')) return send.call(this, data);
			WebSocket.prototype.send = send;
			window.ask = () => this.send(data);
		};
	}`, nil)
	bob.Click("#room-list li:first-child a")
	bob.Until(patience, "window.ask")
	ada.sees("Ada Lovelace", "Bob")
	ada.say("while you look")
	bob.reads("while you look")
	bob.JS("ask()", nil)
	bob.Until(patience, "document.querySelector('.bubble').textContent.startsWith('Good morning')")
	bob.reads("while you look")
	require.Equal(t, 5, count(bob, ".message"))

	// What no page of ours would send breaks no page of ours.
	mallory := browser(t)
	signUp(t, mallory, app.url, "mallory@example.org")
	raw := dial(t, app, mallory)
	raw.command("connect", object{})
	raw.command("subscribe", object{"channel": "room:lobby"})
	for _, data := range []any{nil, 7, "text", []int{1}, object{"text": object{}}, object{"text": "too old", "at": -1e300}, object{"text": "odd time", "at": "x"}, object{"text": strings.Repeat("long ", 3000)}} {
		require.NotContains(t, raw.command("publish", object{"channel": "room:lobby", "data": data}), "error")
	}
	ada.say("still here")
	bob.reads("still here")
	ada.Do(chromedp.Reload())
	ada.reads("still here")
	require.Equal(t, 9, count(ada, ".message"))
	require.NoError(t, raw.conn.CloseNow())

	bob.Click("#sign-out")
	require.Contains(t, bob.signedOut(), "Signed out")
	require.Equal(t, 0, count(bob, ".message"), "nothing is left on the page")
	bob.Shot("06-signed-out")
	ada.sees("Ada Lovelace")
	ada.Clean()
	bob.Clean()
}

func count(w *window, selector string) int {
	w.t.Helper()
	var n int
	w.JS("document.querySelectorAll("+quote(selector)+").length", &n)
	return n
}

// One person in two windows: what ends in one is seen in the other at once.
func TestBrowserSessionEndsEverywhereAtOnce(t *testing.T) {
	app := start(t)
	b := chrome.Start(t)
	first := open(t, b, app.url)
	first.signUp("Ada Lovelace", "ada@example.org")
	second := open(t, b, app.url)
	// In the page's own time, which both windows share.
	watched := func() {
		second.JS(`void (window.endedAt = new Promise((resolve) => new MutationObserver(() => {
			if (!document.querySelector('#notice').hidden) resolve(Date.now());
		}).observe(document.querySelector('#notice'), { attributes: true })))`, nil)
	}
	again := func(password string) {
		second.signIn("ada@example.org", password)
		second.Until(patience, connected)
		first.sees("Ada Lovelace")
		watched()
	}
	soon := func(limit float64) {
		t.Helper()
		var clicked, ended float64
		first.JS("clickedAt", &clicked)
		second.JS("endedAt", &ended)
		t.Logf("%.0f ms from the click to the notice", ended-clicked)
		require.Less(t, ended-clicked, limit, "ms from the click to the notice")
	}
	first.JS(`addEventListener('click', () => { window.clickedAt = Date.now(); }, true)`, nil)

	t.Run("R1 revoked device", func(t *testing.T) {
		again(goodPassword)
		first.Click("[data-view=devices]")
		first.Until(patience, "document.querySelectorAll('.device').length === 2")
		require.Contains(t, first.Text(".device.current"), "This device")
		first.Shot("10-devices")
		first.Click(".device:not(.current) button")
		notice := second.signedOut()
		soon(1000)
		require.Contains(t, notice, "You have been signed out")
		require.Contains(t, notice, "from another one of your devices", "the reason is told")
		second.Shot("11-signed-out-by-another-device")
		first.Until(patience, "document.querySelectorAll('.device').length === 1")
		first.Shot("12-device-gone")
	})
	t.Run("R1 password changed on another device", func(t *testing.T) {
		again(goodPassword)
		first.Click("[data-view=account]")
		first.Shot("13-account")
		const newPassword = "seven quiet lanterns drift"
		first.fill("#password-form", map[string]string{"current": goodPassword, "new": newPassword})
		first.Click("#password-form [type=submit]")
		require.Contains(t, second.signedOut(), "Your password was changed on another device")
		soon(3000) // two passwords are hashed before
		first.Until(patience, "document.querySelector('#toasts').innerText.includes('has been changed')")
		first.Until(patience, connected)
		first.Shot("14-password-changed")
		again(newPassword)
	})
	t.Run("R1 signed out everywhere", func(t *testing.T) {
		first.Click("[data-view=devices]")
		first.Until(patience, "document.querySelectorAll('.device').length === 2")
		first.Click("#sign-out-all")
		first.Until(patience, "document.querySelector('#confirm').open")
		first.Shot("15-confirm")
		first.Click("#confirm-yes")
		second.signedOut()
		soon(1000)
		require.Contains(t, first.signedOut(), "All your devices")
	})
	first.Clean()
	second.Clean()
}

func TestBrowserErrorsAreFriendly(t *testing.T) {
	app := start(t)
	w := open(t, chrome.Start(t), app.url)
	refused := func(form, contains, picture string) {
		t.Helper()
		w.Until(patience, shown+"(document.querySelector('"+form+" .form-error')) && !document.querySelector('"+form+"').ariaBusy")
		text := w.Text(form + " .form-error")
		require.Regexp(t, "(?i)"+contains, text)
		require.Regexp(t, `^[A-Z].*[.!?]$`, text, "a sentence")
		w.Shot(picture)
	}
	w.Click("#tab-up")
	w.fill("#sign-up", map[string]string{"name": "Ada", "email": "ada@example.org", "password": "password123"})
	w.Click("#sign-up [type=submit]")
	refused("#sign-up", "common|guess|attackers", "20-common-password")
	w.signUp("Ada", "ada@example.org")
	w.Click("[data-view=account]")
	w.fill("#password-form", map[string]string{"current": "not my password", "new": "seven quiet lanterns drift"})
	w.Click("#password-form [type=submit]")
	refused("#password-form", "password", "21-wrong-current")
	w.Click("#sign-out")
	w.signedOut()

	w.signIn("ada@example.org", "not my password")
	refused("#sign-in", "email|password", "22-wrong-password")
	w.Click("#tab-up")
	w.fill("#sign-up", map[string]string{"name": "Ada", "email": "ada@example.org", "password": goodPassword})
	w.Click("#sign-up [type=submit]")
	refused("#sign-up", "account", "23-email-taken")
	w.Clean(`40[139]|422`)
}

func TestBrowserSignsInWithProvider(t *testing.T) {
	app := start(t)
	b := chrome.Start(t)
	w := open(t, b, app.url)
	w.Click("[data-provider=dev]")
	w.Until(patience, "document.querySelector('button.who')")
	w.Shot("40-user-picker")
	var picked string
	w.JS("document.querySelector('button.who').firstChild.textContent", &picked)
	w.Click("button.who")
	w.Until(patience, "location.pathname === '/' && document.querySelector('#app') && "+connected)
	require.Equal(t, picked, w.Text("#my-name"))
	w.sees(picked)
	w.Shot("41-signed-in-with-provider")
	w.Click("[data-view=account]")
	w.Until(patience, shown+"(document.querySelector('#no-password')) && !"+shown+"(document.querySelector('#password-form'))")
	w.Click("#sign-out")
	w.signedOut()

	// Signing out at the provider too leads there and back.
	w.Click("[data-provider=dev]")
	w.Until(patience, "document.querySelector('button.who')")
	w.Click("button.who")
	w.Until(patience, "location.pathname === '/' && document.querySelector('#app') && "+connected)
	w.Click("[data-view=account]")
	w.Until(patience, shown+"(document.querySelector('#provider-out'))")
	require.Contains(t, w.Text("#provider-out"), "Development provider")
	w.Shot("43-account-with-provider")
	w.Click("#provider-out button")
	w.Until(patience, "location.pathname === '/auth/dev/logged-out' && document.querySelector('h1')")
	w.Shot("44-signed-out-at-provider")
	w.Do(chromedp.Navigate(app.url + devPath + "/sessions"))
	w.Until(patience, "document.querySelector('h1')")
	require.Equal(t, 1, count(w, "button.who"), "the sign-in before, which ended here alone, is left")
	w.Do(chromedp.Navigate(app.url))
	w.Until(patience, shown+"(document.querySelector('#sign-in'))")

	// Signing out at the provider's own page throws the app's page out.
	w.Click("[data-provider=dev]")
	w.Until(patience, "document.querySelector('button.who')")
	w.Click("button.who")
	w.Until(patience, "location.pathname === '/' && document.querySelector('#app') && "+connected)
	at := open(t, b, app.url+devPath+"/sessions")
	at.Click("button.who")
	at.Until(patience, "document.querySelector('[role=status]')")
	require.Contains(t, w.signedOut(), "at the provider")
	at.Shot("45-provider-sessions")
	w.Shot("46-thrown-out-by-provider")

	// Who changes their mind is told so, and nothing is signed in.
	w.Click("[data-provider=dev]")
	w.Until(patience, "document.querySelector('button.no')")
	w.Click("button.no")
	w.Until(patience, "location.pathname === '/auth/dev/callback'")
	w.Shot("42-provider-cancelled")
	w.Do(chromedp.Navigate(app.url))
	w.Until(patience, shown+"(document.querySelector('#sign-in'))")
	w.Clean("4[0-9][0-9].*/auth/dev/callback")
}

// The form that signs out is redirected to the provider's origin, and back.
func TestO13_BrowserSignsOutAtAnotherOrigin(t *testing.T) {
	op := oidctest.NewServer(t, &oidctest.Options{
		ClientID: "app", ClientSecret: "a-client-secret-of-some-length", AutoPick: true,
		Users: []oidctest.User{{Email: "ada@example.org", Name: "Ada"}},
	})
	app := start(t, "OIDC_ISSUER="+op.Issuer(), "OIDC_CLIENT_ID=app", "OIDC_CLIENT_SECRET=a-client-secret-of-some-length")
	op.AllowRedirect(app.url + "/auth/oidc/callback")
	op.AllowRedirect(app.url + "/auth/oidc/logged-out")
	op.SendLogoutTo(app.url + "/auth/oidc/backchannel")
	w := open(t, chrome.Start(t), app.url)
	w.Click("[data-provider=oidc]")
	w.Until(patience, "location.pathname === '/' && document.querySelector('#app') && "+connected)
	w.Click("[data-view=account]")
	w.Until(patience, shown+"(document.querySelector('#provider-out'))")
	w.Click("#provider-out button")
	w.Until(patience, "location.pathname === '/auth/oidc/logged-out' && document.querySelector('h1')")
	require.Contains(t, w.Text("main"), "You have signed out")
	w.Do(chromedp.Navigate(app.url))
	w.Until(patience, shown+"(document.querySelector('#sign-in'))")
	w.Clean()
}

// The server crashes and comes back: the page says so, comes back by itself,
// and what was typed meanwhile is sent.
func TestBrowserSurvivesACrash(t *testing.T) {
	db := "DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "app.db")
	first := start(t, db)
	w := open(t, chrome.Start(t), first.url)
	w.signUp("Ada", "ada@example.org")
	w.say("before")
	w.reads("before")
	first.kill()
	w.Until(patience, "document.querySelector('#connection').dataset.state === 'connecting'")
	w.Until(patience, "document.querySelector('#connection-text').textContent.startsWith('Reconnecting')")
	w.Shot("50-reconnecting")
	w.say("typed while the server was away")
	start(t, db, "ADDR="+strings.TrimPrefix(first.url, "http://"))
	w.Until(patience, connected)
	w.reads("typed while the server was away")
	require.Equal(t, 2, count(w, ".message"), "what was read stays")
	require.Contains(t, w.Text("#messages"), "Messages may be missing here")
	w.sees("Ada")
	w.Shot("51-back-again")
	w.Clean("WebSocket")
}

// What people on phones and in the dark see; for the eye.
func TestBrowserNarrowAndDark(t *testing.T) {
	app := start(t)
	w := open(t, chrome.Start(t), app.url)
	fits := func() {
		t.Helper()
		var wider, taller int
		w.JS("document.documentElement.scrollWidth - document.documentElement.clientWidth", &wider)
		w.JS("document.querySelector('#app').hidden ? 0 : document.documentElement.scrollHeight - document.documentElement.clientHeight", &taller)
		require.Equal(t, []int{0, 0}, []int{wider, taller}, "nothing reaches beyond the screen")
	}
	w.Resize(390, 844)
	w.Until(patience, shown+"(document.querySelector('#sign-in'))")
	fits()
	w.Shot("30-phone-sign-in")
	w.signUp("Ada Lovelace", "ada@example.org")
	w.say("A message that is a little longer, so that it has to wrap on a phone's narrow screen.")
	w.say("averyveryveryveryveryveryveryveryveryverylongwordthathasnoplacetobreakatallandgoesonandon")
	for i := range 12 {
		w.say(fmt.Sprintf("and another, number %d", i))
	}
	w.Until(patience, "document.querySelectorAll('.message').length === 14")
	fits()
	w.Shot("31-phone-chat")
	w.Click("[data-view=devices]")
	w.Until(patience, "document.querySelectorAll('.device').length === 1")
	fits()
	w.Shot("32-phone-devices")
	w.Scheme("dark")
	w.Shot("33-phone-devices-dark")
	w.Click("[data-view=rooms]")
	w.Until(patience, "document.querySelector('#messages').checkVisibility()")
	var below int
	w.JS("(({ scrollHeight, scrollTop, clientHeight }) => Math.round(scrollHeight - scrollTop - clientHeight))(document.querySelector('#messages'))", &below)
	require.LessOrEqual(t, below, 1, "the newest message is in view")
	w.Shot("34-phone-chat-dark")
	w.Resize(1280, 800)
	fits()
	w.Shot("35-chat-dark")
	w.Click("[data-view=account]")
	w.Shot("36-account-dark")
	w.Click("#sign-out")
	w.signedOut()
	w.Shot("37-sign-in-dark")
	w.Clean()
}
