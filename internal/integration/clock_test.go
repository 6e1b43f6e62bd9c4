package integration_test

import (
	"context"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/redistest"
	"github.com/gatewire/gatewire/internal/sessionload"
	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/redisstore"
)

// stepped is a store as a node has it whose clock is wrong by so much. What the
// node sends is later by that, and what it gets is earlier: for the manager, which
// compares its clock with nothing but the times of records, and for the store,
// which is told every time, that is the same as another clock.
type stepped struct {
	session.Store
	by *atomic.Int64 // nanoseconds
}

func (s stepped) out(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(time.Duration(s.by.Load()))
}

func (s stepped) in(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(-time.Duration(s.by.Load()))
}

// moved returns rec with all of its times moved.
func moved(rec session.Record, move func(time.Time) time.Time) session.Record {
	for _, t := range []*time.Time{&rec.AuthTime, &rec.Created, &rec.Seen, &rec.IdleExpires, &rec.Expires, &rec.Refresh.RotatedAt} {
		*t = move(*t)
	}
	return rec
}

func (s stepped) all(list []session.Ended, err error) ([]session.Ended, error) {
	for i := range list {
		list[i].At = s.in(list[i].At)
	}
	return list, err
}

func (s stepped) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	return s.Store.Create(ctx, moved(rec, s.out), epoch)
}

func (s stepped) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	rec, found, err := s.Store.Load(ctx, key)
	return moved(rec, s.in), found, err
}

func (s stepped) ByID(ctx context.Context, id string) (session.Record, bool, error) {
	rec, found, err := s.Store.ByID(ctx, id)
	return moved(rec, s.in), found, err
}

func (s stepped) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	return s.Store.Replace(ctx, old, moved(rec, s.out), ifRev)
}

func (s stepped) Touch(ctx context.Context, key session.Key, seen, idleExpires time.Time) error {
	return s.Store.Touch(ctx, key, s.out(seen), s.out(idleExpires))
}

func (s stepped) End(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
	return s.Store.End(ctx, id, reason, s.out(at))
}

func (s stepped) EndUser(ctx context.Context, user, except string, reason session.Reason, at time.Time) ([]session.Ended, error) {
	return s.all(s.Store.EndUser(ctx, user, except, reason, s.out(at)))
}

func (s stepped) EndOrigin(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
	return s.all(s.Store.EndOrigin(ctx, o, reason, s.out(at)))
}

func (s stepped) EndedSince(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
	list, next, err := s.Store.EndedSince(ctx, cursor, limit)
	list, err = s.all(list, err)
	return list, next, err
}

func (s stepped) ListUser(ctx context.Context, user string) ([]session.Record, error) {
	list, err := s.Store.ListUser(ctx, user)
	for i := range list {
		list[i] = moved(list[i], s.in)
	}
	return list, err
}

func (s stepped) Reap(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
	return s.all(s.Store.Reap(ctx, s.out(now), limit))
}

// clocked runs f for each kind of store, with one of its two nodes on a clock
// that can be set.
func clocked(t *testing.T, f func(t *testing.T, right, wrong session.Store, by *atomic.Int64)) {
	two := func(t *testing.T, a, b session.Store) {
		by := new(atomic.Int64)
		f(t, a, stepped{b, by}, by)
	}
	t.Run("memory", func(t *testing.T) {
		s := session.NewMemoryStore(nil)
		two(t, s, s)
	})
	t.Run("Redis", func(t *testing.T) {
		a, b := redisNodes(t)
		two(t, a, b)
	})
	everyDatabase(t, func(t *testing.T, dsn string) {
		two(t, sessionsOn(t, openDSN(t, dsn)), sessionsOn(t, openDSN(t, dsn)))
	})
}

// redisNodes are two stores on one server of this test's own.
func redisNodes(t *testing.T) (a, b session.Store) {
	t.Helper()
	server, err := redistest.Start()
	child.Require(t, err)
	t.Cleanup(func() { _ = server.Close() })
	var nodes [2]session.Store
	for i := range nodes {
		c := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = c.Close() })
		nodes[i], err = redisstore.New(c, nil)
		require.NoError(t, err)
	}
	return nodes[0], nodes[1]
}

// One node's clock goes an hour ahead, and back, and an hour behind, in the
// middle of everything. What was acknowledged stays and who has ended stays ended
// on both nodes; a reader of the log misses nobody without being told.
func TestS25_ClockSteppedUnderLoad(t *testing.T) {
	clocked(t, func(t *testing.T, right, wrong session.Store, by *atomic.Int64) {
		o := loaded()
		o.Idle = 3 * time.Hour // longer than the step: see TestS25_ClockAnHourWrong
		// A refresh repeated at a node an hour off is no repetition: nobody is to.
		l, err := sessionload.Start(t.Context(), []session.Store{right, wrong}, sessionload.Options{Session: o, LogMayBeLost: true, Clients: 4, Deadline: 20 * time.Second})
		require.NoError(t, err)
		for _, step := range []time.Duration{time.Hour, -time.Hour, 0} {
			by.Store(int64(step))
			time.Sleep(100 * time.Millisecond)
			_, err := l.Healed(recovery)
			require.NoError(t, err, "at %v", step)
		}
		require.NoError(t, l.Stop(t.Context()))
		// SQLite's writers don't queue: on a busy machine one may find it locked for
		// all of its deadline.
		require.LessOrEqual(t, l.Unanswered(), l.Requests()/100)
	})
}

// What a clock that is an hour wrong does to who is signed in. Ahead, it refuses
// too early, and its reaper ends for all nodes and for good what it takes for
// expired. Behind, it takes what has expired for live until any other node reaps
// it, and nobody is signed in elsewhere by it. Nothing that has ended comes back, and
// no absolute end moves.
func TestS25_ClockAnHourWrong(t *testing.T) {
	clocked(t, func(t *testing.T, right, wrong session.Store, by *atomic.Int64) {
		ctx := t.Context()
		good, bad := managerOn(t, right), managerOn(t, wrong)
		at := func(d time.Duration) { by.Store(int64(d)) }
		live := func(m *session.Manager[nothing], cookie string) string {
			t.Helper()
			s, err := m.Authenticate(withCookie(cookie))
			require.NoError(t, err)
			return s.ID()
		}
		gone := func(m *session.Manager[nothing], cookie string) {
			t.Helper()
			_, err := m.Authenticate(withCookie(cookie))
			require.ErrorIs(t, err, session.ErrInvalid)
		}
		reap := func(s session.Store) int {
			t.Helper()
			ended, err := s.Reap(ctx, time.Now(), 100)
			require.NoError(t, err)
			return len(ended)
		}

		cookie := signIn(t, good, "ada")
		id := live(bad, cookie)
		at(time.Hour)
		gone(bad, cookie)
		live(good, cookie)
		before, _, err := right.ByID(ctx, id)
		require.NoError(t, err)
		require.NoError(t, wrong.Touch(ctx, before.Key, time.Now(), time.Now().Add(30*time.Minute)))
		after, found, err := right.ByID(ctx, id)
		require.NoError(t, err)
		require.True(t, found)
		require.WithinDuration(t, before.IdleExpires.Add(time.Hour), after.IdleExpires, time.Minute, "an hour idle for nothing")
		require.NoError(t, wrong.Touch(ctx, before.Key, time.Now(), time.Now().Add(24*time.Hour)))
		after, _, err = right.ByID(ctx, id)
		require.NoError(t, err)
		require.Equal(t, before.Expires, after.Expires)
		require.False(t, after.IdleExpires.After(after.Expires))

		cookie = signIn(t, good, "ada")
		require.Equal(t, 1, reap(wrong), "it takes for expired what idles half an hour")
		gone(good, cookie)
		at(0)
		gone(bad, cookie)

		at(time.Hour)
		cookie = signIn(t, bad, "bea")
		live(good, cookie)
		_, err = good.RevokeUser(ctx, "bea", session.ReasonRevoked)
		require.NoError(t, err)
		gone(bad, cookie)

		at(-time.Hour)
		cookie = signIn(t, bad, "cyd")
		live(bad, cookie)
		gone(good, cookie)
		require.Equal(t, 1, reap(right))
		gone(bad, cookie)
		at(0)
		gone(bad, cookie)

		first, _, err := good.BeginToken(ctx, session.Start{UserID: "dan"})
		require.NoError(t, err)
		at(time.Hour)
		second, _, err := bad.Refresh(ctx, first.Reveal())
		require.NoError(t, err)
		_, _, err = good.Refresh(ctx, first.Reveal())
		require.ErrorIs(t, err, session.ErrRefreshInvalid, "an hour is not within the grace")
		for _, m := range []*session.Manager[nothing]{good, bad} {
			_, _, err = m.Refresh(ctx, second.Reveal())
			require.ErrorIs(t, err, session.ErrRefreshInvalid, "it might have been copied")
		}
	})
}

// asksClock is what SQLite, PostgreSQL and MySQL tell their own time by.
var asksClock = regexp.MustCompile(`(?i)\b(now|current_timestamp|current_time|current_date|localtime|localtimestamp|clock_timestamp|` +
	`statement_timestamp|transaction_timestamp|timeofday|unixepoch|julianday|strftime|datetime|sysdate|unix_timestamp|utc_timestamp|curtime|curdate)\b`)

var comments = regexp.MustCompile(`--.*`)

// The clock of the database's machine decides nothing: no statement asks for it.
func TestS25_NoStatementAsksTheServersClock(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		watch, db := openSpy(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db) // migrations too
		furnish(t, s, a)
		for name, op := range operations(s, a, cursorOf(t, s)) {
			_, err := op(t.Context())
			if err != nil { // as after what another operation has done
				require.False(t, strings.Contains(err.Error(), "syntax"), "%s: %v", name, err)
			}
		}
		watch.mu.Lock()
		defer watch.mu.Unlock()
		require.Greater(t, len(watch.seen), 40)
		for _, st := range watch.seen {
			require.NotRegexp(t, asksClock, comments.ReplaceAllString(st.query, ""))
		}
	})
}

// The keys in Redis expire by the server's clock, as a safety net for a store
// that nobody uses any more. However wrong a node's clock is beside the server's,
// the keys outlast everything by two weeks at least.
func TestS24_ExpiryOfKeysUnderAWrongClock(t *testing.T) {
	server, err := redistest.Start()
	child.Require(t, err)
	t.Cleanup(func() { _ = server.Close() })
	c := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	right, err := redisstore.New(c, nil)
	require.NoError(t, err)
	ctx := t.Context()
	cookie := signIn(t, managerOn(t, right), "ada")
	const day = 24 * time.Hour
	for _, by := range []time.Duration{0, -time.Hour, time.Hour, -400 * day, 400 * day, -400 * day, 0} {
		wrong := stepped{right, new(atomic.Int64)}
		wrong.by.Store(int64(by))
		m := managerOn(t, wrong)
		_, _, err := m.BeginToken(ctx, session.Start{UserID: "bea"})
		require.NoError(t, err)
		if by.Abs() <= time.Hour {
			_, err = m.RevokeUser(ctx, "cyd", session.ReasonRevoked)
			require.NoError(t, err)
		}
		for _, key := range []string{"{gw:sessions}:all", "{gw:sessions}:index", "{gw:sessions}:dies"} {
			left, err := c.PTTL(ctx, key).Result()
			require.NoError(t, err)
			require.Greater(t, left, 14*day, "%s with a node %v off", key, by)
		}
		_, err = managerOn(t, right).Authenticate(withCookie(cookie))
		require.NoError(t, err, "%v", by)
	}
}
