package redisstore_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/redisstore"
)

// verbs returns every method, each with a session of its own to work on.
func verbs(t testing.TB, s *redisstore.Store) map[string]func(context.Context) error {
	t.Helper()
	made := func() session.Record {
		rec := record(fmt.Sprint("verb-", prefixes.Add(1)), "vera")
		require.NoError(t, s.Create(t.Context(), rec, session.AnyEpoch))
		return rec
	}
	load, replace, touch, end := made(), made(), made(), made()
	fresh := record(fmt.Sprint("verb-", prefixes.Add(1)), "vera")
	return map[string]func(context.Context) error{
		"Create":  func(ctx context.Context) error { return s.Create(ctx, fresh, session.AnyEpoch) },
		"Load":    func(ctx context.Context) error { _, _, err := s.Load(ctx, load.Key); return err },
		"ByID":    func(ctx context.Context) error { _, _, err := s.ByID(ctx, load.ID); return err },
		"Replace": func(ctx context.Context) error { return s.Replace(ctx, replace.Key, replace, 1) },
		"Touch": func(ctx context.Context) error {
			return s.Touch(ctx, touch.Key, ms().Add(time.Minute), ms().Add(time.Hour))
		},
		"End": func(ctx context.Context) error {
			_, err := s.End(ctx, end.ID, session.ReasonRevoked, ms())
			return err
		},
		"EndUser": func(ctx context.Context) error {
			_, err := s.EndUser(ctx, "eve", "", session.ReasonRevoked, ms())
			return err
		},
		"EndUserAt": func(ctx context.Context) error {
			_, err := s.EndUserAt(ctx, "eve", "", 1, session.ReasonRevoked, ms())
			if errors.Is(err, session.ErrEpoch) {
				return nil
			}
			return err
		},
		"EndOrigin": func(ctx context.Context) error {
			_, err := s.EndOrigin(ctx, session.Origin{Issuer: "i", SID: "s"}, session.ReasonRevoked, ms())
			return err
		},
		"EndedSince": func(ctx context.Context) error { _, _, err := s.EndedSince(ctx, "", 10); return err },
		"ListUser":   func(ctx context.Context) error { _, err := s.ListUser(ctx, "vera"); return err },
		"Epoch":      func(ctx context.Context) error { _, err := s.Epoch(ctx, "ada"); return err },
		"Reap":       func(ctx context.Context) error { _, err := s.Reap(ctx, ms(), 10); return err },
	}
}

// callAll calls every method once.
func callAll(t testing.TB, s *redisstore.Store) {
	t.Helper()
	for name, verb := range verbs(t, s) {
		require.NoError(t, verb(t.Context()), name)
	}
}

// witness is a hook that remembers the commands a client sends.
type witness struct {
	mu   sync.Mutex
	sent [][]any
}

func (w *witness) DialHook(next redis.DialHook) redis.DialHook { return next }

func (w *witness) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		w.mu.Lock()
		w.sent = append(w.sent, cmd.Args())
		w.mu.Unlock()
		return next(ctx, cmd)
	}
}

func (w *witness) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (w *witness) take() [][]any {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// Every verb is one command, and its keys are declared and share a slot.
func TestS24_OneRoundTripOneSlot(t *testing.T) {
	c := clusterClient(t)
	s := storeOn(t, c)
	callAll(t, s) // so that the server knows the scripts
	all, w := verbs(t, s), &witness{}
	c.AddHook(w)
	for name, verb := range all {
		w.take()
		require.NoError(t, verb(t.Context()), name)
		sent := w.take()
		require.Len(t, sent, 1, "%s sends %v", name, sent)
		require.Equal(t, "evalsha", sent[0][0], name)
		require.Equal(t, 3, sent[0][2], name)
		slots := map[int64]bool{}
		for _, key := range sent[0][3:6] {
			slot, err := c.ClusterKeySlot(t.Context(), key.(string)).Result()
			require.NoError(t, err)
			slots[slot] = true
		}
		require.Len(t, slots, 1, "%s has keys in several slots", name)
	}
}

func TestPrefixesKeepStoresApart(t *testing.T) {
	c := client(t)
	a, b := storeOn(t, c), storeOn(t, c)
	require.NoError(t, a.Create(t.Context(), record("one", "ada"), session.AnyEpoch))
	_, found, err := b.ByID(t.Context(), "one")
	require.NoError(t, err)
	require.False(t, found)
	_, _, err = b.EndedSince(t.Context(), cursorOf(t, a), 1)
	require.ErrorIs(t, err, session.ErrCursorLost)
}

func TestASessionNeedsAnID(t *testing.T) {
	s := storeOn(t, client(t))
	rec := record("x", "ada")
	rec.ID = ""
	require.ErrorContains(t, s.Create(t.Context(), rec, session.AnyEpoch), "needs an id")
}

// Ids, users and texts are bytes: none of them reads as another one's field.
func TestAnyBytesAreFine(t *testing.T) {
	s := storeOn(t, client(t))
	for _, text := range []string{".seq", ".log", "h", "", "\x00", "\xff", "l1", "{x}", "a\r\nb", string(make([]byte, 3000))} {
		rec := record("id"+text, text)
		rec.Key = sha256.Sum256([]byte(text))
		require.NoError(t, s.Create(t.Context(), rec, session.AnyEpoch), "%q", text)
		got, found, err := s.Load(t.Context(), rec.Key)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, rec, got)
		cursor := cursorOf(t, s)
		_, err = s.EndUser(t.Context(), text, "", session.Reason(text), ms())
		require.NoError(t, err)
		if text == "" {
			continue
		}
		require.Equal(t, rec.ID, endedAfter(t, s, cursor)[0].ID)
		epoch, err := s.Epoch(t.Context(), text)
		require.NoError(t, err)
		rec.ID, rec.Key = "again"+text, sha256.Sum256([]byte("again"+text))
		require.NoError(t, s.Create(t.Context(), rec, epoch))
	}
}

// Another session's key is refused, also an ended one's.
func TestReplaceRefusesATakenKey(t *testing.T) {
	s := storeOn(t, client(t))
	one, two := record("one", "ada"), record("two", "ada")
	require.NoError(t, s.Create(t.Context(), one, session.AnyEpoch))
	require.NoError(t, s.Create(t.Context(), two, session.AnyEpoch))
	taken := one
	taken.Key = two.Key
	require.ErrorIs(t, s.Replace(t.Context(), one.Key, taken, 1), session.ErrExists)
	_, err := s.End(t.Context(), "two", session.ReasonRevoked, ms())
	require.NoError(t, err)
	require.ErrorIs(t, s.Replace(t.Context(), one.Key, taken, 1), session.ErrExists)
	got, found, err := s.Load(t.Context(), one.Key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, one, got)
}

func TestT1_TouchDoesNotWriteTheBody(t *testing.T) {
	c := client(t)
	prefix := newPrefix()
	s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	rec := record("one", "ada")
	require.NoError(t, s.Create(t.Context(), rec, session.AnyEpoch))
	// A touch that wrote the body would mend it.
	require.NoError(t, c.HSet(t.Context(), keysOf(prefix)[0], "done", "damaged").Err())
	require.NoError(t, s.Touch(t.Context(), rec.Key, ms().Add(time.Minute), ms().Add(time.Hour)))
	body, err := c.HGet(t.Context(), keysOf(prefix)[0], "done").Result()
	require.NoError(t, err)
	require.Equal(t, "damaged", body)
	_, found, err := s.Load(t.Context(), rec.Key)
	require.ErrorContains(t, err, `session "one": a record is damaged`, "neither a session nor the absence of one")
	require.False(t, found)
}

func TestE4_EndOrigin(t *testing.T) {
	for name, open := range map[string]func(testing.TB) redis.UniversalClient{
		"server":  client,
		"cluster": func(t testing.TB) redis.UniversalClient { return clusterClient(t) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s := storeOn(t, open(t))
			with := func(id string, o session.Origin) {
				rec := record(id, "ada")
				rec.Origin = o
				require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
			}
			end := func(o session.Origin) (ids []string) {
				t.Helper()
				cursor, at := cursorOf(t, s), ms()
				ended, err := s.EndOrigin(ctx, o, session.ReasonSignedOut, at)
				require.NoError(t, err)
				require.ElementsMatch(t, ended, endedAfter(t, s, cursor), "what is returned is what is logged")
				for _, e := range ended {
					require.Equal(t, session.Ended{ID: e.ID, UserID: "ada", Reason: session.ReasonSignedOut, At: at}, e)
					_, found, err := s.ByID(ctx, e.ID)
					require.NoError(t, err)
					require.False(t, found)
					ids = append(ids, e.ID)
				}
				slices.Sort(ids)
				return ids
			}
			const a, b = "https://a.example", "https://b.example"
			with("a-1-x", session.Origin{Issuer: a, Subject: "1", SID: "x"})
			with("a-1-y", session.Origin{Issuer: a, Subject: "1", SID: "y"})
			with("a-2-x", session.Origin{Issuer: a, Subject: "2", SID: "x"})
			with("a-2-", session.Origin{Issuer: a, Subject: "2"})
			with("a--z", session.Origin{Issuer: a, SID: "z"})
			with("b-1-x", session.Origin{Issuer: b, Subject: "1", SID: "x"})
			with("password", session.Origin{})

			for _, o := range []session.Origin{{}, {Issuer: a}, {Subject: "1"}, {SID: "x"}, {Subject: "1", SID: "x"}} {
				_, err := s.EndOrigin(ctx, o, session.ReasonSignedOut, ms())
				require.ErrorIs(t, err, session.ErrOrigin, "%+v", o)
			}
			require.Empty(t, end(session.Origin{Issuer: a, Subject: "x"}), "a subject is no sid")
			require.Empty(t, end(session.Origin{Issuer: a, SID: "1"}))
			require.Empty(t, end(session.Origin{Issuer: a, Subject: "2", SID: "y"}), "both must be equal")
			require.Empty(t, end(session.Origin{Issuer: a, Subject: "1", SID: "z"}), "one that has no subject is not this subject's")
			require.Equal(t, []string{"a-2-x"}, end(session.Origin{Issuer: a, Subject: "2", SID: "x"}))
			require.Equal(t, []string{"a-1-x"}, end(session.Origin{Issuer: a, SID: "x"}))
			require.Equal(t, []string{"a-1-y"}, end(session.Origin{Issuer: a, Subject: "1"}))
			require.Equal(t, []string{"a-2-"}, end(session.Origin{Issuer: a, Subject: "2"}))
			require.Equal(t, []string{"a--z"}, end(session.Origin{Issuer: a, SID: "z"}))

			// Replace keeps the indexes, also where the origin changes.
			rec := record("moved", "ada")
			rec.Origin = session.Origin{Issuer: a, Subject: "1", SID: "x"}
			require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
			rec.Origin = session.Origin{Issuer: b, Subject: "9", SID: "w"}
			require.NoError(t, s.Replace(ctx, rec.Key, rec, 1))
			require.Empty(t, end(session.Origin{Issuer: a, Subject: "1", SID: "x"}))
			require.Empty(t, end(session.Origin{Issuer: a, Subject: "1"}))
			require.Equal(t, []string{"moved"}, end(session.Origin{Issuer: b, SID: "w"}))

			for _, id := range []string{"b-1-x", "password"} {
				_, found, err := s.ByID(ctx, id)
				require.NoError(t, err)
				require.True(t, found, id)
			}
		})
	}
}

// The log and the epochs go when nobody needs them any more; not before.
func TestW2_E3_WhatIsForgotten(t *testing.T) {
	c := client(t)
	prefix := newPrefix()
	s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	ctx := t.Context()
	size := func() int64 {
		n, err := c.HLen(ctx, keysOf(prefix)[0]).Result()
		require.NoError(t, err)
		return n
	}
	start := cursorOf(t, s)
	empty := size()
	first, err := s.Epoch(ctx, "ada")
	require.NoError(t, err)
	for i := range 5 {
		rec := record(fmt.Sprint("s", i), "ada")
		rec.Origin = session.Origin{Issuer: "i", Subject: "s", SID: "x"}
		require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
	}
	_, err = s.EndUser(ctx, "ada", "", session.ReasonRevoked, ms())
	require.NoError(t, err)
	timed, err := c.ZCard(ctx, keysOf(prefix)[2]).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, timed, "who has ended waits for no Reap")
	second, err := s.Epoch(ctx, "ada")
	require.NoError(t, err)
	require.NotEqual(t, first, second)

	// An application's clock does not shorten what the log keeps.
	_, err = s.Reap(ctx, ms().Add(24*time.Hour), 10)
	require.NoError(t, err)
	require.Len(t, endedAfter(t, s, start), 5)
	now, err := s.Epoch(ctx, "ada")
	require.NoError(t, err)
	require.Equal(t, second, now)
	middle := cursorOf(t, s)

	s.SetRetention(time.Millisecond, time.Millisecond)
	time.Sleep(20 * time.Millisecond)
	_, err = s.Reap(ctx, ms(), 10)
	require.NoError(t, err)
	require.Equal(t, empty, size(), "nothing is left of five sessions and an epoch")
	for _, key := range keysOf(prefix)[1:] {
		n, err := c.ZCard(ctx, key).Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, n, "nothing but the empty entry is left in %s", key)
	}
	_, _, err = s.EndedSince(ctx, start, 10)
	require.ErrorIs(t, err, session.ErrCursorLost)
	require.Empty(t, endedAfter(t, s, middle))
	now, err = s.Epoch(ctx, "ada")
	require.NoError(t, err)
	require.Equal(t, first, now, "an epoch nobody can hold any more is forgotten")
	_, err = s.EndUser(ctx, "ada", "", session.ReasonRevoked, ms())
	require.NoError(t, err)
	now, err = s.Epoch(ctx, "ada")
	require.NoError(t, err)
	require.NotContains(t, []uint64{first, second}, now)

	// An id and a key that the log has forgotten are free again.
	require.NoError(t, s.Create(ctx, record("s0", "ada"), session.AnyEpoch))

	// Two raises: forgetting the first leaves the second.
	s.SetRetention(time.Hour, 50*time.Millisecond)
	first, err = s.Epoch(ctx, "bob")
	require.NoError(t, err)
	_, err = s.EndUser(ctx, "bob", "", session.ReasonRevoked, ms())
	require.NoError(t, err)
	time.Sleep(100 * time.Millisecond)
	_, err = s.EndUser(ctx, "bob", "", session.ReasonRevoked, ms()) // forgets too
	require.NoError(t, err)
	now, err = s.Epoch(ctx, "bob")
	require.NoError(t, err)
	require.NotEqual(t, first, now)
}

// Cursors from the future: of a log that a backup has brought back.
func TestW2_ACursorPastTheLogIsLost(t *testing.T) {
	s := storeOn(t, client(t))
	name, number, _ := strings.Cut(cursorOf(t, s), ".")
	require.Equal(t, "0", number)
	for _, limit := range []int{0, 10} {
		_, _, err := s.EndedSince(t.Context(), name+".1", limit)
		require.ErrorIs(t, err, session.ErrCursorLost)
		_, next, err := s.EndedSince(t.Context(), name+".0", limit)
		require.NoError(t, err)
		require.Equal(t, name+".0", next)
	}
}

// A log with a hole has skipped somebody.
func TestW2_AHoleInTheLogIsLost(t *testing.T) {
	c := client(t)
	prefix := newPrefix()
	s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	cursor := cursorOf(t, s)
	for i := range 3 {
		id := fmt.Sprint("s", i)
		require.NoError(t, s.Create(t.Context(), record(id, "ada"), session.AnyEpoch))
		_, err := s.End(t.Context(), id, session.ReasonRevoked, ms())
		require.NoError(t, err)
	}
	require.Len(t, endedAfter(t, s, cursor), 3)
	require.NoError(t, c.HDel(t.Context(), keysOf(prefix)[0], "l2").Err())
	_, _, err = s.EndedSince(t.Context(), cursor, 10)
	require.ErrorIs(t, err, session.ErrCursorLost)
	require.NoError(t, c.HSet(t.Context(), keysOf(prefix)[0], "l2", "damaged").Err())
	_, _, err = s.EndedSince(t.Context(), cursor, 10)
	require.ErrorContains(t, err, "the log of ended sessions is damaged")
}

// Whatever moves the end of a session's time, Reap goes by the last word.
func TestR1_ReapGoesByWhatWasMoved(t *testing.T) {
	ctx, s := t.Context(), storeOn(t, client(t))
	at := ms()
	begin := func(id string) session.Record {
		rec := record(id, "ada")
		rec.IdleExpires, rec.Expires = at.Add(time.Minute), at.Add(time.Hour)
		require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
		return rec
	}
	begin("left")
	touched := begin("touched")
	require.NoError(t, s.Touch(ctx, touched.Key, at, at.Add(10*time.Minute)))
	renewed := begin("renewed")
	renewed.IdleExpires, renewed.Expires = at.Add(10*time.Minute), at.Add(2*time.Hour)
	require.NoError(t, s.Replace(ctx, renewed.Key, renewed, 1))
	shortened := begin("shortened")
	shortened.Expires = at.Add(30 * time.Second)
	require.NoError(t, s.Replace(ctx, shortened.Key, shortened, 1))

	for _, step := range []struct {
		after time.Duration
		want  []string
	}{
		{30*time.Second - time.Millisecond, nil},
		{30 * time.Second, []string{"shortened"}},
		{time.Minute, []string{"left"}},
		{10*time.Minute - time.Millisecond, nil},
		{10 * time.Minute, []string{"renewed", "touched"}},
	} {
		ended, err := s.Reap(ctx, at.Add(step.after), 10)
		require.NoError(t, err)
		var ids []string
		for _, e := range ended {
			ids = append(ids, e.ID)
		}
		require.ElementsMatch(t, step.want, ids, "after %v", step.after)
	}
}

// Without any Reap the log, the epochs and the dead don't pile up, and a store
// that nobody uses goes as a whole.
func TestS24_TheSafetyNet(t *testing.T) {
	c := client(t)
	prefix := newPrefix()
	s, err := redisstore.New(c, &redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	ctx := t.Context()
	s.SetRetention(time.Millisecond, time.Millisecond)
	for i := range 50 {
		require.NoError(t, s.Create(ctx, record(fmt.Sprint("s", i), "ada"), session.AnyEpoch))
		_, err := s.EndUser(ctx, "ada", "", session.ReasonRevoked, ms())
		require.NoError(t, err)
		time.Sleep(2 * time.Millisecond)
	}
	n, err := c.HLen(ctx, keysOf(prefix)[0]).Result()
	require.NoError(t, err)
	require.Less(t, n, int64(30), "the log and the epochs pile up")

	s.SetRetention(time.Hour, time.Hour)
	cursor := cursorOf(t, s)
	for i := range 4 {
		dead := record(fmt.Sprint("dead", i), "ada")
		dead.Created, dead.IdleExpires, dead.Expires = ms().Add(-30*24*time.Hour), ms().Add(-8*24*time.Hour), ms().Add(-8*24*time.Hour)
		require.NoError(t, s.Create(ctx, dead, session.AnyEpoch))
	}
	require.NoError(t, s.Create(ctx, record("live", "ada"), session.AnyEpoch))
	require.NoError(t, s.Create(ctx, record("live2", "ada"), session.AnyEpoch))
	swept := endedAfter(t, s, cursor)
	require.Len(t, swept, 4)
	for _, e := range swept {
		require.Equal(t, session.ReasonExpired, e.Reason)
	}

	outlives := func(least time.Time) {
		t.Helper()
		for _, key := range keysOf(prefix) {
			at, err := c.PExpireTime(ctx, key).Result()
			require.NoError(t, err)
			require.Greater(t, at.Milliseconds(), least.UnixMilli(), key)
			require.Less(t, at.Milliseconds(), least.Add(30*24*time.Hour).UnixMilli(), key)
		}
	}
	outlives(time.Now().Add(14 * 24 * time.Hour))
	long := record("long", "ada")
	long.Expires = ms().Add(400 * 24 * time.Hour)
	require.NoError(t, s.Create(ctx, long, session.AnyEpoch))
	outlives(long.Expires.Add(14 * 24 * time.Hour))
	long.Expires = ms().Add(800 * 24 * time.Hour)
	require.NoError(t, s.Replace(ctx, long.Key, long, 1))
	outlives(long.Expires.Add(14 * 24 * time.Hour))
}

// lossy is a proxy that delivers what the client says and, when told, loses the
// answer.
type lossy struct {
	net.Listener
	mu   sync.Mutex
	lose bool
}

func startLossy(t *testing.T, to string) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &lossy{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() {
				defer out.Close()
				buf := make([]byte, 1<<16)
				for n, err := in.Read(buf); err == nil; n, err = in.Read(buf) {
					_, _ = out.Write(buf[:n])
				}
			}()
			go func() {
				defer in.Close()
				buf := make([]byte, 1<<16)
				for n, err := out.Read(buf); err == nil; n, err = out.Read(buf) {
					p.mu.Lock()
					lost := p.lose
					p.lose = false
					p.mu.Unlock()
					if lost {
						return
					}
					_, _ = in.Write(buf[:n])
				}
			}()
		}
	}()
	return p
}

func (p *lossy) loseNext() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = true
}

// A lost answer is an error. Sent again by the client library, a change would
// find itself done and say that it was refused.
func TestALostAnswerIsNoRefusal(t *testing.T) {
	server := ownServer(t)
	p := startLossy(t, server.Addr())
	s := storeOn(t, dial(t, p.Addr().String()))
	ctx := t.Context()
	rec := record("one", "ada")
	callAll(t, s) // so that the scripts are there
	cannotTell := func(err error) {
		t.Helper()
		require.Error(t, err)
		for _, answer := range []error{session.ErrExists, session.ErrNotFound, session.ErrConflict, session.ErrEpoch} {
			require.NotErrorIs(t, err, answer)
		}
	}
	p.loseNext()
	cannotTell(s.Create(ctx, rec, session.AnyEpoch))
	_, found, err := s.ByID(ctx, "one")
	require.NoError(t, err)
	require.True(t, found, "it was done")
	p.loseNext()
	cannotTell(s.Replace(ctx, rec.Key, rec, 1))
	p.loseNext()
	_, err = s.End(ctx, "one", session.ReasonRevoked, ms())
	cannotTell(err)

	require.NoError(t, s.Create(ctx, record("two", "bob"), session.AnyEpoch))
	p.loseNext()
	_, err = s.EndUser(ctx, "bob", "", session.ReasonRevoked, ms())
	cannotTell(err)

	// What changes nothing is asked again.
	require.NoError(t, s.Create(ctx, record("three", "eve"), session.AnyEpoch))
	p.loseNext()
	_, found, err = s.ByID(ctx, "three")
	require.NoError(t, err)
	require.True(t, found)
}

// The rights that the package comment names are enough, and are for this store
// alone.
func TestTheRightsItNeeds(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(source), "ACL SETUSER app ")
	rights, _, _ := strings.Cut(rest, "//\t    (on")
	server := ownServer(t)
	_, err = server.Do(append([]string{"ACL", "SETUSER", "app"}, strings.Fields(strings.ReplaceAll(rights, "//", ""))...)...)
	require.NoError(t, err)
	c := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "app", Password: "secret", ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	s, err := redisstore.New(c, nil)
	require.NoError(t, err)
	for range 2 {
		callAll(t, s)
	}
	s.SetRetention(time.Millisecond, time.Millisecond)
	time.Sleep(10 * time.Millisecond)
	callAll(t, s)
	other, err := redisstore.New(c, &redisstore.Options{Prefix: "other:"})
	require.NoError(t, err)
	_, _, err = other.Load(t.Context(), session.Key{})
	require.ErrorContains(t, err, "NOPERM")
}

// Of those who find nothing there and make the store, one does.
func TestTheFirstCallsAtOnce(t *testing.T) {
	c := client(t)
	for range 10 {
		s := storeOn(t, c)
		const n = 16
		var wg sync.WaitGroup
		start, errs := make(chan struct{}), make(chan error, n)
		for i := range n {
			wg.Go(func() {
				<-start
				errs <- s.Create(t.Context(), record(fmt.Sprint("s", i), "ada"), session.AnyEpoch)
			})
		}
		close(start)
		wg.Wait()
		for range n {
			require.NoError(t, <-errs)
		}
		list, err := s.ListUser(t.Context(), "ada")
		require.NoError(t, err)
		require.Len(t, list, n)
	}
}
