package integration_test

import (
	"context"
	"database/sql"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/internal/integration/dbtest"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sessiontest"
)

// onServers runs f on an empty database of each kind that lets transactions run
// side by side.
func onServers(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Run("PostgreSQL", func(t *testing.T) { f(t, dbtest.PostgresDSN(t)) })
	t.Run("MariaDB", func(t *testing.T) { f(t, dbtest.MySQLDSN(t)) })
}

// with adds a setting of the connection to a connection string.
func with(dsn, name, value string) string {
	if isMySQL(dsn) {
		before := "?"
		if strings.Contains(dsn, "?") {
			before = "&"
		}
		return dsn + before + url.QueryEscape(name) + "=" + url.QueryEscape(value)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		panic(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String()
}

// paused is a database on which the next commit waits. reached is closed when
// it does, and resume lets it go on.
func paused(t *testing.T, dsn string) (db *sql.DB, reached <-chan struct{}, resume func()) {
	t.Helper()
	_, db, reached, resume = pausedAt(t, dsn, "COMMIT")
	return db, reached, resume
}

func pausedAt(t *testing.T, dsn, statement string) (watch *spy, db *sql.DB, reached <-chan struct{}, resume func()) {
	t.Helper()
	watch, db = openSpy(t, dsn)
	there, free := make(chan struct{}), make(chan struct{})
	pending := true
	watch.setFail(func(query string) error {
		if !pending || !strings.HasPrefix(query, statement) {
			return nil
		}
		pending = false
		close(there)
		select {
		case <-free:
		case <-time.After(20 * time.Second):
		}
		return nil
	})
	return watch, db, there, func() { close(free) }
}

// endingUser has all sessions of the user u being ended, up to the commit.
func endingUser(t *testing.T, dsn string) (ended <-chan error, resume func()) {
	t.Helper()
	db, reached, resume := paused(t, dsn)
	s, ctx := sessionsOnMigrated(t, db), t.Context()
	ended = background(func() error {
		_, err := s.EndUser(ctx, "u", "", session.ReasonPasswordChanged, time.Now())
		return err
	})
	<-reached
	return ended, resume
}

// signInWaits checks that a sign-in waits for the end of the user's sessions, and
// sees it then.
func signInWaits(t *testing.T, dsn string) {
	t.Helper()
	s, ctx := sessionsOn(t, openDSN(t, dsn)), t.Context()
	ended, resume := endingUser(t, dsn)
	created := background(func() error { return s.Create(ctx, record("s1", "u"), 0) })
	waits(t, created, "a session began while all of the user's were being ended")
	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	require.NoError(t, s.Create(soon, record("s2", "v"), 0), "other users don't wait")
	resume()
	require.NoError(t, <-ended)
	require.ErrorIs(t, <-created, session.ErrEpoch)
}

// parameter is the first of a statement.
func parameter(db *sql.DB) string {
	if onMySQL(db) {
		return "?"
	}
	return "$1"
}

// waits checks that what done stands for is still waiting after a while.
func waits[T any](t *testing.T, done <-chan T, what string) {
	t.Helper()
	select {
	case <-done:
		t.Fatal(what)
	case <-time.After(300 * time.Millisecond):
	}
}

// background runs f and says when it has returned, with its result.
func background[T any](f func() T) <-chan T {
	done := make(chan T, 1)
	go func() { done <- f() }()
	return done
}

// A sign-in whose session is written and not yet committed: the user's
// sessions are ended at that moment, and this one with them.
func TestS22_EndUserWaitsForASignIn(t *testing.T) {
	onServers(t, func(t *testing.T, dsn string) {
		s := sessionsOn(t, openDSN(t, dsn))
		ctx := t.Context()
		db, reached, resume := paused(t, dsn)
		slow := sessionsOnMigrated(t, db)
		created := background(func() error { return slow.Create(ctx, record("s1", "u"), 0) })
		<-reached
		ended := background(func() int {
			list, err := s.EndUser(ctx, "u", "", session.ReasonPasswordChanged, time.Now())
			if err != nil {
				return -1
			}
			return len(list)
		})
		other, err := s.EndUser(ctx, "other", "", session.ReasonRevoked, time.Now())
		require.NoError(t, err, "other users don't wait")
		require.Empty(t, other)
		waits(t, ended, "the sessions were ended past one that was about to be")
		resume()
		require.NoError(t, <-created)
		require.Equal(t, 1, <-ended)
		list, err := s.ListUser(ctx, "u")
		require.NoError(t, err)
		require.Empty(t, list)
	})
}

// A session that nobody has signed in to becomes the user's while the user's
// sessions are being ended. Who reads the epoch after that finds it raised.
func TestS22_ReplaceWaitsForEndUser(t *testing.T) {
	onServers(t, func(t *testing.T, dsn string) {
		s := sessionsOn(t, openDSN(t, dsn))
		ctx := t.Context()
		anonymous := record("s1", "")
		require.NoError(t, s.Create(ctx, anonymous, session.AnyEpoch))
		ended, resume := endingUser(t, dsn)
		mine := anonymous
		mine.UserID = "u"
		replaced := background(func() error { return s.Replace(ctx, mine.Key, mine, 1) })
		waits(t, replaced, "a session changed hands while all of the new owner's were being ended")
		resume()
		require.NoError(t, <-ended)
		require.NoError(t, <-replaced)
		epoch, err := s.Epoch(ctx, "u")
		require.NoError(t, err)
		require.NotZero(t, epoch)

		// One that stays the user's waits for nobody: it is removed as it is then.
		require.NoError(t, s.Replace(ctx, mine.Key, mine, 2))
	})
}

// Numbers of the log are committed in their order: a reader cannot pass one.
func TestS25_LogIsCommittedInOrder(t *testing.T) {
	onServers(t, func(t *testing.T, dsn string) {
		s := sessionsOn(t, openDSN(t, dsn))
		ctx := t.Context()
		for _, id := range []string{"s1", "s2"} {
			require.NoError(t, s.Create(ctx, record(id, id), session.AnyEpoch))
		}
		cursor := cursorOf(t, s)
		db, reached, resume := paused(t, dsn)
		slow := sessionsOnMigrated(t, db)
		end := func(s session.Store, id string) <-chan error {
			return background(func() error {
				_, err := s.End(ctx, id, session.ReasonSignedOut, time.Now())
				return err
			})
		}
		first := end(slow, "s1")
		<-reached
		second := end(s, "s2")
		waits(t, second, "the second number was committed before the first")
		list, cursor, err := s.EndedSince(ctx, cursor, 10)
		require.NoError(t, err)
		require.Empty(t, list)
		_, found, err := s.ByID(ctx, "s1")
		require.NoError(t, err)
		require.True(t, found, "what is not committed is not seen, and who reads waits for nobody")
		resume()
		require.NoError(t, <-first)
		require.NoError(t, <-second)
		list, _, err = s.EndedSince(ctx, cursor, 10)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, "s1", list[0].ID)
		require.Equal(t, "s2", list[1].ID)
	})
}

// A session is touched while the reaper looks at it: it lives.
func TestS8_PostgresReaperSparesWhatWasTouched(t *testing.T) {
	dsn := dbtest.PostgresDSN(t)
	db := openDSN(t, dsn)
	s := sessionsOn(t, db)
	ctx, now := t.Context(), time.Now()
	dead, idle := record("dead", "u"), record("idle", "u")
	dead.IdleExpires, idle.IdleExpires = now.Add(-time.Minute), now.Add(-time.Minute)
	require.NoError(t, s.Create(ctx, dead, session.AnyEpoch))
	require.NoError(t, s.Create(ctx, idle, session.AnyEpoch))
	tx, err := db.Begin() // a touch that is not committed yet
	require.NoError(t, err)
	_, err = tx.Exec(`UPDATE gatewire_sessions SET idle_expires = expires WHERE id = 'idle'`)
	require.NoError(t, err)
	var ended []session.Ended
	reaped := background(func() (err error) { ended, err = s.Reap(ctx, now, 10); return err })
	waits(t, reaped, "the reaper did not wait")
	require.NoError(t, tx.Commit())
	require.NoError(t, <-reaped)
	require.Len(t, ended, 1)
	require.Equal(t, "dead", ended[0].ID)
	_, found, err := s.ByID(ctx, "idle")
	require.NoError(t, err)
	require.True(t, found)
}

// A session is renewed while it is being ended: the log has the key of then,
// which nobody can use again.
func TestS4_LogHasTheLastKey(t *testing.T) {
	onServers(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s := sessionsOn(t, db)
		ctx := t.Context()
		rec := record("s1", "u")
		require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
		renewed := keyOf("renewed")
		tx, err := db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec(`UPDATE gatewire_sessions SET `+key(db)+` = `+parameter(db)+`, rev = 2 WHERE id = 's1'`, renewed[:])
		require.NoError(t, err)
		ended := background(func() error {
			_, err := s.End(ctx, "s1", session.ReasonSignedOut, time.Now())
			return err
		})
		waits(t, ended, "the end did not wait for the renewal")
		require.NoError(t, tx.Commit())
		require.NoError(t, <-ended)
		again := record("s2", "u")
		again.Key = renewed
		require.ErrorIs(t, s.Create(ctx, again, session.AnyEpoch), session.ErrExists)
	})
}

func TestJ12_PostgresOneOfTwoNodesAddsAKey(t *testing.T) {
	dsn := dbtest.PostgresDSN(t)
	a := accountsOn(t, openDSN(t, dsn))
	ctx := t.Context()
	db, reached, resume := paused(t, dsn)
	slow := accountsOnMigrated(t, db)
	key := func(id string) jwt.StoredKey {
		return jwt.StoredKey{ID: id, Algorithm: "ES256", Public: []byte("{}"), Sealed: []byte("s"), Published: time.Now()}
	}
	first := background(func() error { return slow.AddKey(ctx, key("k1"), "") })
	<-reached
	second := background(func() error { return a.AddKey(ctx, key("k2"), "") })
	waits(t, second, "a second key was added past the first")
	resume()
	require.NoError(t, <-first)
	require.ErrorIs(t, <-second, jwt.ErrKeyConflict)
}

// The rules hold whatever isolation level the server or the connection has by
// default.
func TestS25_PostgresIsolationLevels(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			dsn := with(dbtest.PostgresDSN(t), "default_transaction_isolation", level)
			var now string
			require.NoError(t, openDSN(t, dsn).QueryRow(`SHOW transaction_isolation`).Scan(&now))
			require.Equal(t, level, now)
			signInWaits(t, dsn)
		})
	}
	sessiontest.Run(t, func(t *testing.T) session.Store {
		return sessionsOn(t, openDSN(t, with(dbtest.PostgresDSN(t), "default_transaction_isolation", "serializable")))
	})
}

// The server ends a deadlock by failing one of the two. When that is the
// store's transaction, it is run again.
func TestS25_PostgresDeadlockIsRetried(t *testing.T) {
	dsn := dbtest.PostgresDSN(t)
	db := openDSN(t, dsn)
	s := sessionsOn(t, db)
	ctx := t.Context()
	require.NoError(t, s.Create(ctx, record("s1", "u"), session.AnyEpoch))
	// The store holds the head and will want the row; this holds the row and
	// wants the head. The one that waits last finds out, and is the victim.
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec(`SET LOCAL deadlock_timeout = '30s'`)
	require.NoError(t, err)
	_, err = tx.Exec(`UPDATE gatewire_sessions SET seen = seen WHERE id = 's1'`)
	require.NoError(t, err)
	watch, slow, reached, resume := pausedAt(t, with(dsn, "deadlock_timeout", "50"), "WITH gone")
	ended := background(func() error {
		_, err := sessionsOnMigrated(t, slow).End(ctx, "s1", session.ReasonSignedOut, time.Now())
		return err
	})
	<-reached
	locked := background(func() error {
		_, err := tx.Exec(`UPDATE gatewire_session_head SET seq = seq`)
		return err
	})
	waits(t, locked, "nobody holds the head of the log")
	resume()
	require.NoError(t, <-locked, "the store's transaction was to be the one that failed")
	require.NoError(t, tx.Commit())
	require.NoError(t, <-ended)
	// On a busy machine it may be back at the head before who waited there wakes
	// up, and be the victim again.
	require.GreaterOrEqual(t, watch.sent("WITH gone"), 2)
	_, found, err := s.ByID(ctx, "s1")
	require.NoError(t, err)
	require.False(t, found)
}

// PostgreSQL has no text with a zero byte or outside UTF-8. What would need it
// is refused whole, in words that don't repeat it; who looks for it finds nothing.
func TestPostgresRefusesTextItCannotKeep(t *testing.T) {
	db := openDSN(t, dbtest.PostgresDSN(t))
	s, a := sessionsOn(t, db), accountsOn(t, db)
	furnish(t, s, a)
	ctx, now := t.Context(), time.Now()
	before := dumpTables(t, db)
	for name, odd := range map[string]string{"zero": "secret\x00", "latin-1": "secret\xe9", "surrogate": "secret\xed\xa0\x80"} {
		t.Run(name, func(t *testing.T) {
			create := func(change func(*session.Record)) error {
				rec := record("new", "u")
				change(&rec)
				return s.Create(ctx, rec, session.AnyEpoch)
			}
			sign := func(change func(*accounts.User, *accounts.ExternalIdentity)) error {
				u := user(2)
				id := accounts.ExternalIdentity{Issuer: "i", Subject: "2", UserID: u.ID}
				change(&u, &id)
				return a.CreateUser(ctx, u, &id)
			}
			there := record("there", "u1")
			there.Origin.SID = odd
			_, endErr := s.End(ctx, odd, session.ReasonSignedOut, now)
			_, endUserErr := s.EndUser(ctx, odd, "", session.ReasonRevoked, now)
			_, exceptErr := s.EndUser(ctx, "u1", odd, session.ReasonRevoked, now)
			_, originErr := s.EndOrigin(ctx, session.Origin{Issuer: "i", SID: odd}, session.ReasonProvider, now)
			for what, err := range map[string]error{
				"EndOrigin":  originErr,
				"id":         create(func(r *session.Record) { r.ID = odd }),
				"user agent": create(func(r *session.Record) { r.UserAgent = odd }),
				"subject":    create(func(r *session.Record) { r.Origin.Subject = odd }),
				"user":       create(func(r *session.Record) { r.UserID = odd }),
				"Replace":    s.Replace(ctx, there.Key, there, 1),
				"End":        endErr, "EndUser": endUserErr, "EndUser but": exceptErr,
				"name":         sign(func(u *accounts.User, _ *accounts.ExternalIdentity) { u.Name = odd }),
				"email":        sign(func(u *accounts.User, _ *accounts.ExternalIdentity) { u.Email = odd }),
				"identity":     sign(func(_ *accounts.User, id *accounts.ExternalIdentity) { id.Subject = odd }),
				"SetPassword":  a.SetPassword(ctx, "user-1", "hash-0", "hash"+"\x00", nil),
				"SetDisabled":  a.SetDisabled(ctx, odd, true, nil),
				"key":          a.AddKey(ctx, jwt.StoredKey{ID: odd, Public: []byte{}, Sealed: []byte{}}, "k1"),
				"the last key": a.AddKey(ctx, jwt.StoredKey{ID: "k", Public: []byte{}, Sealed: []byte{}}, odd),
			} {
				require.ErrorContains(t, err, "PostgreSQL keeps no text", what)
				couldNotTell(t, false, err)
				require.NotContains(t, err.Error(), "secret")
			}
			for what, f := range map[string]func() (bool, error){
				"ByID":        func() (bool, error) { _, ok, err := s.ByID(ctx, odd); return ok, err },
				"ListUser":    func() (bool, error) { l, err := s.ListUser(ctx, odd); return len(l) > 0, err },
				"UserByID":    func() (bool, error) { _, ok, err := a.UserByID(ctx, odd); return ok, err },
				"UserByEmail": func() (bool, error) { _, ok, err := a.UserByEmail(ctx, odd); return ok, err },
				"UserByIdentity": func() (bool, error) {
					_, ok, err := a.UserByIdentity(ctx, "https://issuer.example", odd)
					return ok, err
				},
			} {
				found, err := f()
				require.NoError(t, err, what)
				require.False(t, found, what)
			}
			_, _, err := s.EndedSince(ctx, odd+".1", 10)
			require.ErrorIs(t, err, session.ErrCursorLost)
			require.Equal(t, before, dumpTables(t, db))
		})
	}
}

// A database in another encoding could not keep every name: Migrate says so.
func TestPostgresWantsUTF8(t *testing.T) {
	server := dbtest.Postgres(t)
	_, err := openDSN(t, server.URL()).Exec(`CREATE DATABASE latin1 ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`)
	require.NoError(t, err)
	latin1 := openDSN(t, strings.Replace(server.URL(), "/postgres?", "/latin1?", 1))
	s, err := newSessions(latin1)
	require.NoError(t, err)
	require.EqualError(t, s.Migrate(context.Background()),
		"session/sqlstore: migrate: the encoding of the database is LATIN1: create it with ENCODING 'UTF8' TEMPLATE template0")
}

// Migrate of a schema that is up to date needs no right to create anything.
func TestPostgresServesAUserWhoMayNotMigrate(t *testing.T) {
	owner := dbtest.Postgres(t).URL()
	dsn := dbtest.PostgresSchema(t, owner)
	db := openDSN(t, dsn)
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	schema := u.Query().Get("search_path")
	_, err = db.Exec(`CREATE ROLE served LOGIN PASSWORD 'served'`)
	require.NoError(t, err)
	_, err = db.Exec(`GRANT USAGE ON SCHEMA ` + schema + ` TO served`)
	require.NoError(t, err)
	u.User = url.UserPassword("served", "served")
	served := openDSN(t, u.String())
	s := sessionsOnMigrated(t, served)
	require.ErrorContains(t, s.Migrate(t.Context()), "permission denied")

	sessionsOn(t, db)
	accountsOn(t, db)
	_, err = db.Exec(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ` + schema + ` TO served`)
	require.NoError(t, err)
	s, a := sessionsOn(t, served), accountsOn(t, served)
	furnish(t, s, a)
	for name, op := range operations(s, a, cursorOf(t, s)) {
		_, err := op(t.Context())
		if err != nil {
			require.NotContains(t, err.Error(), "permission denied", name)
		}
	}
}
