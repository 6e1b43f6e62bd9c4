package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/integration/dbtest"
	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sessiontest"
)

func init() { _ = mysql.SetLogger(&mysql.NopLogger{}) } // connections are cut on purpose

// oddly is dsn with everything set otherwise than a program would: rows counted
// in another way, nothing refused that can be cut to fit, locks taken by reads,
// a transaction begun with the end of another, words of two bytes a letter.
func oddly(dsn string) string {
	for name, value := range map[string]string{
		"clientFoundRows": "true", "interpolateParams": "true", "parseTime": "true", "charset": "latin1",
		"collation_connection": "ucs2_bin", "completion_type": "'CHAIN'",
		"sql_mode": "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,EMPTY_STRING_IS_NULL,SIMULTANEOUS_ASSIGNMENT'", "tx_isolation": "'SERIALIZABLE'", "time_zone": "'-11:00'",
	} {
		dsn = with(dsn, name, value)
	}
	return dsn
}

// The rules hold whatever the settings of the connection.
func TestS25_MySQLHoweverItIsOpened(t *testing.T) {
	sessiontest.Run(t, func(t *testing.T) session.Store { return sessionsOn(t, openDSN(t, oddly(dbtest.MySQLDSN(t)))) })
}

// The rules hold whatever isolation level the connection has. A stricter one
// would have locked what is between the rows, too, and others would wait.
func TestS25_MySQLIsolationLevels(t *testing.T) {
	for _, level := range []string{"REPEATABLE-READ", "SERIALIZABLE"} {
		t.Run(level, func(t *testing.T) {
			signInWaits(t, with(dbtest.MySQLDSN(t), "tx_isolation", "'"+level+"'"))
		})
	}
}

// A server may begin a transaction with the end of another, or hang up. What is
// done outside one is committed all the same, and the connection stays.
func TestMySQLTransactionsEnd(t *testing.T) {
	for _, then := range []string{"CHAIN", "RELEASE"} {
		t.Run(then, func(t *testing.T) {
			dsn := dbtest.MySQLDSN(t)
			other := sessionsOn(t, openDSN(t, dsn))
			db := openDSN(t, with(dsn, "completion_type", "'"+then+"'"))
			db.SetMaxOpenConns(1)
			s := sessionsOnMigrated(t, db)
			ctx := t.Context()
			connection := func() (id int) {
				require.NoError(t, db.QueryRow(`SELECT CONNECTION_ID()`).Scan(&id))
				return id
			}
			is := connection()
			rec := record("s1", "u")
			require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
			_, err := s.End(ctx, "nobody's", session.ReasonSignedOut, time.Now()) // rolled back
			require.NoError(t, err)
			seen := rec.Seen.Add(time.Minute)
			require.NoError(t, s.Touch(ctx, rec.Key, seen, rec.IdleExpires))
			got, _, err := other.Load(ctx, rec.Key)
			require.NoError(t, err)
			require.Equal(t, seen, got.Seen)
			require.NoError(t, s.Replace(ctx, rec.Key, rec, 1))
			got, _, err = other.Load(ctx, rec.Key)
			require.NoError(t, err)
			require.EqualValues(t, 2, got.Rev)
			require.Equal(t, is, connection())
		})
	}
}

// A server that returns fewer rows than there are corrupts nothing.
func TestMySQLReadsAllThatItLogged(t *testing.T) {
	dsn := dbtest.MySQLDSN(t)
	s := sessionsOn(t, openDSN(t, dsn))
	ctx := t.Context()
	for _, id := range []string{"s1", "s2"} {
		require.NoError(t, s.Create(ctx, record(id, "u"), session.AnyEpoch))
	}
	limited := sessionsOnMigrated(t, openDSN(t, with(dsn, "sql_select_limit", "1")))
	_, err := limited.EndUser(ctx, "u", "", session.ReasonRevoked, time.Now())
	couldNotTell(t, false, err)
	ended, err := s.EndUser(ctx, "u", "", session.ReasonRevoked, time.Now())
	require.NoError(t, err)
	require.Len(t, ended, 2)
	require.NoError(t, s.Create(ctx, record("s3", "u"), session.AnyEpoch))
	done, err := s.End(ctx, "s3", session.ReasonRevoked, time.Now())
	require.NoError(t, err)
	require.True(t, done)
}

// trips counts what clients send: each packet waits for an answer.
type trips struct {
	net.Conn
	n *atomic.Int64
}

func (c trips) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// What a request costs is one round trip for each of what it asks, however the
// database was opened.
func TestMySQLRoundTrips(t *testing.T) {
	for name, settings := range map[string]string{"as it comes": "", "interpolating": "interpolateParams=true", "counting what it finds": "clientFoundRows=true"} {
		t.Run(name, func(t *testing.T) {
			dsn := dbtest.MySQLDSN(t)
			if setting, value, ok := strings.Cut(settings, "="); ok {
				dsn = with(dsn, setting, value)
			}
			config, err := mysql.ParseDSN(dsn)
			require.NoError(t, err)
			var sent atomic.Int64
			config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, addr)
				return trips{c, &sent}, err
			}
			connector, err := mysql.NewConnector(config)
			require.NoError(t, err)
			db := sql.OpenDB(connector)
			t.Cleanup(func() { _ = db.Close() })
			s := sessionsOn(t, db)
			ctx, now := t.Context(), time.Now()
			rec, other := record("s1", "u"), record("s2", "u")
			require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
			cursor := cursorOf(t, s)
			db.SetMaxOpenConns(1)
			for _, c := range []struct {
				op    string
				trips int64
				f     func() error
			}{
				{"Load", 1, func() error { _, _, err := s.Load(ctx, rec.Key); return err }},
				{"Touch", 1, func() error { return s.Touch(ctx, rec.Key, now.Add(time.Minute), rec.IdleExpires.Add(time.Minute)) }},
				{"ByID", 1, func() error { _, _, err := s.ByID(ctx, rec.ID); return err }},
				{"ListUser", 1, func() error { _, err := s.ListUser(ctx, "u"); return err }},
				{"Epoch", 1, func() error { _, err := s.Epoch(ctx, "u"); return err }},
				{"EndedSince", 1, func() error { _, _, err := s.EndedSince(ctx, cursor, 10); return err }},
				{"Replace", 1, func() error { return s.Replace(ctx, rec.Key, rec, 1) }},
				// The level, the beginning, the user's lock, three statements, the end.
				{"Create", 7, func() error { return s.Create(ctx, other, 0) }},
				// The level, the beginning, the head, log, read, remove, the head, the end.
				{"End", 8, func() error { _, err := s.End(ctx, rec.ID, session.ReasonSignedOut, now); return err }},
			} {
				before := sent.Load()
				require.NoError(t, c.f(), c.op)
				require.Equal(t, c.trips, sent.Load()-before, c.op)
			}
		})
	}
}

// hush is a connection on which nothing is heard any more, in either direction,
// from the first statement that begins with a word.
type hush struct {
	net.Conn
	word  string
	quiet *atomic.Bool
}

func (c hush) Write(b []byte) (int, error) {
	if strings.HasPrefix(string(b[min(len(b), 5):]), c.word) {
		c.quiet.Store(true)
	}
	if c.quiet.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Whichever statement is the one that is never answered, the caller waits no
// longer than the context lets it, and the next one gets another connection.
func TestMySQLNoStatementOutlastsItsContext(t *testing.T) {
	for _, word := range []string{
		"SET TRANSACTION", "START TRANSACTION", "SELECT", "INSERT", "DELETE", "UPDATE", "COMMIT", "ROLLBACK",
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			dsn := dbtest.MySQLDSN(t)
			s := sessionsOn(t, openDSN(t, dsn))
			require.NoError(t, s.Create(t.Context(), record("s1", "u"), session.AnyEpoch))
			config, err := mysql.ParseDSN(dsn)
			require.NoError(t, err)
			var hushed atomic.Bool
			var dialed atomic.Int64
			config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, addr)
				if dialed.Add(1) > 1 {
					return c, err
				}
				return hush{c, word, &hushed}, err
			}
			connector, err := mysql.NewConnector(config)
			require.NoError(t, err)
			db := sql.OpenDB(connector)
			t.Cleanup(func() { _ = db.Close() })
			db.SetMaxOpenConns(1)
			deaf := sessionsOnMigrated(t, db)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			id := "s1"
			if word == "ROLLBACK" {
				id = "nobody's"
			}
			answered := background(func() error {
				_, err := deaf.End(ctx, id, session.ReasonSignedOut, time.Now())
				return err
			})
			select {
			case err := <-answered:
				if word != "ROLLBACK" { // which was about nothing
					require.Error(t, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("still waiting")
			}
			require.True(t, hushed.Load())
			_, found, err := deaf.ByID(t.Context(), "s1")
			require.NoError(t, err)
			require.True(t, found)
			_, err = deaf.End(t.Context(), "s1", session.ReasonSignedOut, time.Now())
			require.NoError(t, err)
			_, found, err = s.ByID(t.Context(), "s1")
			require.NoError(t, err)
			require.False(t, found)
		})
	}
}

// What a column can't hold is refused whole. A server that is not strict would
// cut it.
func TestMySQLCutsNothingShort(t *testing.T) {
	db := openDSN(t, with(dbtest.MySQLDSN(t), "sql_mode", "''"))
	s := sessionsOn(t, db)
	ctx, now := t.Context(), time.Now()
	long, short := strings.Repeat("x", 1020), strings.Repeat("\xff", 255)
	full := record(short, long)
	full.Kind, full.IP, full.UserAgent = session.Kind(short), short, strings.Repeat("agent", 20000)
	full.Origin = session.Origin{Issuer: long, Subject: long, SID: long}
	require.NoError(t, s.Create(ctx, full, session.AnyEpoch))
	full.Rev = 1
	got, _, err := s.Load(ctx, full.Key)
	require.NoError(t, err)
	require.Equal(t, full, got)
	before := dumpTables(t, db)
	for name, change := range map[string]func(*session.Record){
		"id":               func(r *session.Record) { r.ID += "x" },
		"kind":             func(r *session.Record) { r.Kind += "x" },
		"user id":          func(r *session.Record) { r.UserID += "x" },
		"IP":               func(r *session.Record) { r.IP += "x" },
		"origin's issuer":  func(r *session.Record) { r.Origin.Issuer += "x" },
		"origin's subject": func(r *session.Record) { r.Origin.Subject += "x" },
		"origin's sid":     func(r *session.Record) { r.Origin.SID += "x" },
	} {
		rec := full
		change(&rec)
		for _, err := range []error{s.Create(ctx, rec, session.AnyEpoch), s.Replace(ctx, full.Key, rec, 1)} {
			couldNotTell(t, false, err)
			require.ErrorContains(t, err, "the "+name+" has ")
		}
	}
	why := session.Reason(short + "x")
	_, endErr := s.End(ctx, full.ID, why, now)
	_, userErr := s.EndUser(ctx, long, "", why, now)
	_, originErr := s.EndOrigin(ctx, full.Origin, why, now)
	_, nobodyErr := s.EndUser(ctx, long+"x", "", session.ReasonRevoked, now)
	for _, err := range []error{endErr, userErr, originErr, nobodyErr} {
		couldNotTell(t, false, err)
	}
	require.Equal(t, before, dumpTables(t, db))

	// Who looks for something longer finds nothing.
	ended, err := s.End(ctx, full.ID+"x", session.ReasonSignedOut, now)
	require.NoError(t, err)
	require.False(t, ended)
	list, err := s.ListUser(ctx, long+"x")
	require.NoError(t, err)
	require.Empty(t, list)

	// Nor is what doesn't fit into a packet stored, or anything broken by it.
	huge := record("huge", "u")
	huge.Data = make([]byte, 20<<20)
	couldNotTell(t, false, s.Create(ctx, huge, session.AnyEpoch))
	_, found, err := s.Load(ctx, huge.Key)
	require.NoError(t, err)
	require.False(t, found)
}

// Text is what its bytes are: case, accents and spaces at the end count.
func TestMySQLComparesBytes(t *testing.T) {
	s := sessionsOn(t, openDSN(t, dbtest.MySQLDSN(t)))
	ctx := t.Context()
	users := []string{"ada", "Ada", "ada ", "ada\x00", "ad\u00e4", "ad\u00e4 ", "ada\xff", "ada\xfe", "' OR 1=1 -- ", `\`}
	for _, user := range users {
		rec := record("id "+user, user)
		rec.Origin = session.Origin{Issuer: "i", SID: user}
		require.NoError(t, s.Create(ctx, rec, 0), user)
	}
	for i, user := range users {
		list, err := s.ListUser(ctx, user)
		require.NoError(t, err)
		require.Len(t, list, 1, "%q", user)
		require.Equal(t, "id "+user, list[0].ID)
		var ended []session.Ended
		if i%2 == 0 {
			ended, err = s.EndUser(ctx, user, "", session.ReasonRevoked, time.Now())
		} else {
			ended, err = s.EndOrigin(ctx, session.Origin{Issuer: "i", SID: user}, session.ReasonProvider, time.Now())
		}
		require.NoError(t, err)
		require.Len(t, ended, 1, "%q", user)
		require.Equal(t, user, ended[0].UserID)
	}
}

// The server ends a deadlock by failing one of the two. When that is the store's
// transaction, it is run again.
func TestS25_MySQLDeadlockIsRetried(t *testing.T) {
	dsn := dbtest.MySQLDSN(t)
	db := openDSN(t, dsn)
	s := sessionsOn(t, db)
	ctx := t.Context()
	require.NoError(t, s.Create(ctx, record("s1", "u"), session.AnyEpoch))
	// The store holds the head and will want the row; this holds the row, wants
	// the head, and has changed more: the server spares who has.
	tx, err := db.Begin()
	require.NoError(t, err)
	for range 5 {
		_, err = tx.Exec(`UPDATE gatewire_sessions SET seen = seen + 1 WHERE id = 's1'`)
		require.NoError(t, err)
	}
	const log = "INSERT INTO gatewire_session_ended"
	watch, slow, reached, resume := pausedAt(t, dsn, log)
	ended := background(func() error {
		_, err := sessionsOnMigrated(t, slow).End(ctx, "s1", session.ReasonSignedOut, time.Now())
		return err
	})
	<-reached
	locked := background(func() error {
		_, err := tx.Exec(`UPDATE gatewire_session_head SET pruned = pruned + 0, seq = seq`)
		return err
	})
	waits(t, locked, "nobody holds the head of the log")
	resume()
	require.NoError(t, <-locked, "the store's transaction was to be the one that failed")
	require.NoError(t, tx.Commit())
	require.NoError(t, <-ended)
	require.GreaterOrEqual(t, watch.sent(log), 2)
	_, found, err := s.ByID(ctx, "s1")
	require.NoError(t, err)
	require.False(t, found)
}

// Who waits for a lock longer than the server lets it tries again.
func TestS25_MySQLLockTimeoutIsRetried(t *testing.T) {
	dsn := dbtest.MySQLDSN(t)
	db := openDSN(t, dsn)
	s := sessionsOn(t, db)
	ctx := t.Context()
	rec := record("s1", "u")
	require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec(`UPDATE gatewire_sessions SET seen = seen + 1 WHERE id = 's1'`)
	require.NoError(t, err)
	watch, slow := openSpy(t, with(dsn, "innodb_lock_wait_timeout", "1"))
	impatient := sessionsOnMigrated(t, slow)
	touched := background(func() error { return impatient.Touch(ctx, rec.Key, rec.Seen.Add(time.Minute), rec.Expires) })
	ended := background(func() error {
		_, err := impatient.EndUser(ctx, "u", "", session.ReasonRevoked, time.Now())
		return err
	})
	for _, statement := range []string{"UPDATE gatewire_sessions", "INSERT INTO gatewire_session_ended"} {
		require.Eventually(t, func() bool { return watch.sent(statement) >= 2 }, 20*time.Second, 20*time.Millisecond, statement)
	}
	require.NoError(t, tx.Commit())
	require.NoError(t, <-touched)
	require.NoError(t, <-ended)
}

// Of sessions that are dead, those somebody is at are left for the next time:
// nobody is waited for while the head of the log is held.
func TestS8_MySQLReaperSparesWhatWasTouched(t *testing.T) {
	dsn := dbtest.MySQLDSN(t)
	db := openDSN(t, dsn)
	s := sessionsOn(t, db)
	ctx, now := t.Context(), time.Now()
	for _, id := range []string{"idle", "dead"} {
		rec := record(id, "u")
		rec.IdleExpires = now.Add(-time.Minute)
		require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
	}
	tx, err := db.Begin() // a touch that is not committed yet
	require.NoError(t, err)
	_, err = tx.Exec(`UPDATE gatewire_sessions SET idle_expires = expires WHERE id = 'idle'`)
	require.NoError(t, err)
	ended, err := s.Reap(ctx, now, 10)
	require.NoError(t, err)
	require.Len(t, ended, 1)
	require.Equal(t, "dead", ended[0].ID)
	require.NoError(t, tx.Commit())
	ended, err = s.Reap(ctx, now, 10)
	require.NoError(t, err)
	require.Empty(t, ended)
	_, found, err := s.ByID(ctx, "idle")
	require.NoError(t, err)
	require.True(t, found)
}

// Several nodes reap at once, and sessions begin and are touched meanwhile: each
// of the dead is ended once, none of the living.
func TestS20_MySQLReapersAtOnce(t *testing.T) {
	dsn := dbtest.MySQLDSN(t)
	db := openDSN(t, dsn)
	s := sessionsOn(t, db)
	ctx := t.Context()
	const dead = 2000
	require.NoError(t, manySessions(db, dead, "concat('u', i)", "i"))
	seen := make(chan string, 2*dead)
	var wg sync.WaitGroup
	var failures [5]error
	for i := range 3 {
		node := sessionsOnMigrated(t, openDSN(t, dsn))
		wg.Go(func() {
			for {
				ended, err := node.Reap(ctx, time.Now(), 100)
				if failures[i] = err; err != nil || len(ended) == 0 {
					return
				}
				for _, e := range ended {
					seen <- e.ID
				}
			}
		})
	}
	for i := range 2 {
		wg.Go(func() {
			for n := range 50 {
				rec := record(fmt.Sprintf("alive-%d-%d", i, n), "u")
				failures[3+i] = errors.Join(failures[3+i], s.Create(ctx, rec, session.AnyEpoch), s.Touch(ctx, rec.Key, rec.Seen.Add(time.Second), rec.Expires))
			}
		})
	}
	wg.Wait()
	close(seen)
	require.NoError(t, errors.Join(failures[:]...))
	once := map[string]bool{}
	for id := range seen {
		require.False(t, once[id], id)
		once[id] = true
	}
	require.Len(t, once, dead)
	list, err := s.ListUser(ctx, "u")
	require.NoError(t, err)
	require.Len(t, list, 100)
}

// Migrate is interrupted before each of its statements, those that are committed
// staying. The next one finishes it.
func TestMySQLMigrationResumes(t *testing.T) {
	broken := errors.New("broken")
	for at := 0; ; at++ {
		dsn := dbtest.MySQLDSN(t)
		watch, db := openSpy(t, dsn)
		n := -1
		watch.setFail(func(string) error {
			if n++; n == at {
				return broken
			}
			return nil
		})
		err := sessionsOnMigrated(t, db).Migrate(t.Context())
		if n < at {
			require.NoError(t, err)
			require.Greater(t, at, 12, "statements")
			return
		}
		if err != nil { // but for the release of the lock, which its connection takes along
			require.ErrorIs(t, err, broken)
		}
		again := openDSN(t, dsn)
		s := sessionsOn(t, again)
		furnish(t, s, nil)
		for _, name := range []string{"Create", "Load", "Replace", "Reap", "EndedSince", "EndUser"} {
			_, err := operations(s, nil, cursorOf(t, s))[name](t.Context())
			require.NoError(t, err, name)
		}
		var rows int
		require.NoError(t, again.QueryRow(`SELECT (SELECT COUNT(*) FROM gatewire_session_head) + (SELECT COUNT(*) FROM gatewire_session_locks)`).Scan(&rows))
		require.Equal(t, 257, rows)
	}
}

// Somebody else's table of one of the names is found out.
func TestMySQLMigrationFindsATableInTheWay(t *testing.T) {
	for _, table := range []string{"sessions", "session_ended", "session_head", "session_epochs", "session_locks"} {
		db := openDSN(t, dbtest.MySQLDSN(t))
		_, err := db.Exec(`CREATE TABLE gatewire_` + table + ` (in_the_way INTEGER)`)
		require.NoError(t, err)
		require.ErrorContains(t, sessionsOnMigrated(t, db).Migrate(t.Context()), "0001_sessions.sql", table)
		_, err = db.Exec(`DROP TABLE gatewire_` + table)
		require.NoError(t, err)
		furnish(t, sessionsOn(t, db), nil)
	}
	db := openDSN(t, dbtest.MySQLDSN(t))
	sessionsOn(t, db)
	_, err := db.Exec(`DELETE FROM gatewire_session_schema`)
	require.NoError(t, err)
	_, err = db.Exec(`ALTER TABLE gatewire_session_head ENGINE = MyISAM`)
	require.NoError(t, err)
	require.ErrorContains(t, sessionsOnMigrated(t, db).Migrate(t.Context()), "InnoDB")
}

// A connection that can't keep the rules is refused at the start.
func TestMySQLMigrateRefusesSettings(t *testing.T) {
	dsn := dbtest.MySQLDSN(t)
	config, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	config.DBName = ""
	for want, dsn := range map[string]string{
		"autocommit is off":       with(dsn, "autocommit", "0"),
		"sql_select_limit is set": with(dsn, "sql_select_limit", "1000"),
		"sql_safe_updates is on":  with(dsn, "sql_safe_updates", "1"),
		"READ UNCOMMITTED":        with(dsn, "tx_isolation", "'READ-UNCOMMITTED'"),
		"no database is selected": config.FormatDSN(),
	} {
		require.ErrorContains(t, sessionsOnMigrated(t, openDSN(t, dsn)).Migrate(t.Context()), want)
	}
}

// Migrate of a schema that is up to date needs no right to create anything, and
// waits for nobody who migrates.
func TestMySQLServesAUserWhoMayNotMigrate(t *testing.T) {
	dsn := dbtest.MySQLDSN(t)
	db := openDSN(t, dsn)
	config, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	config.User, config.Passwd = "served_"+config.DBName[len("gatewire_test_"):], "served"
	who := "'" + config.User + "'@'%'"
	_, err = db.Exec(`CREATE USER ` + who + ` IDENTIFIED BY 'served'`)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = db.ExecContext(context.WithoutCancel(t.Context()), `DROP USER `+who) })
	_, err = db.Exec(`GRANT SELECT, INSERT, UPDATE, DELETE ON ` + config.DBName + `.* TO ` + who)
	require.NoError(t, err)
	served := openDSN(t, config.FormatDSN())
	require.ErrorContains(t, sessionsOnMigrated(t, served).Migrate(t.Context()), "denied")

	sessionsOn(t, db)
	s := sessionsOn(t, served)
	furnish(t, s, nil)
	for name, op := range operations(s, nil, cursorOf(t, s)) {
		if _, err := op(t.Context()); err != nil {
			require.NotContains(t, err.Error(), "denied", name)
		}
	}
}

// A row that is missing from the table of locks is an error: without the lock
// the end of all of a user's sessions could miss one.
func TestMySQLMissingLockRowIsAnError(t *testing.T) {
	db := openDSN(t, dbtest.MySQLDSN(t))
	s := sessionsOn(t, db)
	_, err := db.Exec(`DELETE FROM gatewire_session_locks`)
	require.NoError(t, err)
	require.ErrorContains(t, s.Create(t.Context(), record("s1", "u"), session.AnyEpoch), "gatewire_session_locks")
	_, err = s.EndUser(t.Context(), "u", "", session.ReasonRevoked, time.Now())
	require.ErrorContains(t, err, "gatewire_session_locks")
}
