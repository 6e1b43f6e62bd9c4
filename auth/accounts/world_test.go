package accounts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/internal/seal"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

const goodPassword = "correct horse battery staple"

var errDown = errors.New("connection refused to 10.0.0.7:5432")

// world is a running account system with memory stores.
type world struct {
	t        *testing.T
	base     string
	mux      *http.ServeMux // further routes of the host
	service  *accounts.Service
	users    *userStore
	store    *sessionStore
	sessions *session.Manager[struct{}]
	verifier *jwt.Verifier[jwt.AccessClaims]
	logged   *logBuffer

	mu     sync.Mutex
	events []accounts.Event
}

type worldOptions struct {
	accounts.Options
	password password.Options
	wrapped  bool // session.Manager.Handler around
}

func newWorld(t *testing.T, change ...func(*worldOptions)) *world {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	w := &world{t: t, base: "http://" + srv.Listener.Addr().String(), mux: http.NewServeMux(), logged: &logBuffer{}}
	log := slog.New(slog.NewJSONHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	// The tests' own address is a trusted proxy, so that they can be anywhere.
	o := worldOptions{Options: accounts.Options{
		Logger: log, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Events: func(_ context.Context, e accounts.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	}}
	o.password.MaxWait = time.Minute // the machine may be busy with other tests
	for _, f := range change {
		f(&o)
	}
	w.users = &userStore{Store: accounts.NewMemoryStore()}
	w.store = &sessionStore{Store: session.NewMemoryStore(nil)}
	var err error
	w.sessions, err = session.New[struct{}](w.store, &session.Options{
		Cookie: session.Cookie{Insecure: true}, Logger: log, TrustedOrigins: []string{w.base},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.sessions.Close() })
	hasher, err := password.New(&o.password)
	require.NoError(t, err)
	keys, _, err := seal.Generate("test")
	require.NoError(t, err)
	ring, err := jwt.NewRing(jwt.NewMemoryKeyStore(), keys, &jwt.RingOptions{Logger: log})
	require.NoError(t, err)
	w.verifier, err = jwt.NewVerifier[jwt.AccessClaims](jwt.AccessToken(w.base, w.base), ring, nil)
	require.NoError(t, err)
	w.service, err = accounts.New(w.sessions, accounts.Config{BaseURL: w.base, Users: w.users, Passwords: hasher, Ring: ring}, &o.Options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.service.Close() })
	w.service.Mount(w.mux)
	srv.Config.Handler = w.mux
	if o.wrapped {
		srv.Config.Handler = w.sessions.Handler(w.mux)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return w
}

// kinds are those of the events so far.
func (w *world) kinds() (kinds []accounts.EventKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// browser is a client with cookies, at an address of its own.
type browser struct {
	w      *world
	ip     string // empty: 127.0.0.1
	client *http.Client
}

func (w *world) browser(ip ...string) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	b := &browser{w: w, client: &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	b.ip = strings.Join(ip, "")
	return b
}

type answer struct {
	*http.Response
	body string
}

// json decodes the body into a map.
func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &m), a.body)
	return m
}

func (a answer) problem(t *testing.T) string {
	t.Helper()
	require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"), a.body)
	m := a.json(t)
	require.EqualValues(t, a.StatusCode, m["status"])
	return m["type"].(string)
}

// do sends a request. A body that is a url.Values goes as a form, a string as
// JSON as it is, and everything else is encoded as JSON.
func (b *browser) do(method, path string, body any, header ...string) answer {
	b.w.t.Helper()
	a, err := b.try(method, path, body, header...)
	require.NoError(b.w.t, err)
	return a
}

func (b *browser) try(method, path string, body any, header ...string) (answer, error) {
	var text, media string
	switch body := body.(type) {
	case nil:
	case url.Values:
		text, media = body.Encode(), "application/x-www-form-urlencoded"
	case string:
		text, media = body, "application/json"
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		text, media = string(encoded), "application/json"
	}
	target := path
	if strings.HasPrefix(path, "/") {
		target = b.w.base + path
	}
	r, err := http.NewRequest(method, target, strings.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	if b.ip != "" {
		r.Header.Set("X-Forwarded-For", b.ip)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	read, err := io.ReadAll(res.Body)
	return answer{res, string(read)}, err
}

type object = map[string]string

func (b *browser) register(email string) answer {
	b.w.t.Helper()
	a := b.do("POST", "/auth/register", object{"email": email, "password": goodPassword, "name": "Al"})
	require.Equal(b.w.t, 201, a.StatusCode, a.body)
	return a
}

func (b *browser) login(email, pw string) answer {
	b.w.t.Helper()
	return b.do("POST", "/auth/login", object{"email": email, "password": pw})
}

// tokens signs in without a cookie.
func (b *browser) tokens(email string) (access, refresh string) {
	b.w.t.Helper()
	a := b.do("POST", "/auth/login", object{"email": email, "password": goodPassword, "mode": "token"})
	require.Equal(b.w.t, 200, a.StatusCode, a.body)
	m := a.json(b.w.t)
	return m["access_token"].(string), m["refresh_token"].(string)
}

func (b *browser) me(header ...string) answer {
	b.w.t.Helper()
	return b.do("GET", "/auth/me", nil, header...)
}

func (b *browser) cookie() *http.Cookie {
	b.w.t.Helper()
	u, err := url.Parse(b.w.base)
	require.NoError(b.w.t, err)
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == "session" {
			return c
		}
	}
	return nil
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// userStore can be down, and can be watched.
type userStore struct {
	accounts.Store
	down     atomic.Bool
	onByID   func()                            // called after UserByID has read
	onGrants func()                            // called after SetGrants has stored
	onOwed   func() error                      // called after SetPassword has stored what is owed
	onSwap   func(next *accounts.Ending) error // called before SwapEnding

	nobodyOwes atomic.Bool // to those who repeat
}

func (s *userStore) fault() error {
	if s.down.Load() {
		return errDown
	}
	return nil
}

func (s *userStore) CreateUser(ctx context.Context, u accounts.User, id *accounts.ExternalIdentity) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.CreateUser(ctx, u, id)
}

func (s *userStore) UserByID(ctx context.Context, id string) (accounts.User, bool, error) {
	if err := s.fault(); err != nil {
		return accounts.User{}, false, err
	}
	u, found, err := s.Store.UserByID(ctx, id)
	if f := s.onByID; f != nil {
		f()
	}
	return u, found, err
}

func (s *userStore) UserByEmail(ctx context.Context, email string) (accounts.User, bool, error) {
	if err := s.fault(); err != nil {
		return accounts.User{}, false, err
	}
	return s.Store.UserByEmail(ctx, email)
}

func (s *userStore) UserByIdentity(ctx context.Context, issuer, subject string) (accounts.User, bool, error) {
	if err := s.fault(); err != nil {
		return accounts.User{}, false, err
	}
	return s.Store.UserByIdentity(ctx, issuer, subject)
}

func (s *userStore) SetGrants(ctx context.Context, id string, scopes, roles []string) error {
	if err := s.fault(); err != nil {
		return err
	}
	err := s.Store.SetGrants(ctx, id, scopes, roles)
	if f := s.onGrants; f != nil {
		f()
	}
	return err
}

func (s *userStore) SetPassword(ctx context.Context, id string, old, new password.Hash, owed *accounts.Ending) error {
	if err := s.fault(); err != nil {
		return err
	}
	if err := s.Store.SetPassword(ctx, id, old, new, owed); err != nil || owed == nil {
		return err
	}
	if f := s.onOwed; f != nil {
		return f()
	}
	return nil
}

func (s *userStore) SwapEnding(ctx context.Context, id, mark string, next *accounts.Ending) error {
	if f := s.onSwap; f != nil {
		if err := f(next); err != nil {
			return err
		}
	}
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.SwapEnding(ctx, id, mark, next)
}

func (s *userStore) Owing(ctx context.Context, at time.Time, limit int) ([]accounts.User, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	if s.nobodyOwes.Load() {
		return nil, nil
	}
	return s.Store.Owing(ctx, at, limit)
}

// sessionStore can be down, and counts renewals.
type sessionStore struct {
	session.Store
	down        atomic.Bool
	replaced    atomic.Int64
	noReplace   atomic.Bool
	epochs      atomic.Int64 // calls of Epoch
	onCreate    func()       // called after Create
	onEndUserAt func()       // called before EndUserAt
}

func (s *sessionStore) fault() error {
	if s.down.Load() {
		return errDown
	}
	return nil
}

func (s *sessionStore) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	if err := s.fault(); err != nil {
		return err
	}
	err := s.Store.Create(ctx, rec, epoch)
	if f := s.onCreate; f != nil {
		f()
	}
	return err
}

func (s *sessionStore) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	if err := s.fault(); err != nil {
		return session.Record{}, false, err
	}
	return s.Store.Load(ctx, key)
}

func (s *sessionStore) ByID(ctx context.Context, id string) (session.Record, bool, error) {
	if err := s.fault(); err != nil {
		return session.Record{}, false, err
	}
	return s.Store.ByID(ctx, id)
}

func (s *sessionStore) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	if err := s.fault(); err != nil {
		return err
	}
	if s.noReplace.Load() {
		return errDown
	}
	s.replaced.Add(1)
	return s.Store.Replace(ctx, old, rec, ifRev)
}

func (s *sessionStore) End(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
	if err := s.fault(); err != nil {
		return false, err
	}
	return s.Store.End(ctx, id, reason, at)
}

func (s *sessionStore) EndUser(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	return s.Store.EndUser(ctx, userID, exceptID, reason, at)
}

func (s *sessionStore) EndUserAt(ctx context.Context, userID, exceptID string, epoch uint64, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if f := s.onEndUserAt; f != nil {
		f()
	}
	if err := s.fault(); err != nil {
		return nil, err
	}
	return s.Store.EndUserAt(ctx, userID, exceptID, epoch, reason, at)
}

func (s *sessionStore) EndOrigin(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	return s.Store.EndOrigin(ctx, o, reason, at)
}

func (s *sessionStore) ListUser(ctx context.Context, userID string) ([]session.Record, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	return s.Store.ListUser(ctx, userID)
}

func (s *sessionStore) Epoch(ctx context.Context, userID string) (uint64, error) {
	s.epochs.Add(1)
	if err := s.fault(); err != nil {
		return 0, err
	}
	return s.Store.Epoch(ctx, userID)
}
