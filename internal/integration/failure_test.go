package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	accountsql "github.com/gatewire/gatewire/auth/accounts/sqlstore"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/session"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// origin is where furnish's session came from.
var origin = session.Origin{Issuer: "https://issuer.example", Subject: "1", SID: "sid"}

// limit is that of the key of which furnish has taken a try.
var limit = accounts.Limit{Burst: 3, Every: time.Hour}

// operations are all methods of both stores, or of s alone where a is nil; each returns whether it claims to
// have found or done something, and its error.
func operations(s *sessionsql.Store, a *accountsql.Store, cursor string) map[string]func(context.Context) (bool, error) {
	now := time.Now()
	rec := record("there", "u1")
	rec.Origin = origin
	id := &accounts.ExternalIdentity{Issuer: "https://issuer.example", Subject: "2", UserID: "user-2"}
	ops := map[string]func(context.Context) (bool, error){
		"Create":  func(ctx context.Context) (bool, error) { return false, s.Create(ctx, record("new", "u1"), 0) },
		"Load":    func(ctx context.Context) (bool, error) { _, ok, err := s.Load(ctx, rec.Key); return ok, err },
		"ByID":    func(ctx context.Context) (bool, error) { _, ok, err := s.ByID(ctx, "there"); return ok, err },
		"Replace": func(ctx context.Context) (bool, error) { return false, s.Replace(ctx, rec.Key, rec, 1) },
		"Touch": func(ctx context.Context) (bool, error) {
			return false, s.Touch(ctx, rec.Key, now.Add(1e9), now.Add(2e12))
		},
		"End": func(ctx context.Context) (bool, error) { return s.End(ctx, "there", session.ReasonSignedOut, now) },
		"EndUser": func(ctx context.Context) (bool, error) {
			e, err := s.EndUser(ctx, "u1", "", session.ReasonRevoked, now)
			return len(e) > 0, err
		},
		"EndOrigin": func(ctx context.Context) (bool, error) {
			e, err := s.EndOrigin(ctx, origin, session.ReasonProvider, now)
			return len(e) > 0, err
		},
		"EndedSince": func(ctx context.Context) (bool, error) {
			e, _, err := s.EndedSince(ctx, cursor, 10)
			return len(e) > 0, err
		},
		"ListUser": func(ctx context.Context) (bool, error) { l, err := s.ListUser(ctx, "u1"); return len(l) > 0, err },
		"Epoch":    func(ctx context.Context) (bool, error) { n, err := s.Epoch(ctx, "u1"); return n > 0, err },
		"Reap": func(ctx context.Context) (bool, error) {
			e, err := s.Reap(ctx, now.Add(40*time.Minute), 10)
			return len(e) > 0, err
		},
	}
	if a == nil {
		return ops
	}
	maps.Copy(ops, map[string]func(context.Context) (bool, error){
		"CreateUser": func(ctx context.Context) (bool, error) { return false, a.CreateUser(ctx, user(2), id) },
		"UserByID":   func(ctx context.Context) (bool, error) { _, ok, err := a.UserByID(ctx, "user-1"); return ok, err },
		"UserByEmail": func(ctx context.Context) (bool, error) {
			_, ok, err := a.UserByEmail(ctx, "u1@example.com")
			return ok, err
		},
		"UserByIdentity": func(ctx context.Context) (bool, error) {
			_, ok, err := a.UserByIdentity(ctx, id.Issuer, "1")
			return ok, err
		},
		"SetPassword": func(ctx context.Context) (bool, error) {
			return false, a.SetPassword(ctx, "user-1", "hash-0", "hash-1", nil)
		},
		"SetDisabled": func(ctx context.Context) (bool, error) { return false, a.SetDisabled(ctx, "user-1", true, nil) },
		"Keys":        func(ctx context.Context) (bool, error) { k, err := a.Keys(ctx); return len(k) > 0, err },
		"AddKey": func(ctx context.Context) (bool, error) {
			return false, a.AddKey(ctx, jwt.StoredKey{ID: "k2", Public: []byte{}, Sealed: []byte{}}, "k1")
		},
		"RemoveKey": func(ctx context.Context) (bool, error) { return false, a.RemoveKey(ctx, "k1") },
		"Limiter.Take": func(ctx context.Context) (bool, error) {
			wait, err := a.Limiter().Take(ctx, "key", limit)
			return wait > 0, err
		},
		"Limiter.Give": func(ctx context.Context) (bool, error) { return false, a.Limiter().Give(ctx, "key", limit) },
		"Once.Take":    func(ctx context.Context) (bool, error) { return a.Once().Take(ctx, "another", time.Hour) },
		"Once.Taken": func(ctx context.Context) (bool, error) {
			_, ok, err := a.Once().Taken(ctx, "key")
			return ok, err
		},
	})
	return ops
}

// furnish puts a session, a user with an identity, and a key where operations
// looks for them.
func furnish(t *testing.T, s *sessionsql.Store, a *accountsql.Store) {
	t.Helper()
	ctx := t.Context()
	rec := record("there", "u1")
	rec.Origin = origin
	require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
	if a == nil {
		return
	}
	require.NoError(t, a.CreateUser(ctx, user(1), &accounts.ExternalIdentity{Issuer: "https://issuer.example", Subject: "1", UserID: "user-1"}))
	require.NoError(t, a.AddKey(ctx, jwt.StoredKey{ID: "k1", Algorithm: "ES256", Public: []byte("{}"), Sealed: []byte("s")}, ""))
	_, err := a.Limiter().Take(ctx, "key", limit)
	require.NoError(t, err)
	_, err = a.Once().Take(ctx, "key", time.Hour)
	require.NoError(t, err)
}

// couldNotTell checks that err is none of the answers of a store.
func couldNotTell(t *testing.T, done bool, err error) {
	t.Helper()
	require.Error(t, err)
	require.False(t, done)
	for _, answer := range []error{session.ErrExists, session.ErrNotFound, session.ErrConflict, session.ErrEpoch, session.ErrCursorLost,
		accounts.ErrEmailTaken, accounts.ErrIdentityTaken, accounts.ErrNoUser, accounts.ErrConflict, jwt.ErrKeyConflict} {
		require.NotErrorIs(t, err, answer)
	}
}

// Whatever is wrong with the database, no method says "not there" or "done".
func TestS25_BrokenDatabaseIsNeverAnAnswer(t *testing.T) {
	kinds(t, func(t *testing.T, fresh func(testing.TB) string) {
		gone := errors.New("disk I/O error")
		for name, breakIt := range map[string]func(*spy, *sql.DB){
			"closed": func(_ *spy, db *sql.DB) { _ = db.Close() },
			"every statement fails": func(s *spy, _ *sql.DB) {
				s.setFail(func(string) error { return gone })
			},
			"no tables": func(s *spy, db *sql.DB) {
				for _, table := range []string{"sessions", "session_ended", "session_head", "session_epochs", "identities", "users", "signing_keys", "limits", "once"} {
					_, _ = db.Exec(`DROP TABLE gatewire_` + table)
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				spy, db := openSpy(t, fresh(t))
				s, a := sessionsOn(t, db), accountsOn(t, db)
				furnish(t, s, a)
				ops := operations(s, a, cursorOf(t, s))
				breakIt(spy, db)
				for name, op := range ops {
					done, err := op(t.Context())
					t.Run(name, func(t *testing.T) { couldNotTell(t, done, err) })
				}
			})
		}
	})
}

// A list that breaks off is an error, not a shorter list.
func TestS25_BrokenOffListsAreErrors(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		spy, db := openSpy(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		furnish(t, s, a)
		cursor := cursorOf(t, s)
		ctx, now := t.Context(), time.Now()
		for i := range 3 {
			gone, dead := record(fmt.Sprintf("gone-%d", i), "gone"), record(fmt.Sprintf("dead-%d", i), "dead")
			dead.Expires = now
			require.NoError(t, s.Create(ctx, gone, session.AnyEpoch))
			require.NoError(t, s.Create(ctx, dead, session.AnyEpoch))
			_, err := s.End(ctx, gone.ID, session.ReasonSignedOut, now)
			require.NoError(t, err)
			here := record(fmt.Sprintf("here-%d", i), "u1")
			here.Origin = origin
			require.NoError(t, s.Create(ctx, here, session.AnyEpoch))
		}
		lists := []string{"EndedSince", "ListUser", "EndUser", "EndOrigin", "Reap"}
		if a != nil {
			require.NoError(t, a.AddKey(ctx, jwt.StoredKey{ID: "k2", Public: []byte{}, Sealed: []byte{}, Published: now}, "k1"))
			lists = append(lists, "Keys")
		}
		before := dumpTables(t, db)
		ops := operations(s, a, cursor)
		for _, name := range lists {
			t.Run(name, func(t *testing.T) {
				spy.cut = errors.New("connection reset")
				done, err := ops[name](ctx)
				broken := spy.cut
				spy.cut = nil
				couldNotTell(t, done, err)
				require.ErrorIs(t, err, broken)
				require.Equal(t, before, dumpTables(t, db))
			})
		}
	})
}

// Each statement of each operation fails once, the commit too. The operation
// then reports an error and has done nothing: the next try finds all as it was.
func TestS25_FailureAtEveryStatementChangesNothing(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		spy, db := openSpy(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		furnish(t, s, a)
		cursor := cursorOf(t, s)
		dump := func() string { return dumpTables(t, db) }
		before := dump()
		broken := errors.New("broken")
		for name, op := range operations(s, a, cursor) {
			t.Run(name, func(t *testing.T) {
				for at := 0; ; at++ {
					n := -1
					spy.setFail(func(query string) error {
						if strings.HasPrefix(query, "DELETE FROM gatewire_limits") || strings.HasPrefix(query, "DELETE FROM gatewire_once") {
							return nil // of what is over, now and then: no caller's matter
						}
						if n++; n == at {
							return broken
						}
						return nil
					})
					done, err := op(t.Context())
					failed := n >= at
					spy.setFail(nil)
					if !failed {
						require.NoError(t, err)
						break
					}
					couldNotTell(t, done, err)
					require.ErrorIs(t, err, broken)
					require.Equal(t, before, dump())
				}
				// What succeeded at last is undone for the next operation.
				tables := []string{"gatewire_sessions", "gatewire_session_ended", "gatewire_session_epochs"}
				if a != nil {
					tables = append(tables, "gatewire_identities", "gatewire_users", "gatewire_signing_keys", "gatewire_limits", "gatewire_once")
				}
				for _, table := range tables {
					_, err := db.Exec(`DELETE FROM ` + table)
					require.NoError(t, err)
				}
				_, err := db.Exec(`UPDATE gatewire_session_head SET seq = 0, pruned = 0`)
				require.NoError(t, err)
				furnish(t, s, a)
				before = dump()
			})
		}
	})
}

func dumpTables(t *testing.T, db *sql.DB) string {
	t.Helper()
	var out strings.Builder
	key := "hex(key)"
	switch {
	case onPostgres(db):
		key = "encode(key, 'hex')"
	case onMySQL(db):
		key = "hex(`key`)"
	}
	tables := []string{
		`SELECT concat(id, ' ', ` + key + `, ' ', rev, ' ', user_id, ' ', seen, ' ', idle_expires) FROM gatewire_sessions ORDER BY id`,
		`SELECT concat(seq, ' ', id, ' ', reason) FROM gatewire_session_ended ORDER BY seq`,
		`SELECT concat(seq, ' ', pruned) FROM gatewire_session_head`,
		`SELECT concat(user_id, ' ', epoch) FROM gatewire_session_epochs ORDER BY user_id`,
	}
	if !onMySQL(db) {
		tables = append(tables,
			`SELECT id || email || password || disabled FROM gatewire_users ORDER BY id`,
			`SELECT issuer || subject || user_id FROM gatewire_identities ORDER BY issuer, subject`,
			`SELECT id FROM gatewire_signing_keys ORDER BY id`,
			`SELECT key || ' ' || full_at FROM gatewire_limits ORDER BY key`,
			`SELECT key || ' ' || taken || ' ' || expires || ' ' || times FROM gatewire_once ORDER BY key`)
	}
	for _, q := range tables {
		rows, err := db.Query(q)
		require.NoError(t, err)
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			fmt.Fprintln(&out, line)
		}
		require.NoError(t, rows.Close())
		fmt.Fprintln(&out, "--")
	}
	return out.String()
}

func TestS25_DiskFull(t *testing.T) {
	dsn := sessionsql.SQLiteDSN(sqliteFile(t))
	full := openDSN(t, dsn+"&_pragma=max_page_count(60)")
	s, a := sessionsOn(t, full), accountsOn(t, full)
	furnish(t, s, a)
	ctx := t.Context()
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		rec := record(fmt.Sprintf("s%d", n), "u1")
		rec.Data = make([]byte, 4096)
		err = s.Create(ctx, rec, session.AnyEpoch)
	}
	couldNotTell(t, false, err)
	require.ErrorContains(t, err, "full")
	require.Greater(t, n, 1)

	// What was acknowledged is there, and what was not isn't.
	list, err := s.ListUser(ctx, "u1")
	require.NoError(t, err)
	require.Len(t, list, n)
}

// coded is an error as drivers make them.
type coded int

func (coded) Error() string { return "some driver's words" }
func (c coded) Code() int   { return int(c) }

// numbered is a MySQL driver's.
type numbered struct{ Number uint16 }

func (*numbered) Error() string { return "some driver's words" }

type stated string

func (stated) Error() string      { return "some driver's words" }
func (s stated) SQLState() string { return string(s) }

func TestS25_BusyAndSerialisationFailuresAreRetried(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		spy, db := openSpy(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		furnish(t, s, a)
		for name, failure := range map[string]error{
			"SQLITE_BUSY":               coded(5),
			"SQLITE_BUSY_SNAPSHOT":      coded(5 | 2<<8),
			"SQLITE_LOCKED_SHAREDCACHE": coded(6 | 1<<8),
			"serialization_failure":     fmt.Errorf("wrapped: %w", stated("40001")),
			"deadlock_detected":         stated("40P01"),
			"message alone":             errors.New("database is locked"),
			"ER_LOCK_DEADLOCK":          &mysql.MySQLError{Number: 1213},
			"ER_LOCK_WAIT_TIMEOUT":      fmt.Errorf("wrapped: %w", &mysql.MySQLError{Number: 1205}),
			"ER_CHECKREAD":              &numbered{1020},
		} {
			t.Run(name, func(t *testing.T) {
				for op, f := range operations(s, a, cursorOf(t, s)) {
					if op == "CreateUser" || op == "SetPassword" || op == "Create" || op == "Replace" || op == "AddKey" {
						continue // they can succeed but once
					}
					failures := 0
					spy.setFail(func(string) error {
						if failures++; failures <= 3 {
							return failure
						}
						return nil
					})
					_, err := f(t.Context())
					spy.setFail(nil)
					require.NoError(t, err, op)
					require.Greater(t, failures, 3, op)
				}
			})
		}

		t.Run("others are not", func(t *testing.T) {
			for _, failure := range []error{coded(10), coded(13), stated("23505"), &mysql.MySQLError{Number: 1062}, errors.New("broken")} {
				tries := 0
				spy.setFail(func(string) error { tries++; return failure })
				_, _, err := s.ByID(t.Context(), "x")
				spy.setFail(nil)
				require.ErrorIs(t, err, failure)
				require.Equal(t, 1, tries)
			}
		})

		t.Run("the caller's context ends it", func(t *testing.T) {
			spy.setFail(func(string) error { return coded(5) })
			defer spy.setFail(nil)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, _, err := s.ByID(ctx, "x")
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
}

// A row that this package can't have written is an error, not an absence and
// not a session without rights.
func TestDamagedRowsAreErrors(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		furnish(t, s, a)
		blob := "BLOB"
		switch {
		case onPostgres(db):
			blob = "BYTEA"
		case onMySQL(db):
			blob = "BINARY"
		}
		for _, damage := range []string{
			`UPDATE gatewire_sessions SET scopes = 'x'`,
			`UPDATE gatewire_sessions SET scopes = '[]', refresh_secret = CAST('x' AS ` + blob + `)`,
		} {
			_, err := db.Exec(damage)
			require.NoError(t, err)
			_, found, err := s.ByID(t.Context(), "there")
			require.False(t, found)
			require.ErrorContains(t, err, "damaged")
			_, err = s.ListUser(t.Context(), "u1")
			require.ErrorContains(t, err, "damaged")
		}
		if a == nil {
			return
		}
		_, err := db.Exec(`UPDATE gatewire_users SET roles = '["admin"'`)
		require.NoError(t, err)
		_, found, err := a.UserByID(t.Context(), "user-1")
		require.False(t, found)
		require.ErrorContains(t, err, "damaged")
	})
}
