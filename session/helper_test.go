package session_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// TestMain fails the run when a goroutine of the package outlives its tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if stacks := leaked(); code == 0 && stacks != "" {
		_, _ = io.WriteString(os.Stderr, "goroutines left behind:\n"+stacks+"\n")
		code = 1
	}
	os.Exit(code)
}

func leaked() (found string) {
	for range 50 {
		buf := make([]byte, 1<<20)
		found = ""
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "gatewire/session.") && !strings.Contains(stack, "TestMain") {
				found += stack + "\n\n"
			}
		}
		if found == "" {
			return ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	return found
}

type data struct {
	N    int               `json:"n,omitempty"`
	Cart []string          `json:"cart,omitempty"`
	More map[string]string `json:"more,omitempty"`
}

type manager = session.Manager[data]

func newManager(t *testing.T, store session.Store, o session.Options) *manager {
	t.Helper()
	if store == nil {
		store = session.NewMemoryStore(nil)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := session.New[data](store, &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// browser keeps the cookies it is given, by name.
type browser struct {
	m       *manager
	cookies map[string]string
}

func newBrowser(m *manager) *browser { return &browser{m: m, cookies: make(map[string]string)} }

func (b *browser) request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

func (b *browser) keep(resp *http.Response) {
	for _, c := range resp.Cookies() {
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
}

// do runs one request through Handler.
func (b *browser) do(h http.HandlerFunc) *http.Response {
	w := httptest.NewRecorder()
	b.m.Handler(h).ServeHTTP(w, b.request())
	resp := w.Result()
	b.keep(resp)
	return resp
}

func (b *browser) login(t *testing.T, userID string) *session.Session[data] {
	t.Helper()
	var s *session.Session[data]
	b.do(func(w http.ResponseWriter, r *http.Request) {
		var err error
		s, err = b.m.Begin(w, r, session.Start{UserID: userID})
		require.NoError(t, err)
	})
	return s
}

func (b *browser) update(t *testing.T, f func(*data) error) *http.Response {
	t.Helper()
	return b.do(func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, b.m.Update(r.Context(), f))
	})
}

// who authenticates without the middleware.
func (b *browser) who() (*session.Session[data], error) { return b.m.Authenticate(b.request()) }

func (b *browser) cookie() string { return b.cookies[cookieName] }

// with is another browser that holds the given session cookie.
func (b *browser) with(value string) *browser {
	other := newBrowser(b.m)
	other.cookies[cookieName] = value
	return other
}

const cookieName = "__Host-session"

func increment(d *data) error { d.N++; return nil }

func authError(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(interface{ AuthError() string }); ok {
			return e.AuthError()
		}
	}
	return "?"
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

var errDown = errors.New("store is down")

// faulty is a store that can be made to fail, and that counts its calls.
type faulty struct {
	session.Store
	mu    sync.Mutex
	down  map[string]bool // by method, "" for all
	calls map[string]int

	before func(context.Context) // when set, called before every step
}

func newFaulty() *faulty {
	return &faulty{Store: session.NewMemoryStore(nil), down: make(map[string]bool), calls: make(map[string]int)}
}

func (f *faulty) set(method string, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[method] = down
}

func (f *faulty) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *faulty) call(ctx context.Context, method string) error {
	if f.before != nil {
		f.before(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	if f.down[method] || f.down[""] {
		return errDown
	}
	return ctx.Err()
}

func (f *faulty) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	if err := f.call(ctx, "Create"); err != nil {
		return err
	}
	return f.Store.Create(ctx, rec, epoch)
}

func (f *faulty) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	if err := f.call(ctx, "Load"); err != nil {
		return session.Record{}, false, err
	}
	return f.Store.Load(ctx, key)
}

func (f *faulty) ByID(ctx context.Context, id string) (session.Record, bool, error) {
	if err := f.call(ctx, "ByID"); err != nil {
		return session.Record{}, false, err
	}
	return f.Store.ByID(ctx, id)
}

func (f *faulty) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	if err := f.call(ctx, "Replace"); err != nil {
		return err
	}
	return f.Store.Replace(ctx, old, rec, ifRev)
}

func (f *faulty) Touch(ctx context.Context, key session.Key, seen, idle time.Time) error {
	if err := f.call(ctx, "Touch"); err != nil {
		return err
	}
	return f.Store.Touch(ctx, key, seen, idle)
}

func (f *faulty) End(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
	if err := f.call(ctx, "End"); err != nil {
		return false, err
	}
	return f.Store.End(ctx, id, reason, at)
}

func tlsClient(srv *httptest.Server, conn net.Conn) *tls.Conn {
	config := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName, config.NextProtos = "example.com", []string{"http/1.1"}
	return tls.Client(conn, config)
}
