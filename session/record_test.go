package session_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

func TestS9_DumpCannotSignIn(t *testing.T) {
	store := session.NewMemoryStore(nil)
	m := newManager(t, store, session.Options{})
	b := newBrowser(m)
	b.login(t, "u1")
	token, _, err := m.BeginToken(t.Context(), session.Start{UserID: "u1"})
	require.NoError(t, err)
	next, _, err := m.Refresh(t.Context(), token.Reveal())
	require.NoError(t, err)

	dump, err := store.ListUser(t.Context(), "u1")
	require.NoError(t, err)
	require.Len(t, dump, 2)
	text, err := json.Marshal(dump)
	require.NoError(t, err)
	raw := fmt.Sprintf("%s %#v", text, dump)
	secrets := []string{b.cookie()}
	for _, t := range []session.RefreshToken{token, next} {
		secrets = append(secrets, strings.Split(t.Reveal(), ".")...)
	}
	for _, secret := range secrets {
		require.NotContains(t, raw, secret)
		plain, err := base64.RawURLEncoding.DecodeString(secret)
		require.NoError(t, err)
		require.NotContains(t, raw, hex.EncodeToString(plain))
		for _, rec := range dump {
			require.NotContains(t, string(rec.Refresh.Successor), string(plain))
		}
	}
	for _, rec := range dump {
		key := base64.RawURLEncoding.EncodeToString(rec.Key[:])
		sum := base64.RawURLEncoding.EncodeToString(rec.Refresh.Secret[:])
		short := base64.RawURLEncoding.EncodeToString(rec.Key[:16])
		for _, try := range []string{key, rec.ID, sum, hex.EncodeToString(rec.Key[:])} {
			_, err := b.with(try).who()
			require.ErrorIs(t, err, session.ErrInvalid)
		}
		for _, try := range []string{key + "." + sum, short + "." + sum, rec.ID, rec.ID + "." + sum, key} {
			_, _, err := m.Refresh(t.Context(), try)
			require.ErrorIs(t, err, session.ErrRefreshInvalid)
			require.NoError(t, m.EndByRefresh(t.Context(), try))
		}
		alive, err := m.Alive(t.Context(), rec.ID)
		require.NoError(t, err)
		require.True(t, alive, "and knowing the id ends nothing")
	}
}

func TestS18_UndecodableRecord(t *testing.T) {
	store := session.NewMemoryStore(nil)
	var events []session.Event
	m := newManager(t, store, session.Options{Events: func(_ context.Context, e session.Event) { events = append(events, e) }})
	for _, stored := range []string{"\x01{", "\x01\"a string\"", "\x02{}", "gob?", "\x01{\"n\":\"x\"}"} {
		b := newBrowser(m)
		id := b.login(t, "u1").ID()
		rec, found, err := store.ByID(t.Context(), id)
		require.NoError(t, err)
		require.True(t, found)
		rec.Data = []byte(stored)
		require.NoError(t, store.Replace(t.Context(), rec.Key, rec, rec.Rev))

		events = nil
		_, err = b.who()
		require.ErrorIs(t, err, session.ErrInvalid)
		require.Len(t, events, 1)
		require.Equal(t, session.EventUndecodable, events[0].Kind)
		require.Equal(t, id, events[0].SessionID)
		require.Error(t, events[0].Err)
		resp := b.do(func(w http.ResponseWriter, r *http.Request) {
			s, err := m.Get(r.Context())
			require.NoError(t, err)
			require.Empty(t, s.UserID(), "its restrictions may be in the data")
			require.NoError(t, m.Update(r.Context(), increment))
		})
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, "u1", b.login(t, "u1").UserID())
	}
}

func TestS19_SizeCaps(t *testing.T) {
	m := newManager(t, nil, session.Options{MaxData: 100})
	b := newBrowser(m)
	b.do(func(w http.ResponseWriter, r *http.Request) {
		big := func(d *data) error { d.Cart = []string{strings.Repeat("x", 100)}; return nil }
		require.ErrorIs(t, m.Update(r.Context(), big), session.ErrTooLarge)
		s, err := m.Get(r.Context())
		require.NoError(t, err)
		require.Empty(t, s.Data().Cart)
		s, err = m.Begin(w, r, session.Start{UserID: "u1", UserAgent: strings.Repeat("ü", 5000), IP: strings.Repeat("1", 5000)})
		require.NoError(t, err)
		require.LessOrEqual(t, len(s.Info().UserAgent), 512)
		require.LessOrEqual(t, len(s.Info().IP), 64)
		_, err = m.Begin(w, r, session.Start{UserID: strings.Repeat("u", 256)})
		require.Error(t, err)
	})
	require.LessOrEqual(t, len(b.cookie()), 43)
}

func TestS21_CancelledRequestSignsOut(t *testing.T) {
	store := newFaulty() // refuses a cancelled context, as a database driver does
	m := newManager(t, store, session.Options{})
	for name, logout := range map[string]func(b *browser, r *http.Request){
		"inside": func(b *browser, r *http.Request) {
			b.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := m.Authenticate(r)
				require.Error(t, err)
				require.NoError(t, m.Logout(w, r))
			})).ServeHTTP(httptest.NewRecorder(), r)
		},
		"outside": func(_ *browser, r *http.Request) { require.NoError(t, m.Logout(httptest.NewRecorder(), r)) },
	} {
		t.Run("S21 "+name, func(t *testing.T) {
			b := newBrowser(m)
			id := b.login(t, "u1").ID()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			logout(b, b.request().WithContext(ctx))
			alive, err := m.Alive(t.Context(), id)
			require.NoError(t, err)
			require.False(t, alive)
		})
	}
	t.Run("S21 revocation", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		one, other := newBrowser(m), newBrowser(m)
		id := one.login(t, "u2").ID()
		other.login(t, "u2")
		ended, err := m.Revoke(ctx, "u2", id, session.ReasonRevoked)
		require.NoError(t, err)
		require.True(t, ended)
		n, err := m.RevokeUser(ctx, "u2", session.ReasonPasswordChanged)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		for _, b := range []*browser{one, other} {
			_, err := b.who()
			require.ErrorIs(t, err, session.ErrInvalid)
		}
	})
	t.Run("S21 a hanging store is not waited for for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, hanging{session.NewMemoryStore(nil)}, session.Options{})
			b := newBrowser(m)
			b.login(t, "u1")
			start := time.Now()
			require.ErrorIs(t, m.Logout(httptest.NewRecorder(), b.request()), context.DeadlineExceeded)
			require.LessOrEqual(t, time.Since(start), 10*time.Second)
		})
	})
	t.Run("S21 what the request wrote is saved", func(t *testing.T) {
		b := newBrowser(m)
		b.login(t, "u1")
		ctx, cancel := context.WithCancel(t.Context())
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, m.Update(r.Context(), increment))
			cancel()
		})).ServeHTTP(httptest.NewRecorder(), b.request().WithContext(ctx))
		s, err := b.who()
		require.NoError(t, err)
		require.Equal(t, 1, s.Data().N)
	})
}

// hanging is a store whose End hangs until its context ends.
type hanging struct{ session.Store }

func (hanging) End(ctx context.Context, _ string, _ session.Reason, _ time.Time) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func TestS23_MaxPerUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, nil, session.Options{MaxPerUser: 3})
		var browsers []*browser
		for range 3 {
			b := newBrowser(m)
			b.login(t, "u1")
			browsers = append(browsers, b)
			time.Sleep(2 * time.Minute)
		}
		_, err := browsers[0].who() // used again, so the second is the longest unused
		require.NoError(t, err)
		var reasons []string
		m.OnEnd(func(_, _, reason string) { reasons = append(reasons, reason) })
		_, _, err = m.BeginToken(t.Context(), session.Start{UserID: "u1"})
		require.NoError(t, err)
		require.Equal(t, []string{string(session.ReasonEvicted)}, reasons)
		_, err = browsers[1].who()
		require.ErrorIs(t, err, session.ErrInvalid)
		_, err = browsers[0].who()
		require.NoError(t, err)
		list, err := m.List(t.Context(), "u1")
		require.NoError(t, err)
		require.Len(t, list, 3)
	})
}

// What is over, and only not removed yet, is no device: nobody is signed out for it.
func TestS23_WhatIsOverCountsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemoryStore(nil)
		m := newManager(t, store, session.Options{MaxPerUser: 2, ReapEvery: -1})
		short := newManager(t, store, session.Options{MaxPerUser: 2, ReapEvery: -1, Idle: time.Minute})
		one, over, other := newBrowser(m), newBrowser(short), newBrowser(m)
		one.login(t, "u1")
		time.Sleep(time.Second)
		over.login(t, "u1") // used later than the first, and over sooner
		time.Sleep(2 * time.Minute)
		other.login(t, "u1")
		_, err := one.who()
		require.NoError(t, err)
		_, err = other.who()
		require.NoError(t, err)

		newBrowser(m).login(t, "u1")
		list, err := m.List(t.Context(), "u1")
		require.NoError(t, err)
		require.Len(t, list, 2, "they are still counted")
	})
}

// hurried is a store whose caller goes away when it is asked for a list.
type hurried struct {
	session.Store
	leave context.CancelFunc
}

func (s hurried) ListUser(ctx context.Context, userID string) ([]session.Record, error) {
	s.leave()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.Store.ListUser(ctx, userID)
}

// Who closes their half of the connection still gets the cookie.
func TestS23_WhoGoesAwayIsBoundedToo(t *testing.T) {
	store := session.NewMemoryStore(nil)
	m := newManager(t, store, session.Options{MaxPerUser: 1})
	ctx, leave := context.WithCancel(t.Context())
	hasty := newManager(t, hurried{store, leave}, session.Options{MaxPerUser: 1})
	newBrowser(m).login(t, "u1")
	w := httptest.NewRecorder()
	require.NoError(t, hasty.Login(w, httptest.NewRequest("POST", "/", nil).WithContext(ctx), "u1"))
	list, err := m.List(t.Context(), "u1")
	require.NoError(t, err)
	require.Len(t, list, 1)

	ctx, leave = context.WithCancel(t.Context())
	hasty = newManager(t, hurried{store, leave}, session.Options{MaxPerUser: 1})
	_, _, err = hasty.BeginToken(ctx, session.Start{UserID: "u1"})
	require.NoError(t, err)
	list, err = m.List(t.Context(), "u1")
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// slowList is a store in which all sign-ins have begun before one counts them,
// and all have counted before one ends others.
type slowList struct{ session.Store }

func (s slowList) ListUser(ctx context.Context, userID string) ([]session.Record, error) {
	time.Sleep(time.Second)
	recs, err := s.Store.ListUser(ctx, userID)
	time.Sleep(time.Second)
	return recs, err
}

func TestS23_SignInsAtOnceDontEndEachOther(t *testing.T) {
	signIn := func(t *testing.T, apart time.Duration) (last *browser) {
		m := newManager(t, slowList{session.NewMemoryStore(nil)}, session.Options{MaxPerUser: 1})
		var wg sync.WaitGroup
		for range 3 {
			b := newBrowser(m)
			wg.Go(func() { b.login(t, "u1") })
			time.Sleep(apart)
			last = b
		}
		wg.Wait()
		list, err := m.List(t.Context(), "u1")
		require.NoError(t, err)
		require.Len(t, list, 1)
		return last
	}
	synctest.Test(t, func(t *testing.T) {
		_, err := signIn(t, 10*time.Millisecond).who()
		require.NoError(t, err, "the last one to sign in stays")
		signIn(t, 0) // one of them stays
	})
}

func TestS27_AnonymousVisitorsWriteNoRow(t *testing.T) {
	store := newFaulty()
	m := newManager(t, store, session.Options{})
	b := newBrowser(m)
	resp := b.do(func(w http.ResponseWriter, r *http.Request) {
		s, err := m.Get(r.Context())
		require.NoError(t, err)
		require.Empty(t, s.ID())
		require.Empty(t, s.Kind())
		_, err = m.Authenticate(r)
		require.ErrorIs(t, err, session.ErrNoSession)
		require.Equal(t, "none", authError(err))
		require.NoError(t, m.Update(r.Context(), func(*data) error { return nil }))
		require.ErrorIs(t, m.Update(r.Context(), func(d *data) error { d.N = 7; return errDown }), errDown)
		require.NoError(t, m.Logout(w, r))
	})
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Zero(t, store.count("Create"))
	require.Zero(t, store.count("Load"))
	require.Empty(t, b.cookie())

	b.update(t, increment)
	require.Equal(t, 1, store.count("Create"), "with data there is one")
	_, err := b.who()
	require.ErrorIs(t, err, session.ErrNoSession, "which is nobody's")
	require.Equal(t, "none", authError(err))
}

func TestS28_TokenEntropy(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	seen := make(map[string]bool)
	for range 50 {
		b := newBrowser(m)
		id := b.login(t, "u1").ID()
		raw, err := base64.RawURLEncoding.DecodeString(b.cookie())
		require.NoError(t, err)
		require.Len(t, raw, 32)
		require.GreaterOrEqual(t, len(id), 26, "base32 of 128 bits or more")
		token, _, err := m.BeginToken(t.Context(), session.Start{UserID: "u1"})
		require.NoError(t, err)
		locator, secret, ok := strings.Cut(token.Reveal(), ".")
		require.True(t, ok)
		require.Len(t, locator, 22)
		require.Len(t, secret, 43)
		for _, s := range []string{id, b.cookie(), locator, secret} {
			require.False(t, seen[s])
			seen[s] = true
		}
	}
}

func TestS29_NoOpenEndedTypes(t *testing.T) {
	var walk func(t reflect.Type) string
	walk = func(typ reflect.Type) string {
		switch typ.Kind() {
		case reflect.Interface, reflect.Func, reflect.Chan, reflect.Map, reflect.Pointer, reflect.UnsafePointer:
			return typ.String()
		case reflect.Slice, reflect.Array:
			return walk(typ.Elem())
		case reflect.Struct:
			if typ == reflect.TypeFor[time.Time]() {
				return ""
			}
			for i := range typ.NumField() {
				if bad := walk(typ.Field(i).Type); bad != "" {
					return typ.Field(i).Name + " " + bad
				}
			}
		}
		return ""
	}
	require.Empty(t, walk(reflect.TypeFor[session.Record]()))
	require.Empty(t, walk(reflect.TypeFor[session.Ended]()))

	store := session.NewMemoryStore(nil)
	m := newManager(t, store, session.Options{})
	b := newBrowser(m)
	id := b.login(t, "u1").ID()
	b.update(t, increment)
	rec, _, err := store.ByID(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "\x01{\"n\":1}", string(rec.Data), "a version byte and JSON")
}

func TestS30_YourDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, nil, session.Options{})
		b := newBrowser(m)
		begun := time.Now()
		var first string
		b.do(func(w http.ResponseWriter, r *http.Request) {
			s, err := m.Begin(w, r, session.Start{UserID: "u1", UserAgent: "Fire\x00fox\n\xff", IP: "192.0.2.7"})
			require.NoError(t, err)
			first = s.ID()
		})
		time.Sleep(5 * time.Minute)
		_, err := b.who()
		require.NoError(t, err)
		token, s, err := m.BeginToken(t.Context(), session.Start{UserID: "u1", UserAgent: "cli"})
		require.NoError(t, err)

		list, err := m.List(t.Context(), "u1")
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, s.ID(), list[0].ID)
		require.Equal(t, session.KindToken, list[0].Kind)
		device := list[1]
		require.Equal(t, first, device.ID)
		require.Equal(t, session.KindCookie, device.Kind)
		require.Equal(t, "Firefox", device.UserAgent)
		require.Equal(t, "192.0.2.7", device.IP)
		require.Equal(t, begun.UTC(), device.Created)
		require.Equal(t, begun.Add(5*time.Minute).UTC(), device.Seen)
		text := fmt.Sprintf("%+v", list)
		require.NotContains(t, text, b.cookie())
		require.NotContains(t, text, token.Reveal())
		_, err = m.List(t.Context(), "")
		require.Error(t, err)
	})
	t.Run("S30 Login takes them from the request", func(t *testing.T) {
		m := newManager(t, nil, session.Options{})
		b := newBrowser(m)
		b.do(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("User-Agent", "Firefox")
			require.NoError(t, m.Login(w, r, "u1"))
		})
		list, err := m.List(t.Context(), "u1")
		require.NoError(t, err)
		require.Equal(t, "Firefox", list[0].UserAgent)
		require.Equal(t, "192.0.2.1", list[0].IP)
	})
}

// TestSubject: a session has the shape that other packages take.
func TestSubject(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	b := newBrowser(m)
	b.do(func(w http.ResponseWriter, r *http.Request) {
		scopes := []string{"read"}
		_, err := m.Begin(w, r, session.Start{UserID: "u1", Scopes: scopes, Roles: []string{"admin"}, Origin: session.Origin{Issuer: "i", Subject: "s", SID: "1"}})
		require.NoError(t, err)
		scopes[0] = "changed"
	})
	s, err := b.who()
	require.NoError(t, err)
	var subject interface {
		UserID() string
		SessionID() string
		AuthTime() time.Time
		ExpiresAt() time.Time
		Grants() (scopes, roles []string)
	} = s
	require.Equal(t, "u1", subject.UserID())
	require.Equal(t, s.ID(), subject.SessionID())
	require.WithinDuration(t, time.Now(), subject.AuthTime(), time.Second)
	scopes, roles := subject.Grants()
	require.Equal(t, []string{"read"}, scopes)
	require.Equal(t, []string{"admin"}, roles)
	scopes[0] = "write"
	scopes, _ = subject.Grants()
	require.Equal(t, []string{"read"}, scopes)
	require.Equal(t, session.Origin{Issuer: "i", Subject: "s", SID: "1"}, s.Origin())
}
