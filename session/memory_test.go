package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sessiontest"
)

func TestMemoryStore(t *testing.T) {
	sessiontest.Run(t, func(*testing.T) session.Store { return session.NewMemoryStore(nil) })
}

// aRecord is a session as browsers begin them. Its strings are its own, as
// those of requests are.
func aRecord(userID string) session.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	rec := session.Record{
		ID: rand.Text(), Kind: session.KindCookie, UserID: userID, AuthTime: now, Created: now, Seen: now,
		IdleExpires: now.Add(30 * time.Minute), Expires: now.Add(12 * time.Hour),
		UserAgent: strings.Clone("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"),
		IP:        fmt.Sprint("203.0.113.", len(userID)),
		Data:      []byte("\x01{\"n\":1}"),
	}
	_, _ = rand.Read(rec.Key[:])
	return rec
}

// manySessions is GATEWIRE_SESSIONS, or few enough for every run of the tests.
func manySessions(t *testing.T) int {
	n := 20_000
	if s := os.Getenv("GATEWIRE_SESSIONS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	return n
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemoryStoreBytesPerSession: everything the heap grows by is counted: ids,
// user ids, user agent and address, indexes and lists; only Data isn't. Set
// GATEWIRE_SESSIONS to try with a million.
func TestMemoryStoreBytesPerSession(t *testing.T) {
	n := manySessions(t)
	with := func(change func(rec *session.Record)) func(int) session.Record {
		return func(int) session.Record {
			rec := aRecord(rand.Text())
			if change != nil {
				change(&rec)
			}
			return rec
		}
	}
	for _, c := range []struct {
		name  string
		rec   func(int) session.Record
		limit int64 // of bytes a session besides its Data; 0: only the account is looked at
	}{
		{"plain", with(nil), 400},
		{"scopes and roles", with(func(rec *session.Record) {
			rec.Scopes, rec.Roles = []string{"orders:read", "orders:write"}, []string{"admin"}
		}), 400},
		{"a long user agent and data", with(func(rec *session.Record) {
			rec.UserAgent = strings.Repeat("x", 512)
			rec.Data = make([]byte, 2000)
		}), 0},
		{"from a provider", with(func(rec *session.Record) {
			rec.Origin = session.Origin{Issuer: "https://accounts.example", Subject: rand.Text(), SID: rand.Text()}
		}), 0},
		{"refreshed", with(func(rec *session.Record) {
			rec.Kind, rec.Refresh.Secret[0], rec.Refresh.Previous[0] = session.KindToken, 1, 1
			rec.Refresh.RotatedAt, rec.Refresh.Successor = rec.Created, make([]byte, 60)
		}), 0},
		{"visitors", with(func(rec *session.Record) { rec.UserID = "" }), 400},
		{"all of a few users", func(i int) session.Record { return aRecord(fmt.Sprint("user", i%100)) }, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := session.NewMemoryStore(&session.MemoryOptions{MaxBytes: 1 << 40})
			empty := heap()
			data := int64(0)
			for i := range n {
				rec := c.rec(i)
				data += int64(len(rec.Data))
				require.NoError(t, s.Create(t.Context(), rec, session.AnyEpoch))
			}
			taken, counted := heap()-empty, session.CountedBytes(s)
			runtime.KeepAlive(s)
			each := (taken - data) / int64(n)
			t.Logf("%d sessions: %d bytes each besides %d of data; MaxBytes counts %.2f of what the heap holds",
				n, each, data/int64(n), float64(counted)/float64(taken))
			if c.limit > 0 {
				require.LessOrEqual(t, each, c.limit)
			}
			require.GreaterOrEqual(t, counted, taken, "MaxBytes is a bound of the heap")
			require.LessOrEqual(t, float64(counted), 1.35*float64(taken), "and not far off")
		})
	}
}

// TestMemoryStoreLogBytes: the log of ended sessions takes no more than
// MemoryOptions says.
func TestMemoryStoreLogBytes(t *testing.T) {
	const maxBytes = 32 << 20
	s := session.NewMemoryStore(&session.MemoryOptions{MaxBytes: maxBytes})
	empty := heap()
	for range maxBytes/1024 + 10_000 {
		rec := aRecord(rand.Text())
		rec.Data = make([]byte, 1000)
		require.NoError(t, s.Create(t.Context(), rec, session.AnyEpoch))
		_, err := s.End(t.Context(), rec.ID, session.ReasonSignedOut, time.Now())
		require.NoError(t, err)
	}
	taken := heap() - empty
	runtime.KeepAlive(s)
	t.Logf("a full log takes %.0f%% of MaxBytes", 100*float64(taken)/maxBytes)
	require.Zero(t, session.CountedBytes(s))
	require.Less(t, taken, int64(maxBytes*2/5))
}

// TestMemoryStoreKeepsNothing: what ended leaves nothing behind but the log.
func TestMemoryStoreKeepsNothing(t *testing.T) {
	s := session.NewMemoryStore(nil)
	for range 3 {
		var recs []session.Record
		for i := range 3000 {
			rec := aRecord(fmt.Sprint("u", i%50))
			if i%3 == 0 {
				rec.UserID = ""
			}
			rec.Origin = session.Origin{Issuer: "i", Subject: fmt.Sprint(i % 70), SID: fmt.Sprint(i % 700)}
			require.NoError(t, s.Create(t.Context(), rec, session.AnyEpoch))
			recs = append(recs, rec)
		}
		for i, rec := range recs {
			switch i % 5 {
			case 0:
				renewed := rec
				renewed.Key[0]++
				renewed.UserID, renewed.Origin = fmt.Sprint("u", i%50), session.Origin{Issuer: "i", SID: "1"}
				if rec.UserID != "" {
					renewed.UserID = rec.UserID
				}
				require.NoError(t, s.Replace(t.Context(), rec.Key, renewed, 1))
			case 1:
				_, err := s.End(t.Context(), rec.ID, session.ReasonRevoked, time.Now())
				require.NoError(t, err)
			case 2:
				_, err := s.EndOrigin(t.Context(), session.Origin{Issuer: "i", SID: rec.Origin.SID}, session.ReasonProvider, time.Now())
				require.NoError(t, err)
			}
			if i%100 == 0 {
				require.Empty(t, session.Broken(s), "after step %d", i)
			}
		}
		for i := range 50 {
			_, err := s.EndUser(t.Context(), fmt.Sprint("u", i), "", session.ReasonRevoked, time.Now())
			require.NoError(t, err)
		}
		_, err := s.Reap(t.Context(), time.Now().Add(time.Hour), 1<<30)
		require.NoError(t, err)
		require.Empty(t, session.Broken(s))
		require.Zero(t, session.CountedBytes(s))
	}
}

// hammer runs for a while what another goroutine must not see half of.
func hammer(t *testing.T, step func(n int), look func()) {
	t.Helper()
	var done atomic.Bool
	var lookers sync.WaitGroup
	for range 4 {
		lookers.Go(func() {
			for !done.Load() && !t.Failed() {
				look()
			}
		})
	}
	end := time.Now().Add(400 * time.Millisecond)
	for n := 0; !t.Failed() && (time.Now().Before(end) || n < 100); n++ {
		step(n)
	}
	done.Store(true)
	lookers.Wait()
}

// TestMemoryStoreAtomic: sessions stand in many parts of the store, and a method
// is one step all the same.
func TestMemoryStoreAtomic(t *testing.T) {
	ctx := context.Background()
	ok := func(t *testing.T, err error) {
		if err != nil {
			t.Error(err)
		}
	}
	found := func(t *testing.T, s session.Store, key session.Key) bool {
		_, found, err := s.Load(ctx, key)
		ok(t, err)
		return found
	}

	// Whoever finds one session of an ended user gone finds none of the others.
	half := func(t *testing.T, end func(s session.Store, recs []session.Record)) {
		s := session.NewMemoryStore(nil)
		var current atomic.Pointer[[]session.Record]
		hammer(t, func(n int) {
			var recs []session.Record
			for range 200 {
				rec := aRecord(fmt.Sprint("u", n))
				rec.Origin = session.Origin{Issuer: "i", SID: fmt.Sprint(n)}
				recs = append(recs, rec)
				ok(t, s.Create(ctx, rec, session.AnyEpoch))
			}
			current.Store(&recs)
			time.Sleep(100 * time.Microsecond) // until somebody looks
			end(s, recs)
		}, func() {
			p := current.Load()
			if p == nil {
				return
			}
			a, b := (*p)[mathrand.IntN(len(*p))], (*p)[mathrand.IntN(len(*p))]
			if found(t, s, a.Key) {
				return
			}
			if found(t, s, b.Key) {
				t.Error("half of the sessions have ended")
			}
			if _, byID, err := s.ByID(ctx, b.ID); byID || err != nil {
				t.Error("ByID finds what Load does not", err)
			}
			if mathrand.IntN(50) == 0 {
				if list, err := s.ListUser(ctx, a.UserID); len(list) > 0 || err != nil {
					t.Error("ListUser lists what Load does not find", err)
				}
			}
		})
	}
	t.Run("E2 EndUser", func(t *testing.T) {
		half(t, func(s session.Store, recs []session.Record) {
			_, err := s.EndUser(ctx, recs[0].UserID, "", session.ReasonRevoked, time.Now())
			ok(t, err)
		})
	})
	t.Run("E4 EndOrigin", func(t *testing.T) {
		half(t, func(s session.Store, recs []session.Record) {
			_, err := s.EndOrigin(ctx, recs[0].Origin, session.ReasonRevoked, time.Now())
			ok(t, err)
		})
	})
	t.Run("R1 Reap", func(t *testing.T) {
		half(t, func(s session.Store, recs []session.Record) {
			_, err := s.Reap(ctx, time.Now().Add(time.Hour), 1000)
			ok(t, err)
		})
	})

	t.Run("E1 what is gone is in the log", func(t *testing.T) {
		s := session.NewMemoryStore(nil)
		type watched struct {
			rec    session.Record
			cursor string
		}
		var current atomic.Pointer[watched]
		hammer(t, func(int) {
			rec := aRecord("u")
			_, cursor, err := s.EndedSince(ctx, "", 1)
			ok(t, err)
			ok(t, s.Create(ctx, rec, session.AnyEpoch))
			current.Store(&watched{rec, cursor})
			runtime.Gosched()
			_, err = s.End(ctx, rec.ID, session.ReasonRevoked, time.Now())
			ok(t, err)
		}, func() {
			w := current.Load()
			if w == nil || found(t, s, w.rec.Key) {
				return
			}
			ended, _, err := s.EndedSince(ctx, w.cursor, 1)
			ok(t, err)
			if len(ended) != 1 || ended[0].ID != w.rec.ID {
				t.Errorf("the log has %v of a session that is gone", ended)
			}
		})
	})

	// A session that is given new keys and read by its id, its user and its
	// last two keys.
	t.Run("U3 Replace with another key", func(t *testing.T) {
		s := session.NewMemoryStore(nil)
		rec := aRecord("u")
		ok(t, s.Create(ctx, rec, session.AnyEpoch))
		type keys struct{ old, new session.Key }
		var current atomic.Pointer[keys]
		hammer(t, func(n int) {
			old := rec.Key
			_, _ = rand.Read(rec.Key[:])
			current.Store(&keys{old, rec.Key})
			ok(t, s.Replace(ctx, old, rec, uint64(n+1)))
		}, func() {
			if _, found, err := s.ByID(ctx, rec.ID); err != nil || !found {
				t.Error("ByID misses a session that is given a new key", err)
			}
			if list, err := s.ListUser(ctx, "u"); err != nil || len(list) != 1 {
				t.Errorf("ListUser has %d sessions, want 1 (%v)", len(list), err)
			}
			k := current.Load()
			if k == nil {
				return
			}
			if found(t, s, k.new) && found(t, s, k.old) {
				t.Error("the new key is there, and the old one still")
			}
			if !found(t, s, k.old) && !found(t, s, k.new) && current.Load() == k {
				t.Error("neither the old key nor the new one is there")
			}
		})
	})

	t.Run("U4 T1 Touch and Replace to another key", func(t *testing.T) {
		s := session.NewMemoryStore(nil)
		rec := aRecord("u")
		begun := rec.Seen
		ok(t, s.Create(ctx, rec, session.AnyEpoch))
		var keys [2]session.Key
		keys[0] = rec.Key
		_, _ = rand.Read(keys[1][:])
		var touched atomic.Int64
		hammer(t, func(n int) {
			rec.Key = keys[(n+1)%2]
			ok(t, s.Replace(ctx, keys[n%2], rec, uint64(n+1)))
		}, func() {
			// Under one of the keys it may be a no-op; under both, read after, it
			// either moved the times or the session was elsewhere meanwhile.
			to := touched.Add(1)
			seen := begun.Add(time.Duration(to) * time.Microsecond)
			key := keys[to%2]
			ok(t, s.Touch(ctx, key, seen, seen.Add(30*time.Minute)))
			got, found, err := s.ByID(ctx, rec.ID)
			ok(t, err)
			if !found {
				t.Error("the session is gone")
				return
			}
			if d := got.IdleExpires.Sub(got.Seen); d != 30*time.Minute {
				t.Errorf("Seen and IdleExpires are %v apart: half of a Touch", d)
			}
			again, _, err := s.ByID(ctx, rec.ID)
			ok(t, err)
			if again.Seen.Before(got.Seen) {
				t.Error("Seen moved backwards")
			}
		})
		require.Empty(t, session.Broken(s))
	})

	t.Run("E1 T2 Touch and End", func(t *testing.T) {
		s := session.NewMemoryStore(nil)
		var current atomic.Pointer[session.Record]
		hammer(t, func(n int) {
			rec := aRecord("u")
			ok(t, s.Create(ctx, rec, session.AnyEpoch))
			current.Store(&rec)
			runtime.Gosched()
			_, err := s.End(ctx, rec.ID, session.ReasonRevoked, time.Now())
			ok(t, err)
			if found(t, s, rec.Key) {
				t.Error("a Touch brought back what ended")
			}
		}, func() {
			if rec := current.Load(); rec != nil {
				ok(t, s.Touch(ctx, rec.Key, rec.Seen.Add(time.Second), rec.IdleExpires.Add(time.Second)))
			}
		})
		require.Empty(t, session.Broken(s))
		require.Zero(t, session.CountedBytes(s))
	})

	t.Run("I1 ListUser among touches", func(t *testing.T) {
		s := session.NewMemoryStore(nil)
		var recs []session.Record
		for range 20 {
			rec := aRecord("u")
			rec.Created = rec.Created.Add(-time.Duration(len(recs)) * time.Second) // newest first
			recs = append(recs, rec)
			ok(t, s.Create(ctx, rec, session.AnyEpoch))
		}
		hammer(t, func(n int) { // in this order, so none is ahead of one before it
			seen := recs[0].Seen.Add(time.Duration(n+1) * time.Millisecond)
			for _, rec := range recs {
				ok(t, s.Touch(ctx, rec.Key, seen, rec.IdleExpires))
			}
		}, func() {
			list, err := s.ListUser(ctx, "u")
			ok(t, err)
			for i := 1; i < len(list); i++ {
				if list[i].Seen.After(list[i-1].Seen) {
					t.Error("ListUser is not of one moment")
					return
				}
			}
		})
	})

	t.Run("C1 E1 many writers", func(t *testing.T) {
		s := session.NewMemoryStore(&session.MemoryOptions{MaxBytes: 400_000})
		var n atomic.Int64
		var recent [16]atomic.Pointer[session.Record]
		random := func() *session.Record { return recent[n.Add(1)%16].Load() }
		fails := func(err error) {
			if err != nil && !errors.Is(err, session.ErrNotFound) && !errors.Is(err, session.ErrConflict) &&
				!errors.Is(err, session.ErrExists) && !strings.Contains(err.Error(), "MaxBytes") {
				t.Error(err)
			}
		}
		hammer(t, func(int) {
			_, err := s.Reap(ctx, time.Now(), 10)
			fails(err)
		}, func() {
			i := n.Add(1)
			rec := aRecord(fmt.Sprint("u", i%7))
			if i%3 == 0 {
				rec.UserID = ""
			}
			rec.Origin = session.Origin{Issuer: "i", SID: fmt.Sprint(i % 5), Subject: fmt.Sprint(i % 4)}
			rec.IdleExpires = rec.Seen.Add(time.Duration(i%20) * time.Millisecond)
			fails(s.Create(ctx, rec, session.AnyEpoch))
			recent[i%16].Store(&rec)
			if other := random(); other != nil {
				fails(s.Touch(ctx, other.Key, time.Now(), time.Now().Add(10*time.Millisecond)))
			}
			if other := random(); other != nil {
				next := *other
				next.Key[31]++
				fails(s.Replace(ctx, other.Key, next, 1))
			}
			if other := random(); other != nil {
				_, err := s.End(ctx, other.ID, session.ReasonRevoked, time.Now())
				fails(err)
			}
			switch i % 50 {
			case 0:
				_, err := s.EndUser(ctx, rec.UserID, rec.ID, session.ReasonRevoked, time.Now())
				fails(err)
			case 1:
				_, err := s.EndOrigin(ctx, session.Origin{Issuer: "i", Subject: rec.Origin.Subject}, session.ReasonRevoked, time.Now())
				fails(err)
			}
		})
		require.Empty(t, session.Broken(s))
	})
}

// TestS20_ReapDoesNotHoldUpReaders: a great many sessions that expire at once
// go in calls that Loads hardly notice. GATEWIRE_SESSIONS as above.
func TestS20_ReapDoesNotHoldUpReaders(t *testing.T) {
	n := manySessions(t)
	s := session.NewMemoryStore(&session.MemoryOptions{MaxBytes: 1 << 40})
	var live []session.Record
	for i := range n {
		rec := aRecord(rand.Text())
		if i%50 == 0 {
			live = append(live, rec)
		} else {
			rec.IdleExpires = rec.Created.Add(-time.Minute)
		}
		require.NoError(t, s.Create(t.Context(), rec, session.AnyEpoch))
	}
	var done atomic.Bool
	var took []time.Duration
	var reader sync.WaitGroup
	reader.Go(func() {
		for i := 0; !done.Load(); i++ {
			start := time.Now()
			if _, found, err := s.Load(context.Background(), live[i%len(live)].Key); err != nil || !found {
				t.Error("a live session is not found", err)
				return
			}
			took = append(took, time.Since(start))
		}
	})
	reaped, calls, start := 0, 0, time.Now()
	for {
		ended, err := s.Reap(t.Context(), time.Now(), 500)
		require.NoError(t, err)
		reaped += len(ended)
		calls++
		if len(ended) < 500 {
			break
		}
	}
	all := time.Since(start)
	done.Store(true)
	reader.Wait()
	require.Equal(t, n-len(live), reaped)
	require.NotEmpty(t, took)
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))] }
	t.Logf("%d reaped in %d calls in %v; of %d Loads meanwhile, half took %v or less, 99%% %v, 99.9%% %v, the slowest %v",
		reaped, calls, all.Round(time.Millisecond), len(took), at(.5), at(.99), at(.999), at(1))
	require.Less(t, at(.99), 50*time.Millisecond)
}

// What could never be kept is refused before anybody is sent away for it.
func TestMemoryStoreMakesNoRoomForWhatIsLargerThanItself(t *testing.T) {
	s := session.NewMemoryStore(&session.MemoryOptions{MaxBytes: 1 << 20})
	ctx := t.Context()
	visitor, user := aRecord(""), aRecord("u")
	for _, rec := range []session.Record{visitor, user} {
		require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
	}
	large := aRecord("v")
	large.Data = make([]byte, 2<<20)
	require.ErrorContains(t, s.Create(ctx, large, session.AnyEpoch), "MaxBytes")
	user.Data = large.Data
	require.ErrorContains(t, s.Replace(ctx, user.Key, user, 1), "MaxBytes")
	for _, rec := range []session.Record{visitor, user} {
		_, found, err := s.Load(ctx, rec.Key)
		require.NoError(t, err)
		require.True(t, found)
	}
}
