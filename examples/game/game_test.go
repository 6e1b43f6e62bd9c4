package main

import (
	"context"
	"fmt"
	"testing"

	keyboard "github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/chrome"
	"github.com/gatewire/gatewire/examples/internal/site"
	"github.com/gatewire/gatewire/examples/internal/sitetest"
	"github.com/gatewire/gatewire/realtime"
)

const patience = sitetest.Patience

// hold presses a key, until the function it returns is called.
func hold(t *testing.T, w *chrome.Window, key string) (release func()) {
	t.Helper()
	press := func(kind string) {
		_, err := chromedp.Call(w.Context(), keyboard.DispatchKeyEvent, keyboard.DispatchKeyEventParams{Type: keyboard.DispatchKeyEventType(kind), Key: key, Code: key})
		require.NoError(t, err)
	}
	press("keyDown")
	return func() { press("keyUp") }
}

// players waits until these are on the window's list.
func players(w *chrome.Window, names ...string) {
	for _, name := range names {
		w.Until(patience, fmt.Sprintf("[...document.querySelectorAll('#players span')].some((s) => s.textContent === %q)", name))
	}
	w.Until(patience, fmt.Sprintf("document.querySelectorAll('#players li').length === %d", len(names)))
}

// enter signs in, and makes the page's module known to the test as "game".
func enter(w *chrome.Window, name string) {
	sitetest.SignIn(w, name)
	w.JS("import('/web/game.js').then((m) => { window.game = m; })", nil)
}

// place waits until a window shows a player at p.
func place(w *chrome.Window, name string, p point) {
	w.Until(patience, fmt.Sprintf("game.scene().players.some((p) => p.name === %q && p.x === %d && p.y === %d)", name, p.X, p.Y))
}

func TestTwoPlayers(t *testing.T) {
	w := &world{gems: []point{{300, 450}, {1300, 200}, {900, 760}}}
	server := sitetest.Start(t, "game", web, func(ctx context.Context, s *site.Site) (*realtime.Hub, error) { return play(ctx, s, w) })
	b := chrome.Start(t)
	ada := b.Open(t, server.URL)
	enter(ada, "Ada")
	players(ada, "Ada")
	bob := b.Open(t, server.URL)
	enter(bob, "Bob")
	players(ada, "Ada", "Bob")
	players(bob, "Ada", "Bob")
	put := func(name string, at point) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.players {
			if p.Name == name {
				p.point = at
			}
		}
	}
	truth := func(name string) (at point) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.players {
			if p.Name == name {
				at = p.point
			}
		}
		return at
	}
	put("Ada", point{600, 300})
	put("Bob", point{600, 600})
	for _, window := range []*chrome.Window{ada, bob} {
		place(window, "Ada", point{600, 300})
		place(window, "Bob", point{600, 600})
	}

	// Each sees the other move, smoothly: also between the places of two snapshots.
	bob.JS(`window.seen = new Set(); (function look() {
		seen.add(game.scene().players.find((p) => p.name === 'Ada')?.x);
		requestAnimationFrame(look);
	})()`, nil)
	release := hold(t, ada, "ArrowRight")
	bob.Until(patience, "Math.max(...seen) > 800")
	bob.Shot("game-moving")
	release()
	var between bool
	bob.JS(fmt.Sprintf("[...seen].some((x) => x > 600 && (x - 600) %% %d !== 0)", straight), &between)
	require.True(t, between, "interpolated")
	ada.Until(patience, "game.figures().pending === 0")
	at := truth("Ada")
	require.Greater(t, at.X, 800)
	require.Equal(t, 300, at.Y)
	place(bob, "Ada", at)
	place(ada, "Ada", at)

	// What Ada's page predicted is what the server said, all the way, but for where it was put above.
	var corrections int
	ada.JS("game.figures().corrections", &corrections)
	require.LessOrEqual(t, corrections, 1)
	sitetest.Looks(t, ada, "game")

	// Who claims to be elsewhere is put out, and is nowhere else.
	const claim = `import('/client/realtime.js').then(({ Client }) => new Promise((resolve) => {
		const cheat = new Client('/realtime');
		cheat.on('closed', ({ code, reason }) => resolve(code + ' ' + reason));
		cheat.connect();
		cheat.send({ seq: 1, dx: 0, dy: 0, x: 10, y: 10 });
	}))`
	var closed string
	bob.JS(claim, &closed)
	require.Contains(t, closed, "3501")
	players(ada, "Ada", "Bob")
	require.Equal(t, at, truth("Ada"))

	// A player that leaves is gone from the others' windows; one whose connection breaks comes back as another.
	bob.Click("#sign-out")
	bob.Until(patience, "document.querySelector('#name')")
	players(ada, "Ada")
	server.Cut(ada)
	sitetest.Connected(ada)
	players(ada, "Ada")
	ada.Clean("WebSocket")
	bob.Clean()
}
