package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// shared is the store of the former sessions. It can refuse to delete.
type shared struct {
	*memstore.MemStore
	stuck atomic.Bool
}

func (s *shared) Delete(token string) error {
	if s.stuck.Load() {
		return errors.New("the store of the former sessions is down")
	}
	return s.MemStore.Delete(token)
}

// world is one site that first runs the former program, and then this one.
type world struct {
	t        *testing.T
	url      string
	site     atomic.Pointer[http.Handler]
	former   *scs.SessionManager
	store    *shared
	here     *interrupted
	sessions *session.Manager[Visit]
}

// interrupted is the store of the sessions here. Something can come in between
// just before one begins.
type interrupted struct {
	session.Store
	between func()
}

func (s *interrupted) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	if f := s.between; f != nil {
		s.between = nil
		f()
	}
	return s.Store.Create(ctx, rec, epoch)
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: &shared{MemStore: memstore.NewWithCleanupInterval(0)}, here: &interrupted{Store: session.NewMemoryStore(nil)}}
	w.former = scs.New()
	w.former.Store = w.store
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, w.former.RenewToken(r.Context()))
		w.former.Put(r.Context(), "userID", r.FormValue("user"))
		w.former.Put(r.Context(), "cart", []string{"tea"})
	})
	w.run(w.former.LoadAndSave(mux))

	var err error
	w.sessions, err = session.New[Visit](w.here, &session.Options{Cookie: session.Cookie{Insecure: true, Name: "visit"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.sessions.Close()) })
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { (*w.site.Load()).ServeHTTP(rw, r) }))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

func (w *world) run(site http.Handler) { w.site.Store(&site) }

// move replaces the former program.
func (w *world) move() { w.run(newShop(w.sessions, w.former)) }

type browser struct {
	w *world
	*http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	return &browser{w, &http.Client{Jar: jar}}
}

func (b *browser) cookies() (names []string) {
	u, err := url.Parse(b.w.url)
	require.NoError(b.w.t, err)
	for _, c := range b.Jar.Cookies(u) {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

func (b *browser) do(method, path string, form ...string) (int, string) {
	b.w.t.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	req, err := http.NewRequestWithContext(b.w.t.Context(), method, b.w.url+path, strings.NewReader(values.Encode()))
	require.NoError(b.w.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := b.Do(req)
	require.NoError(b.w.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(b.w.t, err)
	return res.StatusCode, string(text)
}

func (b *browser) signIn(user string) {
	b.w.t.Helper()
	status, text := b.do("POST", "/login", "user", user)
	require.Equal(b.w.t, 200, status, text)
}

func TestWhoWasSignedInStaysSignedIn(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("ada")
	require.Equal(t, []string{"session"}, b.cookies())
	time.Sleep(10 * time.Millisecond)
	w.move()

	status, text := b.do("GET", "/")
	require.Equal(t, 200, status, text)
	require.Contains(t, text, "Hello, ada. In your cart: tea.")
	require.Equal(t, []string{"visit"}, b.cookies(), "the former cookie is gone")
	_, text = b.do("POST", "/cart", "item", "milk")
	require.Contains(t, text, "Added milk.\nHello, ada. In your cart: tea, milk.")
	_, text = b.do("GET", "/")
	require.NotContains(t, text, "Added", "a flash message is read once")

	devices, err := w.sessions.List(context.Background(), "ada")
	require.NoError(t, err)
	require.Len(t, devices, 1)
	require.True(t, devices[0].AuthTime.Before(devices[0].Created), "when they signed in, not when they were carried over")

	status, _ = w.browser().do("GET", "/")
	require.Equal(t, 401, status, "others have to sign in")
}

// A copy of the former cookie is worth nothing once it was carried over, and
// neither sign-out leaves something to carry.
func TestASignOutIsNotUndone(t *testing.T) {
	w := newWorld(t)
	b, phone := w.browser(), w.browser()
	b.signIn("ada")
	phone.signIn("ada")
	u, err := url.Parse(w.url)
	require.NoError(t, err)
	thief := w.browser()
	thief.Jar.SetCookies(u, b.Jar.Cookies(u))
	w.move()

	status, text := b.do("POST", "/logout") // the very first request here
	require.Equal(t, 200, status, text)
	require.Empty(t, b.cookies())
	status, _ = thief.do("GET", "/")
	require.Equal(t, 401, status)

	status, _ = phone.do("GET", "/")
	require.Equal(t, 200, status, "one session ended, not the user's others")
}

func TestSignedOutEverywhereReachesWhatIsNotCarriedOverYet(t *testing.T) {
	w := newWorld(t)
	b, phone := w.browser(), w.browser()
	b.signIn("ada")
	phone.signIn("ada")
	w.move()
	status, text := b.do("POST", "/logout-everywhere")
	require.Equal(t, 200, status, text)
	for name, x := range map[string]*browser{"this one": b, "the phone": phone} {
		status, _ := x.do("GET", "/")
		require.Equal(t, 401, status, name)
	}
}

// The phone shows its former session, which is good, and before it is carried
// over the user signs out everywhere.
func TestSignedOutEverywhereWhileOneIsCarriedOver(t *testing.T) {
	w := newWorld(t)
	b, phone := w.browser(), w.browser()
	b.signIn("ada")
	phone.signIn("ada")
	time.Sleep(10 * time.Millisecond)
	w.move()
	status, _ := b.do("GET", "/")
	require.Equal(t, 200, status)
	w.here.between = func() {
		status, text := b.do("POST", "/logout-everywhere")
		require.Equal(t, 200, status, text)
	}
	status, _ = phone.do("GET", "/")
	require.Equal(t, 503, status)
	devices, err := w.sessions.List(context.Background(), "ada")
	require.NoError(t, err)
	require.Empty(t, devices)
	status, _ = phone.do("GET", "/")
	require.Equal(t, 401, status)
	require.Empty(t, phone.cookies())
}

// While the former sessions can't be ended, nobody has two that live.
func TestNothingIsHalfCarriedOver(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("ada")
	w.move()
	w.store.stuck.Store(true)
	status, text := b.do("GET", "/")
	require.Equal(t, 503, status, text)
	require.Equal(t, []string{"session"}, b.cookies())
	devices, err := w.sessions.List(context.Background(), "ada")
	require.NoError(t, err)
	require.Empty(t, devices)

	w.store.stuck.Store(false)
	status, text = b.do("GET", "/")
	require.Equal(t, 200, status, text)
	require.Contains(t, text, "In your cart: tea.")
}
