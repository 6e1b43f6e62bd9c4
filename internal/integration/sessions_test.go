package integration_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// A sign-in that read its epoch before the user's sessions were ended never
// outlives that, whichever of the two is first and from whatever pool.
func TestS22_SignInRacingEndUserAcrossHandles(t *testing.T) {
	acrossHandles(t, func(t *testing.T, a, b *sql.DB) {
		s1, s2 := sessionsOn(t, a), sessionsOn(t, b)
		ctx := t.Context()
		for i := range 25 {
			user := fmt.Sprintf("u%d", i)
			epoch, err := s1.Epoch(ctx, user)
			require.NoError(t, err)
			var created error
			var wg sync.WaitGroup
			wg.Go(func() { created = s1.Create(ctx, record(user, user), epoch) })
			var ended []session.Ended
			wg.Go(func() { ended, err = s2.EndUser(ctx, user, "", session.ReasonRevoked, time.Now()) })
			wg.Wait()
			require.NoError(t, err)
			if created == nil {
				require.Len(t, ended, 1)
			} else {
				require.ErrorIs(t, created, session.ErrEpoch)
			}
			list, err := s1.ListUser(ctx, user)
			require.NoError(t, err)
			require.Empty(t, list)
		}
	})
}

// Whoever loses a race with the end of a session does not bring it back.
func TestS3_S8_NothingBringsBackAnEndedSessionAcrossHandles(t *testing.T) {
	acrossHandles(t, func(t *testing.T, a, b *sql.DB) {
		s1, s2 := sessionsOn(t, a), sessionsOn(t, b)
		ctx := t.Context()
		for i := range 25 {
			rec := record(fmt.Sprintf("s%d", i), "u")
			require.NoError(t, s1.Create(ctx, rec, session.AnyEpoch))
			renewed := rec
			renewed.Key = keyOf(rec.ID + " renewed")
			var wg sync.WaitGroup
			var replaced, touched, endErr error
			var ended bool
			wg.Go(func() { replaced = s1.Replace(ctx, rec.Key, renewed, 1) })
			wg.Go(func() { touched = s1.Touch(ctx, rec.Key, rec.Seen.Add(time.Minute), rec.Expires) })
			wg.Go(func() { ended, endErr = s2.End(ctx, rec.ID, session.ReasonSignedOut, time.Now()) })
			wg.Wait()
			require.NoError(t, touched)
			require.NoError(t, endErr)
			require.True(t, ended)
			if replaced != nil {
				require.ErrorIs(t, replaced, session.ErrNotFound)
			}
			for _, key := range []session.Key{rec.Key, renewed.Key} {
				_, found, err := s1.Load(ctx, key)
				require.NoError(t, err)
				require.False(t, found)
			}
			require.ErrorIs(t, s1.Create(ctx, renewed, session.AnyEpoch), session.ErrExists, "the id is in the log")
		}
	})
}

// Readers of the log on other handles miss nothing and see nothing twice while
// three writers end sessions in every way there is.
func TestS25_LogReadersAcrossHandles(t *testing.T) {
	acrossHandles(t, func(t *testing.T, a, b *sql.DB) {
		s1, s2 := sessionsOn(t, a), sessionsOn(t, b)
		ctx := t.Context()
		const each = 40
		start := cursorOf(t, s1)
		for i := range each {
			require.NoError(t, s1.Create(ctx, record(fmt.Sprintf("one-%d", i), "one"), session.AnyEpoch))
			require.NoError(t, s1.Create(ctx, record(fmt.Sprintf("all-%d", i), fmt.Sprintf("all-%d", i)), session.AnyEpoch))
			old := record(fmt.Sprintf("old-%d", i), "old")
			old.IdleExpires = old.Seen.Add(-time.Minute)
			require.NoError(t, s1.Create(ctx, old, session.AnyEpoch))
		}
		done := make(chan struct{})
		var writers, readers sync.WaitGroup
		var failures [4]error
		writers.Go(func() {
			for i := range each {
				_, err := s1.End(ctx, fmt.Sprintf("one-%d", i), session.ReasonSignedOut, time.Now())
				failures[0] = errors.Join(failures[0], err)
			}
		})
		writers.Go(func() {
			for i := range each {
				_, err := s2.EndUser(ctx, fmt.Sprintf("all-%d", i), "", session.ReasonRevoked, time.Now())
				failures[1] = errors.Join(failures[1], err)
			}
		})
		writers.Go(func() {
			for range each {
				_, err := s2.Reap(ctx, time.Now(), 1)
				failures[2] = errors.Join(failures[2], err)
			}
		})
		seen := map[string]int{}
		readers.Go(func() {
			cursor := start
			for last := false; ; {
				list, next, err := s2.EndedSince(ctx, cursor, 7)
				if failures[3] = err; err != nil {
					return
				}
				for _, e := range list {
					seen[e.ID]++
				}
				if cursor = next; len(list) > 0 {
					continue
				}
				if last {
					return
				}
				select {
				case <-done:
					last = true
				default:
				}
			}
		})
		writers.Wait()
		close(done)
		readers.Wait()
		require.NoError(t, errors.Join(failures[:]...))
		require.Len(t, seen, 3*each)
		for id, n := range seen {
			require.Equal(t, 1, n, id)
		}
	})
}

// Cursors and epochs are worth the same after a restart; a cursor of another
// log, or one that a restored backup has not reached, is lost.
func TestS25_CursorsAcrossRestartAndRestore(t *testing.T) {
	file := sqliteFile(t)
	db := openSQLite(t, file)
	s := sessionsOn(t, db)
	ctx := t.Context()
	require.NoError(t, s.Create(ctx, record("s1", "u"), session.AnyEpoch))
	require.NoError(t, s.Create(ctx, record("s2", "u"), session.AnyEpoch))
	start := cursorOf(t, s)
	_, err := s.End(ctx, "s1", session.ReasonSignedOut, time.Now())
	require.NoError(t, err)
	_, err = db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	require.NoError(t, err)
	backup, err := os.ReadFile(file)
	require.NoError(t, err)
	_, err = s.EndUser(ctx, "u", "", session.ReasonRevoked, time.Now())
	require.NoError(t, err)
	epoch, err := s.Epoch(ctx, "u")
	require.NoError(t, err)
	require.NoError(t, db.Close())

	s = sessionsOn(t, openSQLite(t, file))
	list, end, err := s.EndedSince(ctx, start, 10)
	require.NoError(t, err)
	require.Len(t, list, 2)
	again, err := s.Epoch(ctx, "u")
	require.NoError(t, err)
	require.Equal(t, epoch, again)
	list, same, err := s.EndedSince(ctx, end, 10)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Equal(t, end, same)

	restored := sqliteFile(t)
	require.NoError(t, os.WriteFile(restored, backup, 0o600))
	other := sessionsOn(t, openSQLite(t, sqliteFile(t)))
	for name, lost := range map[string]func() error{
		"restored": func() error {
			_, _, err := sessionsOn(t, openSQLite(t, restored)).EndedSince(ctx, end, 10)
			return err
		},
		"another log": func() error { _, _, err := other.EndedSince(ctx, start, 10); return err },
		"no cursor":   func() error { _, _, err := s.EndedSince(ctx, "12", 10); return err },
		"not a number": func() error {
			_, _, err := s.EndedSince(ctx, start+"x", 10)
			return err
		},
	} {
		var c interface{ CursorLost() bool }
		err := lost()
		require.ErrorIs(t, err, session.ErrCursorLost, name)
		require.True(t, errors.As(err, &c) && c.CursorLost(), name)
	}
}

// The log keeps its promise to the minute, has no holes where clocks disagree,
// and an epoch that was raised stays raised.
func TestS25_LogRetention(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		s := sessionsOn(t, openDSN(t, dsn))
		ctx := t.Context()
		now := time.Now()
		start := cursorOf(t, s)
		for i, at := range []time.Duration{0, -10 * time.Minute, 3 * time.Hour, 0} { // the last: a clock that is behind
			id := fmt.Sprintf("s%d", i)
			require.NoError(t, s.Create(ctx, record(id, id), session.AnyEpoch))
			_, err := s.EndUser(ctx, id, "", session.ReasonRevoked, now.Add(at))
			require.NoError(t, err)
		}
		_, err := s.Reap(ctx, now.Add(15*time.Minute), 100)
		require.NoError(t, err)
		list, _, err := s.EndedSince(ctx, start, 100)
		require.NoError(t, err)
		require.Len(t, list, 4)
		_, second, err := s.EndedSince(ctx, start, 2)
		require.NoError(t, err)
		_, first, err := s.EndedSince(ctx, start, 1)
		require.NoError(t, err)

		_, err = s.Reap(ctx, now.Add(2*time.Hour), 100)
		require.NoError(t, err)
		for _, lost := range []string{start, first} {
			_, _, err = s.EndedSince(ctx, lost, 100)
			require.ErrorIs(t, err, session.ErrCursorLost)
		}
		list, end, err := s.EndedSince(ctx, second, 100)
		require.NoError(t, err)
		require.Len(t, list, 2, "what is older than an entry that stays, stays behind it")

		_, err = s.Reap(ctx, now.Add(24*time.Hour), 100)
		require.NoError(t, err)
		_, _, err = s.EndedSince(ctx, second, 100)
		require.ErrorIs(t, err, session.ErrCursorLost)
		list, _, err = s.EndedSince(ctx, end, 100)
		require.NoError(t, err, "nothing after this cursor was forgotten")
		require.Empty(t, list)
		epoch, err := s.Epoch(ctx, "s0")
		require.NoError(t, err)
		require.NotZero(t, epoch)
	})
}

// Every column comes back as it went in, with times in UTC whatever zone they
// had.
func TestS29_RecordsComeBackExactly(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s := sessionsOn(t, db)
		ctx := t.Context()
		zone := time.FixedZone("far", -11*3600-1800)
		now := time.Now().Truncate(time.Microsecond)
		full := session.Record{
			Key: keyOf("full"), ID: "full", Kind: session.KindToken, UserID: "u'; DROP TABLE gatewire_sessions; --",
			Scopes: []string{"a b", `"`, "<é>"}, Roles: []string{},
			AuthTime: now.In(zone), Created: now.Add(time.Microsecond), Seen: now, IdleExpires: now.Add(2 * time.Hour), Expires: now.Add(time.Hour),
			UserAgent: "odd \x01?1$1é", IP: "2001:db8::1",
			Origin:  session.Origin{Issuer: "https://i.example", Subject: "sub", SID: "sid"},
			Refresh: session.Refresh{Secret: keyOf("1"), Previous: keyOf("2"), RotatedAt: now, Successor: []byte{0, 255}},
			Data:    []byte("\x00\xff"),
		}
		if !onPostgres(db) { // which has no text like that
			full.UserAgent = "bad\xff\x00utf-8?1$1"
		}
		empty := session.Record{Key: keyOf("empty"), ID: "empty"}
		for _, rec := range []session.Record{full, empty} {
			want := rec
			want.Rev = 1
			want.AuthTime, want.Created, want.Seen = rec.AuthTime.UTC(), rec.Created.UTC(), rec.Seen.UTC()
			want.IdleExpires, want.Expires, want.Refresh.RotatedAt = rec.IdleExpires.UTC(), rec.Expires.UTC(), rec.Refresh.RotatedAt.UTC()
			rec.Rev = 99
			require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
			got, found, err := s.Load(ctx, rec.Key)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, want, got)
			byID, found, err := s.ByID(ctx, rec.ID)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, want, byID)
			list, err := s.ListUser(ctx, rec.UserID)
			require.NoError(t, err)
			if rec.UserID == "" {
				require.Empty(t, list)
				continue
			}
			require.Equal(t, []session.Record{want}, list)
		}
		// Records are plain columns: text, numbers, and bytes only where bytes are meant.
		if onPostgres(db) || onMySQL(db) {
			return
		}
		var types string
		require.NoError(t, db.QueryRow(`SELECT typeof(id) || typeof(key) || typeof(rev) || typeof(scopes) || typeof(created)
			|| typeof(user_agent) || typeof(refresh_secret) || typeof(data) FROM gatewire_sessions WHERE id = 'full'`).Scan(&types))
		require.Equal(t, "textblobintegertextintegertextblobblob", types)
	})
}

// manySessions stores n sessions with ids id1 and so on; user and idle are
// expressions of i.
func manySessions(db *sql.DB, n int, user, idle string) error {
	bytes, text := `CAST(printf('%032d', i) AS BLOB)`, `CAST(i AS TEXT)`
	with, numbers := "WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i+1 FROM n WHERE i < "+strconv.Itoa(n)+")\n", "n"
	switch {
	case onPostgres(db):
		bytes = `CAST(lpad(CAST(i AS TEXT), 32, '0') AS BYTEA)`
	case onMySQL(db):
		bytes, text = `lpad(i, 32, '0')`, `i`
		with, numbers = "", "(SELECT seq AS i FROM seq_1_to_"+strconv.Itoa(n)+") AS n" // MariaDB's own
	}
	_, err := db.Exec(with + `INSERT INTO gatewire_sessions (id, ` + key(db) + `, kind, rev, user_id, scopes, roles, auth_time, created, seen,
			idle_expires, expires, user_agent, ip, origin_issuer, origin_subject, origin_sid, refresh_rotated)
		SELECT concat('id', ` + text + `), ` + bytes + `, 'cookie', 1, ` + user + `,
			'[]', '[]', i, i, i, ` + idle + `, 1000000000000000000, '', '', 'https://issuer.example',
			concat('sub', i % 3000), concat('sid', ` + text + `), 0 FROM ` + numbers)
	return err
}

// The reaper asks for little at a time, once a minute where nothing expires. What
// users have ended in that minute is forgotten all the same when its time comes.
func TestS20_TheLogDoesNotOutgrowTheReaper(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s := sessionsOn(t, db)
		ctx, now := t.Context(), time.Now()
		const n = 5000
		require.NoError(t, manySessions(db, n, "'u'", "1000000000000000000"))
		ended, err := s.EndUser(ctx, "u", "", session.ReasonRevoked, now.Add(-2*time.Hour))
		require.NoError(t, err)
		require.Len(t, ended, n)
		require.NoError(t, s.Create(ctx, record("s1", "u"), session.AnyEpoch))
		cursor := cursorOf(t, s)
		_, err = s.End(ctx, "s1", session.ReasonSignedOut, now)
		require.NoError(t, err)
		_, err = s.Reap(ctx, now, 50)
		require.NoError(t, err)
		var left int
		require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM gatewire_session_ended`).Scan(&left))
		require.Equal(t, 1, left)
		ended, _, err = s.EndedSince(ctx, cursor, 10)
		require.NoError(t, err)
		require.Len(t, ended, 1)
	})
}

// Expired sessions go in batches, and no batch keeps readers waiting.
func TestS20_ReapInBatches(t *testing.T) {
	kinds(t, func(t *testing.T, fresh func(testing.TB) string) {
		if strings.HasSuffix(t.Name(), "bare") {
			return // without WAL, readers and the writer do wait for each other
		}
		dsn := fresh(t)
		db := openDSN(t, dsn)
		s := sessionsOn(t, db)
		ctx := t.Context()
		const dead = 20000
		require.NoError(t, manySessions(db, dead, "concat('u', i)", "i"))
		require.NoError(t, s.Create(ctx, record("alive", "u"), session.AnyEpoch))

		reader := sessionsOn(t, openDSN(t, dsn))
		stop, stopped := make(chan struct{}), make(chan error)
		go func() {
			for {
				select {
				case <-stop:
					stopped <- nil
					return
				default:
				}
				if _, found, err := reader.ByID(ctx, "alive"); err != nil || !found {
					stopped <- errors.Join(err, errors.New("a reader was kept from a live session"))
					return
				}
			}
		}()
		total := 0
		for {
			ended, err := s.Reap(ctx, time.Now(), 5000)
			require.NoError(t, err)
			require.LessOrEqual(t, len(ended), 5000)
			if len(ended) == 0 {
				break
			}
			require.Equal(t, fmt.Sprintf("id%d", total+1), ended[0].ID, "the longest dead first")
			require.Equal(t, session.ReasonExpired, ended[0].Reason)
			total += len(ended)
		}
		close(stop)
		require.NoError(t, <-stopped)
		require.Equal(t, dead, total)
		for _, limit := range []int{0, -1} {
			ended, err := s.Reap(ctx, time.Now().Add(24*time.Hour), limit)
			require.NoError(t, err)
			require.Empty(t, ended)
			list, _, err := s.EndedSince(ctx, cursorOf(t, s), limit)
			require.NoError(t, err)
			require.Empty(t, list)
		}
	})
}

// An in-memory database, opened as the package comment says.
func TestSQLiteInMemory(t *testing.T) {
	db := openSQLite(t, ":memory:")
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	s, a := sessionsOn(t, db), accountsOn(t, db)
	furnish(t, s, a)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { _ = s.Create(t.Context(), record(fmt.Sprint(i), "u"), session.AnyEpoch) })
	}
	wg.Wait()
	list, err := s.ListUser(t.Context(), "u")
	require.NoError(t, err)
	require.Len(t, list, 8)
}

// The data source name is understood: what it asks for is what connections get.
func TestSQLiteDSNSettings(t *testing.T) {
	file := sqliteFile(t)
	db := openSQLite(t, file)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "foreign_keys": "1"} {
		var got string
		require.NoError(t, db.QueryRow(`PRAGMA `+pragma).Scan(&got))
		require.Equal(t, want, got, pragma)
	}
	require.FileExists(t, file, "characters that mean something in a URI are part of the name")

	// Transactions begin IMMEDIATE: a second one has to wait from its start.
	other := openSQLite(t, file)
	_, err := other.Exec(`PRAGMA busy_timeout = 0`)
	require.NoError(t, err)
	other.SetMaxOpenConns(1)
	tx, err := db.Begin()
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = other.Begin()
	require.ErrorContains(t, err, "locked")
}
