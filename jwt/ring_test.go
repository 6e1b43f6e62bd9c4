package jwt_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/jwt"
)

const (
	issuer   = "https://issuer.example"
	audience = "https://api.example"
)

var profile = jwt.AccessToken(issuer, audience)

func sealing(t testing.TB) jwt.SealingKeys {
	t.Helper()
	ks, _, err := jwt.GenerateSealingKeys("test")
	require.NoError(t, err)
	return ks
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newRing(t testing.TB, store jwt.KeyStore, ks jwt.SealingKeys, o jwt.RingOptions) *jwt.Ring {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet()
	}
	r, err := jwt.NewRing(store, ks, &o)
	require.NoError(t, err)
	return r
}

// node is one process: a ring with its issuer and verifier.
type node struct {
	ring     *jwt.Ring
	issuer   *jwt.Issuer
	verifier *jwt.Verifier[jwt.AccessClaims]
}

func newNode(t testing.TB, store jwt.KeyStore, ks jwt.SealingKeys, o jwt.RingOptions) node {
	t.Helper()
	n := node{ring: newRing(t, store, ks, o)}
	var err error
	n.issuer, err = jwt.NewIssuer(profile, n.ring, 0)
	require.NoError(t, err)
	n.verifier, err = jwt.NewVerifier[jwt.AccessClaims](profile, n.ring, nil)
	require.NoError(t, err)
	return n
}

func (n node) issue(t testing.TB) string {
	t.Helper()
	raw, _, err := n.issuer.Issue(context.Background(), jwt.AccessClaims{Subject: "u1", ClientID: "app"})
	require.NoError(t, err)
	return raw
}

func (n node) verify(raw string) error {
	_, err := n.verifier.Verify(context.Background(), raw)
	return err
}

// flaky is a store that counts and can be told to fail or hang.
type flaky struct {
	jwt.KeyStore
	reads, writes atomic.Int32
	down, readOnly,
	hang atomic.Bool
}

var errDown = errors.New("store is down\nlevel=ERROR forged")

func (f *flaky) Keys(ctx context.Context) ([]jwt.StoredKey, error) {
	f.reads.Add(1)
	if f.hang.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.down.Load() {
		return nil, errDown
	}
	return f.KeyStore.Keys(ctx)
}

func (f *flaky) AddKey(ctx context.Context, k jwt.StoredKey, newest string) error {
	f.writes.Add(1)
	if f.down.Load() || f.readOnly.Load() {
		return errDown
	}
	return f.KeyStore.AddKey(ctx, k, newest)
}

func stored(t testing.TB, s jwt.KeyStore) []jwt.StoredKey {
	t.Helper()
	keys, err := s.Keys(context.Background())
	require.NoError(t, err)
	return keys
}

// Time in these tests is synctest's. A bubble also fails when a goroutine
// is left behind, so each of them is a leak check.

func TestJ12_RotationByTheClock(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA"} {
		synctest.Test(t, func(t *testing.T) {
			store, ks := jwt.NewMemoryKeyStore(), sealing(t)
			o := jwt.RingOptions{Algorithm: alg, Rotate: 3 * 24 * time.Hour}
			a, b := newNode(t, store, ks, o), newNode(t, store, ks, o)
			// A verifier elsewhere caches the JWKS for its max-age and does not
			// fetch again for an unknown kid.
			var remote *jwt.Verifier[jwt.AccessClaims]
			var fetched time.Time
			begin := time.Now()
			seen := map[string]bool{}
			var before string
			for round := 0; time.Since(begin) < 7*24*time.Hour; round++ {
				raw := a.issue(t)
				if time.Since(fetched) > 15*time.Minute || remote == nil {
					set, err := b.ring.JWKS(t.Context())
					require.NoError(t, err)
					keys, err := jwt.ParseJWKS(set)
					require.NoError(t, err)
					source, err := jwt.StaticKeys(keys...)
					require.NoError(t, err)
					remote, err = jwt.NewVerifier[jwt.AccessClaims](profile, source, nil)
					require.NoError(t, err)
					fetched = time.Now()
				}
				require.NoError(t, b.verify(raw), "at %v", time.Since(begin))
				_, err := remote.Verify(t.Context(), raw)
				require.NoError(t, err, "at %v", time.Since(begin))
				if before != "" {
					require.NoError(t, a.verify(before), "a token of 4 minutes ago, at %v", time.Since(begin))
				}
				seen[kid(t, raw)] = true
				before = raw
				time.Sleep(4 * time.Minute)
				if round%10 != 0 { // mostly skip ahead, so that the test is quick
					before = ""
					time.Sleep(51 * time.Minute)
				}
			}
			require.Len(t, seen, 3, "3 days each")
			require.LessOrEqual(t, len(stored(t, store)), 3, "those that are gone are removed")
		})
	}
}

func kid(t testing.TB, raw string) string {
	t.Helper()
	var h struct{ Kid string }
	head, _, _ := strings.Cut(raw, ".")
	require.NoError(t, json.Unmarshal(decode(t, head), &h))
	return h.Kid
}

func TestJ12_KeyIsPublishedBeforeItSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, ks := jwt.NewMemoryKeyStore(), sealing(t)
		n := newNode(t, store, ks, jwt.RingOptions{})
		first := kid(t, n.issue(t))
		keys := stored(t, store)
		require.Len(t, keys, 1)
		require.Equal(t, keys[0].Published, keys[0].Signs, "the first key signs at once")
		require.Equal(t, keys[0].Signs.Add(30*24*time.Hour), keys[0].Retires)
		require.Equal(t, keys[0].Retires.Add(time.Hour), keys[0].Gone)

		time.Sleep(time.Until(keys[0].Retires.Add(-24*time.Hour + time.Minute)))
		n.issue(t)
		synctest.Wait() // for the read in the background
		keys = stored(t, store)
		require.Len(t, keys, 2, "the next one is made a day ahead")
		require.Equal(t, keys[0].Retires, keys[1].Signs)
		require.Equal(t, first, kid(t, n.issue(t)), "and does not sign yet")
		set, err := n.ring.JWKS(t.Context())
		require.NoError(t, err)
		require.Contains(t, string(set), keys[1].ID, "but is published")

		time.Sleep(time.Until(keys[1].Signs))
		last := n.issue(t)
		require.Equal(t, keys[1].ID, kid(t, last))
		set, err = n.ring.JWKS(t.Context())
		require.NoError(t, err)
		require.Contains(t, string(set), first, "the retired one is still published")

		time.Sleep(time.Until(keys[0].Gone))
		set, err = n.ring.JWKS(t.Context())
		require.NoError(t, err)
		require.NotContains(t, string(set), first, "until it is gone")
		_, err = n.ring.Key(t.Context(), first)
		require.ErrorIs(t, err, jwt.ErrUnknownKey)
	})
}

// A ring that nobody called for months: the next key signs at once.
func TestJ12_IdleRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, ks := jwt.NewMemoryKeyStore(), sealing(t)
		n := newNode(t, store, ks, jwt.RingOptions{})
		n.issue(t)
		for _, idle := range []time.Duration{29*24*time.Hour + 13*time.Hour, 24 * time.Hour, 90 * 24 * time.Hour} {
			time.Sleep(idle)
			raw := n.issue(t)
			require.NoError(t, n.verify(raw), idle)
			synctest.Wait()
		}
		require.Len(t, stored(t, store), 1, "the others are gone and removed")
	})
}

func TestJ12_NodesThatStartTogetherAgree(t *testing.T) {
	store, ks := jwt.NewMemoryKeyStore(), sealing(t)
	var wg sync.WaitGroup
	raws := make([]string, 16)
	nodes := make([]node, len(raws))
	for i := range raws {
		nodes[i] = newNode(t, store, ks, jwt.RingOptions{})
		wg.Go(func() {
			raws[i], _, _ = nodes[i].issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app"})
		})
	}
	wg.Wait()
	require.Len(t, stored(t, store), 1, "one was first, the others took its key")
	for _, n := range nodes {
		for _, raw := range raws {
			require.NoError(t, n.verify(raw))
		}
	}
}

// A node whose clock is ahead published a moment "from now": the next key must
// still be the newest by Published.
func TestJ12_PublishedOnlyGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := jwt.NewMemoryKeyStore()
		ahead := time.Now().Add(time.Hour).UTC()
		require.NoError(t, store.AddKey(t.Context(), jwt.StoredKey{ID: "theirs", Published: ahead, Gone: ahead.Add(time.Hour)}, ""))
		n := newNode(t, store, sealing(t), jwt.RingOptions{})
		n.issue(t)
		keys := stored(t, store)
		require.Len(t, keys, 2)
		require.Equal(t, "theirs", keys[0].ID)
		require.True(t, keys[1].Published.After(ahead))
	})
}

func TestJ4_UnknownKeyIDsCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{KeyStore: jwt.NewMemoryKeyStore()}
		ks := sealing(t)
		n := newNode(t, store, ks, jwt.RingOptions{})
		good := n.issue(t)
		reads := store.reads.Load()
		time.Sleep(2 * time.Second)

		for _, id := range []string{"", "short", "../../etc/passwd", strings.Repeat("x", 1000)} {
			_, err := n.ring.Key(t.Context(), id)
			require.ErrorIs(t, err, jwt.ErrUnknownKey)
		}
		require.Equal(t, reads, store.reads.Load(), "ids that can't be ours cost no I/O")

		for i := range 1000 {
			_, err := n.ring.Key(t.Context(), fmt.Sprintf("%043d", i))
			require.ErrorIs(t, err, jwt.ErrUnknownKey)
		}
		require.Equal(t, reads+1, store.reads.Load(), "a flood is one read a second")

		// While an unknown id waits for a store that hangs, a known one does not.
		time.Sleep(2 * time.Second)
		store.hang.Store(true)
		unknown := make(chan error)
		go func() {
			_, err := n.ring.Key(t.Context(), strings.Repeat("y", 43))
			unknown <- err
		}()
		synctest.Wait()
		began := time.Now()
		require.NoError(t, n.verify(good))
		require.Zero(t, time.Since(began))
		err := <-unknown
		require.ErrorIs(t, err, context.DeadlineExceeded, "it could not be told")
		require.NotErrorIs(t, err, jwt.ErrUnknownKey)
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}

// Another node made a key that signs at once: the unknown id finds it.
func TestJ4_UnknownKeyIsLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, ks := jwt.NewMemoryKeyStore(), sealing(t)
		a, b := newNode(t, store, ks, jwt.RingOptions{}), newNode(t, store, ks, jwt.RingOptions{})
		old := a.issue(t)
		require.NoError(t, b.verify(old))
		require.NoError(t, store.RemoveKey(t.Context(), kid(t, old)))
		time.Sleep(2 * time.Second)
		c := newNode(t, store, ks, jwt.RingOptions{})
		require.NoError(t, b.verify(c.issue(t)))
		require.ErrorIs(t, b.verify(old), jwt.ErrUnknownKey, "the withdrawn key left with the old set")
	})
}

// A key withdrawn from the store stops verifying on a busy node and on one that
// was idle, and signing goes on.
func TestJ12_WithdrawnKey(t *testing.T) {
	for _, idle := range []time.Duration{31 * time.Second, 50 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			store, ks := jwt.NewMemoryKeyStore(), sealing(t)
			n := newNode(t, store, ks, jwt.RingOptions{})
			key := kid(t, n.issue(t))
			require.NoError(t, store.RemoveKey(t.Context(), key))
			time.Sleep(idle)
			_, _ = n.ring.Key(t.Context(), key) // a busy node reads in the background
			synctest.Wait()
			_, err := n.ring.Key(t.Context(), key)
			require.ErrorIs(t, err, jwt.ErrUnknownKey, idle)
			require.NotEqual(t, key, kid(t, n.issue(t)))
		})
	}
	// The idle node does not trust it even once.
	synctest.Test(t, func(t *testing.T) {
		store, ks := jwt.NewMemoryKeyStore(), sealing(t)
		n := newNode(t, store, ks, jwt.RingOptions{})
		key := kid(t, n.issue(t))
		require.NoError(t, store.RemoveKey(t.Context(), key))
		time.Sleep(50 * time.Minute)
		_, err := n.ring.Key(t.Context(), key)
		require.ErrorIs(t, err, jwt.ErrUnknownKey)
	})
}

func TestJ12_StoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := &flaky{KeyStore: jwt.NewMemoryKeyStore()}
		n := newNode(t, store, sealing(t), jwt.RingOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		store.down.Store(true)

		_, _, err := n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app"})
		require.ErrorIs(t, err, jwt.ErrUnavailable, "no keys yet")
		requireAuthError(t, "unavailable", err)
		require.ErrorIs(t, err, errDown)
		require.NotContains(t, err.Error(), "store is down", "the reason is for the log")
		rec := httptest.NewRecorder()
		n.ring.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
		require.Equal(t, 503, rec.Code)
		require.Equal(t, "no-store", rec.Header().Get("Cache-Control"))

		store.down.Store(false)
		time.Sleep(2 * time.Second)
		n.issue(t)

		store.down.Store(true)
		for range 59 { // within MaxStale: the last good keys
			time.Sleep(time.Minute)
			require.NoError(t, n.verify(n.issue(t)))
			synctest.Wait()
		}
		raw := n.issue(t)
		time.Sleep(2 * time.Minute)
		err = n.verify(raw)
		require.ErrorIs(t, err, jwt.ErrUnavailable)
		requireAuthError(t, "unavailable", err)

		store.down.Store(false)
		time.Sleep(2 * time.Second)
		require.NoError(t, n.verify(raw), "it heals by itself")
		require.Equal(t, 2, strings.Count(log.String(), "can't be read"), "logged once each time")
		require.NotContains(t, log.String(), "\nlevel=ERROR forged")
	})
}

// A store that can be read but not written: signing and verifying go on.
func TestJ12_ReadOnlyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{KeyStore: jwt.NewMemoryKeyStore()}
		n := newNode(t, store, sealing(t), jwt.RingOptions{})
		store.readOnly.Store(true)
		_, _, err := n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app"})
		require.ErrorIs(t, err, jwt.ErrUnavailable)
		store.readOnly.Store(false)
		time.Sleep(2 * time.Second)
		n.issue(t)
		store.readOnly.Store(true)
		time.Sleep(29*24*time.Hour + time.Hour) // the next key is due
		require.NoError(t, n.verify(n.issue(t)))
		synctest.Wait()
		require.Len(t, stored(t, store), 1)
	})
}

// lagging is a store whose reads come from a replica that stands still.
type lagging struct {
	jwt.KeyStore
	frozen []jwt.StoredKey
}

func (l *lagging) Keys(ctx context.Context) ([]jwt.StoredKey, error) {
	if l.frozen != nil {
		return l.frozen, nil
	}
	return l.KeyStore.Keys(ctx)
}

func TestJ12_LaggingReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lagging{KeyStore: jwt.NewMemoryKeyStore()}
		n := newNode(t, store, sealing(t), jwt.RingOptions{})
		n.issue(t)
		store.frozen = stored(t, store)
		time.Sleep(29*24*time.Hour + time.Hour)
		for range 5 {
			require.NoError(t, n.verify(n.issue(t)), "the key at hand goes on")
			time.Sleep(time.Minute)
		}
		store.frozen = nil
		require.Len(t, stored(t, store), 2, "one key was made, not one at every look")
	})
}

// Idle since a failure that is long over: the node looks before it trusts.
// mangling is a store whose columns are too short.
type mangling struct {
	jwt.KeyStore
	mangle func(*jwt.StoredKey)
}

func (m *mangling) AddKey(ctx context.Context, k jwt.StoredKey, newest string) error {
	m.mangle(&k)
	return m.KeyStore.AddKey(ctx, k, newest)
}

func TestJ12_StoreThatDamagesKeysIsNotFilled(t *testing.T) {
	for name, mangle := range map[string]func(*jwt.StoredKey){
		"sealed": func(k *jwt.StoredKey) { k.Sealed = k.Sealed[:100] },
		"times":  func(k *jwt.StoredKey) { k.Retires, k.Gone = time.Time{}, time.Time{} },
	} {
		store := &mangling{jwt.NewMemoryKeyStore(), mangle}
		n := newNode(t, store, sealing(t), jwt.RingOptions{})
		_, _, err := n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app"})
		require.ErrorIs(t, err, jwt.ErrUnavailable, name)
		require.Empty(t, stored(t, store), name)
	}
}

func TestJ12_IdleAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{KeyStore: jwt.NewMemoryKeyStore()}
		n := newNode(t, store, sealing(t), jwt.RingOptions{})
		key := kid(t, n.issue(t))
		store.down.Store(true)
		time.Sleep(40 * time.Second)
		_, err := n.ring.Key(t.Context(), key)
		require.NoError(t, err)
		synctest.Wait()
		store.down.Store(false)
		require.NoError(t, store.RemoveKey(t.Context(), key))
		time.Sleep(40 * time.Minute)
		_, err = n.ring.Key(t.Context(), key)
		require.ErrorIs(t, err, jwt.ErrUnknownKey)
	})
}

// A caller that gives up early gets no key that would be withdrawn for others.
func TestJ12_WithdrawnKeyAndACanceledRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{KeyStore: jwt.NewMemoryKeyStore()}
		n := newNode(t, store, sealing(t), jwt.RingOptions{})
		key := kid(t, n.issue(t))
		require.NoError(t, store.RemoveKey(t.Context(), key))
		time.Sleep(50 * time.Minute)
		store.hang.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := n.ring.Key(ctx, key)
		require.ErrorIs(t, err, context.DeadlineExceeded, "could not tell")
		time.Sleep(time.Minute)
	})
}

// stuck is a store that may not answer, whatever becomes of the context.
type stuck struct {
	jwt.KeyStore
	open atomic.Pointer[chan struct{}]
}

func (s *stuck) Keys(ctx context.Context) ([]jwt.StoredKey, error) {
	keys, err := s.KeyStore.Keys(ctx)
	if open := s.open.Load(); open != nil {
		<-*open
	}
	return keys, err
}

func TestJ12_StoreThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stuck{KeyStore: jwt.NewMemoryKeyStore()}
		n := newNode(t, store, sealing(t), jwt.RingOptions{})
		first := kid(t, n.issue(t))
		took := func(f func()) time.Duration {
			began := time.Now()
			f()
			return time.Since(began)
		}

		open := make(chan struct{})
		store.open.Store(&open)
		time.Sleep(10 * time.Minute)
		require.Equal(t, 6*time.Second, took(func() { n.issue(t) }), "who comes first waits a while")
		require.Zero(t, took(func() { n.issue(t) }), "the others go on with the keys at hand")
		_, err := n.ring.Key(t.Context(), strings.Repeat("x", 43))
		require.ErrorContains(t, err, "does not answer")
		time.Sleep(time.Hour)
		_, _, err = n.issuer.Issue(t.Context(), jwt.AccessClaims{Subject: "u", ClientID: "app"})
		require.ErrorIs(t, err, jwt.ErrUnavailable, "up to MaxStale")

		// What it answers at last is what was true when it was asked.
		require.NoError(t, store.RemoveKey(t.Context(), first))
		store.open.Store(nil)
		close(open)
		synctest.Wait()
		_, err = n.ring.Key(t.Context(), first)
		require.ErrorIs(t, err, jwt.ErrUnknownKey)
		require.NotEqual(t, first, kid(t, n.issue(t)))
	})
}

// Who can write to the store can't plant a key, swap two or move one under
// another id; who can read it can't sign.
func TestJ12_StoreIsNotTrusted(t *testing.T) {
	ctx := t.Context()
	theirs := newNode(t, jwt.NewMemoryKeyStore(), sealing(t), jwt.RingOptions{})
	_ = theirs.issue(t)
	theirSet, err := theirs.ring.JWKS(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, theirSet)

	ks := sealing(t)
	source := jwt.NewMemoryKeyStore()
	good := newNode(t, source, ks, jwt.RingOptions{}).issue(t)
	honest := stored(t, source)[0]
	require.NotContains(t, string(honest.Public), `"d"`)

	foreignStore := jwt.NewMemoryKeyStore()
	foreign := newNode(t, foreignStore, sealing(t), jwt.RingOptions{})
	forged := foreign.issue(t)
	planted := stored(t, foreignStore)[0]

	for name, tamper := range map[string]func(k *jwt.StoredKey){
		"planted":           func(k *jwt.StoredKey) { *k = planted },
		"public swapped":    func(k *jwt.StoredKey) { k.ID, k.Public = planted.ID, planted.Public },
		"another id":        func(k *jwt.StoredKey) { k.ID = strings.Repeat("x", 43) },
		"another algorithm": func(k *jwt.StoredKey) { k.Algorithm = "EdDSA" },
		"bit flipped":       func(k *jwt.StoredKey) { k.Sealed[len(k.Sealed)-1] ^= 1 },
		"nothing sealed":    func(k *jwt.StoredKey) { k.Sealed = nil },
	} {
		var log bytes.Buffer
		k := stored(t, source)[0]
		tamper(&k)
		store := jwt.NewMemoryKeyStore()
		require.NoError(t, store.AddKey(ctx, k, ""))
		n := newNode(t, store, ks, jwt.RingOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.ErrorIs(t, n.verify(forged), jwt.ErrUnknownKey, name)
		require.ErrorIs(t, n.verify(good), jwt.ErrUnknownKey, name)
		require.NoError(t, n.verify(n.issue(t)), "%s: it makes a key of its own", name)
		require.Contains(t, log.String(), "level=ERROR", name)
	}
	// Only the public column rewritten: it is for other readers, nothing rests on it.
	k := honest
	k.Public = planted.Public
	store := jwt.NewMemoryKeyStore()
	require.NoError(t, store.AddKey(ctx, k, ""))
	n := newNode(t, store, ks, jwt.RingOptions{})
	require.NoError(t, n.verify(good))
	set, err := n.ring.JWKS(ctx)
	require.NoError(t, err)
	require.NotContains(t, string(set), planted.ID)
}

func TestJ10_JWKSHandler(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA"} {
		n := newNode(t, jwt.NewMemoryKeyStore(), sealing(t), jwt.RingOptions{Algorithm: alg})
		h := n.ring.Handler()
		get := func(method string, etag string) *httptest.ResponseRecorder {
			req := httptest.NewRequest(method, "/.well-known/jwks.json", nil)
			if etag != "" {
				req.Header.Set("If-None-Match", etag)
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			return rec
		}
		res := get("GET", "")
		require.Equal(t, 200, res.Code)
		require.Equal(t, "public, max-age=900", res.Header().Get("Cache-Control"))
		require.Equal(t, "application/jwk-set+json", res.Header().Get("Content-Type"))
		etag := res.Header().Get("ETag")
		require.Regexp(t, `^"[\w-]+"$`, etag)

		var set struct{ Keys []map[string]string }
		require.NoError(t, json.Unmarshal(res.Body.Bytes(), &set))
		require.Len(t, set.Keys, 1)
		want := map[string]bool{"kty": true, "crv": true, "x": true, "kid": true, "alg": true, "use": true}
		if alg == "ES256" {
			want["y"] = true
		}
		for name := range set.Keys[0] {
			require.True(t, want[name], "member %q is published", name)
		}
		require.Len(t, set.Keys[0], len(want))
		require.Equal(t, alg, set.Keys[0]["alg"])
		require.Equal(t, kid(t, n.issue(t)), set.Keys[0]["kid"])

		require.Equal(t, http.StatusNotModified, get("GET", etag).Code)
		require.Equal(t, http.StatusNotModified, get("GET", `"x", W/`+etag).Code)
		require.Equal(t, 200, get("GET", `"x"`).Code)
		head := get("HEAD", "")
		require.Equal(t, 200, head.Code)
		require.Zero(t, head.Body.Len())
		require.Equal(t, 405, get("POST", "").Code)
	}
}

func TestJ10_MaxAgeIsShorterThanPublish(t *testing.T) {
	_, err := jwt.NewRing(jwt.NewMemoryKeyStore(), sealing(t), &jwt.RingOptions{Publish: time.Hour, MaxAge: time.Hour, MaxStale: time.Hour})
	require.ErrorContains(t, err, "Publish is 1h0m0s: use at least twice MaxAge + MaxStale, 4h0m0s")
}

func TestNewRingNamesEveryMistake(t *testing.T) {
	_, err := jwt.NewRing(nil, jwt.SealingKeys{}, &jwt.RingOptions{Algorithm: "HS256", Rotate: -1, Retire: time.Minute, MaxAge: -1, Reread: 1, MaxStale: 0})
	for _, want := range []string{"key store", "sealing keys", "Algorithm", "Rotate", "Retire", "MaxAge", "Reread"} {
		require.ErrorContains(t, err, want)
	}
}

func TestP14_ARingPrintsNoKey(t *testing.T) {
	ks, err := jwt.ParseSealingKeys("k:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
	require.NoError(t, err)
	n := newNode(t, jwt.NewMemoryKeyStore(), ks, jwt.RingOptions{})
	n.issue(t)
	for _, v := range []any{n, n.ring, n.issuer, n.verifier, struct{ r *jwt.Ring }{n.ring}} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "k", v, slog.Group("g", "k", v))
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "k", v)
		for _, out := range []string{fmt.Sprintf("%v %+v %#v", v, v, v), log.String()} {
			for _, secret := range []string{"AAAA", "65 65 65", "0x41, 0x41", "414141"} {
				require.NotContains(t, out, secret)
			}
		}
	}
}

func TestSealingKeysRotate(t *testing.T) {
	_, old, err := jwt.GenerateSealingKeys("2025")
	require.NoError(t, err)
	_, fresh, err := jwt.GenerateSealingKeys("2026")
	require.NoError(t, err)
	one, err := jwt.ParseSealingKeys(old)
	require.NoError(t, err)
	both, err := jwt.ParseSealingKeys(fresh + "," + old)
	require.NoError(t, err)
	store := jwt.NewMemoryKeyStore()
	raw := newNode(t, store, one, jwt.RingOptions{}).issue(t)
	require.NoError(t, newNode(t, store, both, jwt.RingOptions{}).verify(raw))
	_, err = jwt.ParseSealingKeys("nonsense")
	require.ErrorContains(t, err, "jwt: sealing keys: key 1")
}
