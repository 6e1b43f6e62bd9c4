// Package story is what a browser does to a shop, and what must come of it,
// whatever framework the shop is made with: the tests of examples/chi, echo and gin.
package story

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// Password is that of both users of a shop, ada and bob.
const Password = "correct horse battery"

// Shop makes a shop served at origin, with its sessions in store, and what
// stops it.
type Shop func(origin string, store session.Store) (http.Handler, func(), error)

// Run tells the story to a shop.
func Run(t *testing.T, shop Shop) {
	for _, chapter := range []struct {
		name string
		tell func(*testing.T, *site)
	}{
		{"sign in, buy, sign out", signIn},
		{"a visitor's cart is theirs when they sign in", visitor},
		{"the time of a sign-in tells nobody who has an account", missing},
		{"a sign-in during which all sessions are ended", epoch},
		{"a stream", stream},
		{"a recent proof", stepUp},
		{"another origin", foreign},
		{"your devices", devices},
		{"a socket", socket},
		{"a store that fails", failing},
	} {
		t.Run(chapter.name, func(t *testing.T) { chapter.tell(t, open(t, shop)) })
	}
}

var errDown = errors.New("the store is down")

// store is a memory store that can fail, make sign-ins look older than they
// are, and end a user's sessions in the middle of a sign-in.
type store struct {
	session.Store
	noLoad, noSave atomic.Bool
	age            atomic.Int64
	endAfterEpoch  atomic.Bool
}

func (s *store) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	if s.noLoad.Load() {
		return session.Record{}, false, errDown
	}
	rec, found, err := s.Store.Load(ctx, key)
	rec.AuthTime = rec.AuthTime.Add(-time.Duration(s.age.Load()))
	return rec, found, err
}

func (s *store) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	if s.noSave.Load() {
		return errDown
	}
	return s.Store.Create(ctx, rec, epoch)
}

func (s *store) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	if s.noSave.Load() {
		return errDown
	}
	return s.Store.Replace(ctx, old, rec, ifRev)
}

func (s *store) Epoch(ctx context.Context, userID string) (uint64, error) {
	epoch, err := s.Store.Epoch(ctx, userID)
	if err == nil && s.endAfterEpoch.CompareAndSwap(true, false) {
		_, err = s.EndUser(ctx, userID, "", session.ReasonPasswordChanged, time.Now())
	}
	return epoch, err
}

type site struct {
	t     *testing.T
	url   string
	store *store
}

func open(t *testing.T, shop Shop) *site {
	server := httptest.NewUnstartedServer(nil)
	s := &site{t: t, url: "http://" + server.Listener.Addr().String(), store: &store{Store: session.NewMemoryStore(nil)}}
	handler, stop, err := shop(s.url, s.store)
	if err != nil {
		server.Close()
		require.NoError(t, err)
	}
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(func() {
		stop()
		server.Close()
	})
	return s
}

// browser keeps its cookies and shows redirects as they are.
type browser struct {
	*site
	client *http.Client
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{s, &http.Client{Jar: jar, CheckRedirect: stay, Timeout: 30 * time.Second}}
}

func (s *site) signedIn(name string) *browser {
	b := s.browser()
	res, body := b.signIn(name, Password)
	require.Equal(s.t, http.StatusSeeOther, res.StatusCode, body)
	return b
}

func (b *browser) send(method, path, origin string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(form.Encode()))
	require.NoError(b.t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", origin)
	}
	res, err := b.client.Do(req)
	require.NoError(b.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	return res, string(body)
}

func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	return b.send(http.MethodGet, path, "", nil)
}

func (b *browser) post(path string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	return b.send(http.MethodPost, path, b.url, form)
}

func (b *browser) signIn(name, password string) (*http.Response, string) {
	b.t.Helper()
	return b.post("/login", url.Values{"name": {name}, "password": {password}})
}

func (b *browser) buy(item string) {
	b.t.Helper()
	res, body := b.post("/cart", url.Values{"item": {item}})
	require.Equal(b.t, http.StatusSeeOther, res.StatusCode, body)
}

// home is the page at /.
func (b *browser) home() string {
	b.t.Helper()
	res, body := b.get("/")
	require.Equal(b.t, http.StatusOK, res.StatusCode, body)
	require.Equal(b.t, "no-store", res.Header.Get("Cache-Control"))
	return body
}

func (b *browser) cookie() string {
	u, err := url.Parse(b.url)
	require.NoError(b.t, err)
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == "session" {
			return c.Value
		}
	}
	return ""
}

func signIn(t *testing.T, s *site) {
	b := s.browser()
	for _, c := range [][2]string{{"ada", "wrong"}, {"ada", ""}, {"nobody", Password}, {"", ""}, {"ada", strings.Repeat("x", 5000)}} {
		res, body := b.signIn(c[0], c[1])
		require.Equal(t, http.StatusUnauthorized, res.StatusCode, body)
		require.Empty(t, b.cookie())
	}
	require.Contains(t, b.home(), "Hello, visitor")
	res, _ := b.get("/devices")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode, "the group is for who is signed in")

	res, body := b.signIn("ada", Password)
	require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
	require.NotEmpty(t, b.cookie())
	b.buy("tea")
	b.buy("<b>milk</b>")
	require.Contains(t, b.home(), "Hello, ada")
	require.Contains(t, b.home(), "tea &lt;b&gt;milk&lt;/b&gt;")

	copied := b.cookie()
	res, _ = b.post("/logout", nil)
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.Empty(t, b.cookie())
	require.Contains(t, b.home(), "Hello, visitor")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/devices", nil)
	require.NoError(t, err)
	req.AddCookie(&http.Cookie{Name: "session", Value: copied})
	res, err = b.client.Do(req)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, http.StatusUnauthorized, res.StatusCode, "a copy of the cookie is over too")
}

func visitor(t *testing.T, s *site) {
	b := s.browser()
	b.buy("tea")
	before := b.cookie()
	require.NotEmpty(t, before)
	require.Contains(t, b.home(), "tea")
	b.signIn("ada", Password)
	require.NotEqual(t, before, b.cookie(), "signing in replaces the cookie")
	require.Contains(t, b.home(), "Hello, ada")
	require.Contains(t, b.home(), "tea")
	require.NotContains(t, s.browser().home(), "tea")
}

func missing(t *testing.T, s *site) {
	b := s.browser()
	fastest := func(name string) time.Duration {
		least := time.Hour
		for range 4 {
			begin := time.Now()
			b.signIn(name, "wrong")
			least = min(least, time.Since(begin))
		}
		return least
	}
	known := fastest("ada")
	require.Greater(t, fastest("nobody"), known/4)
}

func epoch(t *testing.T, s *site) {
	b := s.browser()
	s.store.endAfterEpoch.Store(true)
	res, body := b.signIn("ada", Password)
	require.NotEqual(t, http.StatusSeeOther, res.StatusCode, body)
	require.Contains(t, b.home(), "Hello, visitor")
	res, body = b.signIn("ada", Password)
	require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
}

func stream(t *testing.T, s *site) {
	b := s.browser()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/clock", nil)
	require.NoError(t, err)
	res, err := b.client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.NotEmpty(t, b.cookie(), "a stream can begin a session")
	lines := bufio.NewScanner(res.Body)
	for range 2 { // one is there at once, the next has left while the handler runs on
		require.True(t, lines.Scan(), "%v", lines.Err())
		require.True(t, strings.HasPrefix(lines.Text(), "data: "), lines.Text())
		require.True(t, lines.Scan(), "%v", lines.Err())
		require.Empty(t, lines.Text())
	}
	require.Contains(t, b.home(), "Clocks</a>: 1", "saved before the first byte, not when the stream ends")
	cancel()
	require.Contains(t, b.home(), "Clocks</a>: 1")
}

func stepUp(t *testing.T, s *site) {
	b, other := s.signedIn("ada"), s.signedIn("ada")
	change := url.Values{"password": {"a wholly new sentence"}}
	s.store.age.Store(int64(time.Hour))
	res, _ := b.post("/password", change)
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	require.Contains(t, res.Header.Get("WWW-Authenticate"), `error="insufficient_user_authentication"`)
	require.Contains(t, b.home(), "Hello, ada", "still signed in")

	s.store.age.Store(0)
	before := b.cookie()
	res, _ = b.post("/password", url.Values{"password": {"password"}})
	require.Equal(t, http.StatusUnprocessableEntity, res.StatusCode)
	res, body := b.post("/password", change)
	require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
	require.NotEqual(t, before, b.cookie(), "a cookie that was copied before is over")
	require.Contains(t, b.home(), "Hello, ada")
	require.Contains(t, other.home(), "Hello, visitor", "the other devices are signed out")
	res, _ = s.browser().signIn("ada", Password)
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	res, body = s.browser().signIn("ada", "a wholly new sentence")
	require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
}

func foreign(t *testing.T, s *site) {
	b := s.signedIn("ada")
	res, _ := b.send(http.MethodPost, "/cart", "https://evil.example", url.Values{"item": {"poison"}})
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	res, _ = b.send(http.MethodPost, "/logout", "https://evil.example", nil)
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	require.Contains(t, b.home(), "Hello, ada")
	require.NotContains(t, b.home(), "poison")
	_, res, err := dial(t.Context(), b.client, s.url, "https://evil.example")
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, res.StatusCode)
}

var revocable = regexp.MustCompile(`action="(/devices/[^"/]+/revoke)"`)

func (b *browser) revocables() (paths []string) {
	b.t.Helper()
	res, body := b.get("/devices")
	require.Equal(b.t, http.StatusOK, res.StatusCode, body)
	for _, m := range revocable.FindAllStringSubmatch(body, -1) {
		paths = append(paths, m[1])
	}
	return paths
}

func devices(t *testing.T, s *site) {
	old, bob := s.signedIn("ada"), s.signedIn("bob")
	lost := old.revocables()
	require.Len(t, lost, 1)
	b := s.signedIn("ada")
	require.Len(t, b.revocables(), 2)

	res, _ := bob.post(lost[0], nil)
	require.Equal(t, http.StatusNotFound, res.StatusCode, "another user's")
	require.Contains(t, old.home(), "Hello, ada")
	res, body := b.post(lost[0], nil)
	require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
	require.Len(t, b.revocables(), 1)
	require.Contains(t, b.home(), "Hello, ada")
	require.Contains(t, old.home(), "Hello, visitor")
	res, _ = old.get("/devices")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
}

func dial(ctx context.Context, client *http.Client, url, origin string) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(ctx, url+"/realtime", &websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{"Origin": {origin}}})
}

func socket(t *testing.T, s *site) {
	b := s.signedIn("ada")
	client := &http.Client{Jar: b.client.Jar} // a Timeout would be the socket's too
	Socket(t, client, s.url, func() { b.post("/logout", nil) })
}

// Socket opens a socket as client, who is signed in, talks in a room, and sees
// it closed after logout.
func Socket(t *testing.T, client *http.Client, url string, logout func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, _, err := dial(ctx, client, url, url)
	require.NoError(t, err)
	defer conn.CloseNow()
	ask := func(command, want string) {
		t.Helper()
		require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte(command)))
		for {
			_, msg, err := conn.Read(ctx)
			require.NoError(t, err)
			if strings.Contains(string(msg), want) {
				return
			}
		}
	}
	ask(`{"id":1,"connect":{}}`, `"id":1,"connect"`)
	ask(`{"id":2,"subscribe":{"channel":"room:lobby"}}`, `"id":2,"subscribe"`)
	ask(`{"id":3,"publish":{"channel":"room:lobby","data":{"text":"hi"}}}`, `"pub":`)
	logout()
	for err = nil; err == nil; {
		_, _, err = conn.Read(ctx)
	}
	require.Equal(t, websocket.StatusCode(4501), websocket.CloseStatus(err), "%v", err)
}

func failing(t *testing.T, s *site) {
	b := s.signedIn("ada")
	b.buy("tea")
	before := b.cookie()

	s.store.noLoad.Store(true)
	for _, path := range []string{"/", "/devices", "/clock"} {
		res, body := b.get(path)
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode, path)
		require.NotContains(t, body, "Hello")
		require.NotContains(t, body, errDown.Error())
	}
	s.store.noLoad.Store(false)

	// The handler has done its part when the session turns out not to be saved.
	s.store.noSave.Store(true)
	res, _ := b.post("/cart", url.Values{"item": {"milk"}})
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.Empty(t, res.Header.Get("Location"))
	res, body := b.get("/clock")
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.NotContains(t, body, "data:")
	res, _ = s.browser().signIn("bob", Password)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.Empty(t, res.Cookies())
	s.store.noSave.Store(false)

	require.Equal(t, before, b.cookie(), "nobody is signed out")
	home := b.home()
	require.Contains(t, home, "Hello, ada")
	require.Contains(t, home, "tea")
	require.NotContains(t, home, "milk")
}
