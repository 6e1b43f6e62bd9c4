package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	accountsql "github.com/gatewire/gatewire/auth/accounts/sqlstore"
	"github.com/gatewire/gatewire/internal/integration/dbtest"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/session"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// planned is an operation and what the database is to do for it.
type planned struct {
	name  string
	op    func() error
	wants []string // what the plan must contain
	scans []string // tables that are small, or read in the order of their key up to a limit
}

// scans matches a step that reads a whole table, by whatever order.
var scans = regexp.MustCompile(`SCAN (gatewire_\w+|u|i|e|h)\b`)

// explain returns what SQLite would do for the statements an operation sent.
func explain(t *testing.T, s *spy, op func()) string {
	t.Helper()
	sent := s.during(op)
	require.NotEmpty(t, sent)
	db := openDSN(t, s.dsn)
	var plan strings.Builder
	for _, st := range sent {
		if st.query == "COMMIT" {
			continue
		}
		args := make([]any, len(st.args))
		for i, a := range st.args {
			args[i] = a.Value
		}
		rows, err := db.Query("EXPLAIN QUERY PLAN "+st.query, args...)
		require.NoError(t, err, st.query)
		for rows.Next() {
			var id, parent, unused int
			var detail string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
			fmt.Fprintln(&plan, detail)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
	}
	return plan.String()
}

func TestS22_SQLiteQueryPlansUseIndexes(t *testing.T) {
	spy, db := openSpy(t, sessionsql.SQLiteDSN(sqliteFile(t)))
	s, a := sessionsOn(t, db), accountsOn(t, db)
	ctx, now := t.Context(), time.Now()
	fill := func() {
		for i := range 50 {
			rec := record(fmt.Sprintf("s%d-%d", i, now.UnixNano()), fmt.Sprintf("u%d", i%10))
			rec.Origin = session.Origin{Issuer: origin.Issuer, Subject: fmt.Sprint(i % 10), SID: fmt.Sprint(i)}
			require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
		}
	}
	fill()
	subject := session.Origin{Issuer: origin.Issuer, Subject: "2"}
	cursor := cursorOf(t, s)
	rec := record("s", "u1")
	id := &accounts.ExternalIdentity{Issuer: "https://issuer.example", Subject: "1", UserID: "user-1"}
	key := jwt.StoredKey{ID: "k1", Algorithm: "ES256", Public: []byte("{}"), Sealed: []byte("x"), Published: now}

	for _, c := range []planned{
		{"Create", func() error { return s.Create(ctx, rec, 0) },
			[]string{"INDEX gatewire_session_ended_id (id=?)", "INDEX gatewire_session_ended_key (key=?)", "gatewire_session_epochs USING"}, nil},
		{"Load", func() error { _, _, err := s.Load(ctx, rec.Key); return err },
			[]string{"SEARCH gatewire_sessions USING INDEX", "(key=?)"}, nil},
		{"ByID", func() error { _, _, err := s.ByID(ctx, "s"); return err },
			[]string{"SEARCH gatewire_sessions USING INDEX", "(id=?)"}, nil},
		{"Touch", func() error { return s.Touch(ctx, rec.Key, now.Add(time.Minute), now.Add(time.Hour)) },
			[]string{"(key=?)"}, nil},
		{"Replace", func() error { return s.Replace(ctx, rec.Key, rec, 1) }, []string{"(key=?)"}, nil},
		{"ListUser", func() error { _, err := s.ListUser(ctx, "u1"); return err },
			[]string{"USING INDEX gatewire_sessions_user (user_id=?)"}, nil},
		{"Epoch", func() error { _, err := s.Epoch(ctx, "u1"); return err }, []string{"(user_id=?)"}, nil},
		{"EndedSince", func() error { _, _, err := s.EndedSince(ctx, cursor, 10); return err },
			[]string{"SEARCH gatewire_session_ended USING INTEGER PRIMARY KEY (rowid>?)"}, []string{"e"}},
		{"End", func() error { _, err := s.End(ctx, "s", session.ReasonSignedOut, now); return err },
			[]string{"(id=?)", "(rowid>?)"}, nil},
		{"EndUser", func() error { _, err := s.EndUser(ctx, "u1", "s", session.ReasonRevoked, now); return err },
			[]string{"USING INDEX gatewire_sessions_user (user_id=?)", "(rowid>?)"}, nil},
		{"EndUserAt", func() error { return atEpoch(ctx, s) },
			[]string{"USING INDEX gatewire_sessions_user (user_id=?)", "gatewire_session_epochs USING"}, nil},
		{"EndOrigin by sid", func() error { _, err := s.EndOrigin(ctx, origin, session.ReasonProvider, now); return err },
			[]string{"USING INDEX gatewire_sessions_sid (origin_issuer=? AND origin_sid=?)"}, nil},
		{"EndOrigin by subject", func() error { _, err := s.EndOrigin(ctx, subject, session.ReasonProvider, now); return err },
			[]string{"USING INDEX gatewire_sessions_subject (origin_issuer=? AND origin_subject=?)", "(rowid>?)"}, nil},
		{"Reap", func() error { _, err := s.Reap(ctx, now.Add(31*time.Minute), 10); return err },
			[]string{"USING INDEX gatewire_sessions_dies (dies<?)", "(rowid>?)"}, []string{"gatewire_session_ended"}},
		{"CreateUser", func() error { return a.CreateUser(ctx, user(1), id) }, []string{"(issuer=? AND subject=?)"}, nil},
		{"UserByID", func() error { _, _, err := a.UserByID(ctx, "user-1"); return err }, []string{"(id=?)"}, nil},
		{"UserByEmail", func() error { _, _, err := a.UserByEmail(ctx, "u1@example.com"); return err }, []string{"(email_key=?)"}, nil},
		{"UserByIdentity", func() error { _, _, err := a.UserByIdentity(ctx, id.Issuer, "1"); return err },
			[]string{"(issuer=? AND subject=?)", "(id=?)"}, nil},
		{"SetPassword", func() error { return a.SetPassword(ctx, "user-1", "hash-0", "hash-1", nil) }, []string{"(id=?)"}, nil},
		{"SetPassword owing", func() error { return a.SetPassword(ctx, "user-1", "hash-1", "hash-2", owedAt("m", now)) }, []string{"(id=?)"}, nil},
		{"SwapEnding", func() error { return a.SwapEnding(ctx, "user-1", "m", owedAt("n", now)) }, []string{"(id=?)"}, nil},
		{"Owing", func() error { _, err := a.Owing(ctx, now, 100); return err }, []string{"USING INDEX gatewire_users_ending (ending_due<?)"}, nil},
		{"Limiter.Take", func() error { _, err := a.Limiter().Take(ctx, "key", limit); return err }, []string{"gatewire_limits USING PRIMARY KEY (key=?)"}, nil},
		{"Limiter.Give", func() error { return a.Limiter().Give(ctx, "key", limit) }, []string{"gatewire_limits USING PRIMARY KEY (key=?)"}, nil},
		{"Once.Take", func() error { _, err := a.Once().Take(ctx, "key", time.Hour); return err }, nil, nil},
		{"Once.Taken", func() error { _, _, err := a.Once().Taken(ctx, "key"); return err }, []string{"gatewire_once USING PRIMARY KEY (key=?)"}, nil},
		{"Limiter reaps", func() error { return untilReaped(ctx, a) }, []string{"USING COVERING INDEX gatewire_limits_full_at (full_at<?)", "gatewire_limits USING PRIMARY KEY (key=?)",
			"USING COVERING INDEX gatewire_once_expires (expires<?)", "gatewire_once USING PRIMARY KEY (key=?)"}, nil},
		{"AddKey", func() error { return a.AddKey(ctx, key, "") }, nil, []string{"gatewire_signing_keys"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := explain(t, spy, func() { require.NoError(t, c.op()) })
			for _, want := range c.wants {
				require.Contains(t, plan, want)
			}
			for _, m := range scans.FindAllStringSubmatch(plan, -1) {
				require.Contains(t, c.scans, m[1], plan)
			}
			require.NotContains(t, c.scans, "gatewire_sessions")
		})
	}
}

func owedAt(mark string, at time.Time) *accounts.Ending {
	return &accounts.Ending{Mark: mark, Reason: session.ReasonPasswordChanged, Since: at, Due: at}
}

func atEpoch(ctx context.Context, s session.Store) error {
	epoch, err := s.Epoch(ctx, "u1")
	if err == nil {
		_, err = s.EndUserAt(ctx, "u1", "s", epoch, session.ReasonRevoked, time.Now())
	}
	return err
}

// untilReaped uses the limiter and what happened once until they have removed
// what is over.
func untilReaped(ctx context.Context, a *accountsql.Store) error {
	for range 100 {
		if err := a.Limiter().Give(ctx, "key", limit); err != nil {
			return err
		}
		if _, err := a.Once().Take(ctx, "key", time.Hour); err != nil {
			return err
		}
	}
	return nil
}

// explainPostgres is explain for PostgreSQL. generic asks for the plan that is
// made without looking at the values, which the server may choose for a
// statement it has seen often.
func explainPostgres(t *testing.T, s *spy, generic bool, op func()) string {
	t.Helper()
	sent := s.during(op)
	require.NotEmpty(t, sent)
	db := openDSN(t, s.dsn)
	db.SetMaxOpenConns(1)
	_, err := db.Exec(`SET plan_cache_mode = force_generic_plan`)
	require.NoError(t, err)
	var plan strings.Builder
	for i, st := range sent {
		if st.query == "COMMIT" || strings.HasPrefix(st.query, "SELECT pg_advisory") {
			continue
		}
		explain, args := "EXPLAIN (COSTS OFF) "+st.query, make([]any, len(st.args))
		for i, a := range st.args {
			args[i] = a.Value
		}
		if generic {
			_, err := db.Exec(fmt.Sprintf("PREPARE q%d AS %s", i, st.query))
			require.NoError(t, err, st.query)
			explain = fmt.Sprintf("EXPLAIN (COSTS OFF) EXECUTE q%d", i)
			if len(args) > 0 {
				explain += "(NULL" + strings.Repeat(", NULL", len(args)-1) + ")"
			}
			args = nil
		}
		rows, err := db.Query(explain, args...)
		require.NoError(t, err, st.query)
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			fmt.Fprintln(&plan, strings.TrimSpace(line))
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
	}
	return plan.String()
}

func TestS22_PostgresQueryPlansUseIndexes(t *testing.T) {
	for name, generic := range map[string]bool{"custom": false, "generic": true} {
		t.Run(name, func(t *testing.T) {
			dsn := dbtest.PostgresDSN(t)
			spy, db := openSpy(t, dsn)
			s, a := sessionsOn(t, db), accountsOn(t, db)
			ctx, now := t.Context(), time.Now()
			require.NoError(t, manySessions(db, 30000, "concat('u', i % 3000)", "1000000000000000000"))
			for _, q := range []string{
				`INSERT INTO gatewire_session_ended SELECT i, 'e' || i, CAST('e' || i AS BYTEA), 'u' || i, 'x', i FROM generate_series(1, 30000) AS i`,
				`UPDATE gatewire_session_head SET seq = 30000`,
				`INSERT INTO gatewire_session_epochs SELECT 'u' || i, i FROM generate_series(1, 30000) AS i`,
				`INSERT INTO gatewire_users SELECT 'id' || i, '', 'e' || i, TRUE, '', '', 0, '', FALSE, '[]', '[]' FROM generate_series(1, 30000) AS i`,
				`INSERT INTO gatewire_identities SELECT 'issuer', i, 'id' || i, '', 0 FROM generate_series(1, 30000) AS i`,
				`INSERT INTO gatewire_limits SELECT 'over' || i, i FROM generate_series(1, 30000) AS i`,
				`INSERT INTO gatewire_once SELECT 'over' || i, i, i, 1 FROM generate_series(1, 30000) AS i`,
				`ANALYZE`,
			} {
				_, err := db.Exec(q)
				require.NoError(t, err)
			}
			cursor := cursorOf(t, s)
			rec := record("s", "u1")
			id := &accounts.ExternalIdentity{Issuer: "https://issuer.example", Subject: "1", UserID: "user-1"}
			for _, c := range []planned{
				{"Create", func() error { return s.Create(ctx, rec, session.AnyEpoch-1) }, []string{
					"Index Only Scan using gatewire_session_ended_id on", "Index Only Scan using gatewire_session_ended_key on", "using gatewire_session_epochs_pkey on"}, nil},
				{"Load", func() error { _, _, err := s.Load(ctx, rec.Key); return err }, []string{"Index Scan using gatewire_sessions_key_key on"}, nil},
				{"ByID", func() error { _, _, err := s.ByID(ctx, "s"); return err }, []string{"Index Scan using gatewire_sessions_pkey on"}, nil},
				{"Touch", func() error { return s.Touch(ctx, rec.Key, now.Add(time.Minute), now.Add(time.Hour)) }, []string{"using gatewire_sessions_key_key on"}, nil},
				{"Replace", func() error { return s.Replace(ctx, keyOf("id1"), rec, 1) }, []string{"using gatewire_sessions_key_key on"}, nil},
				{"ListUser", func() error { _, err := s.ListUser(ctx, "u1"); return err }, []string{"gatewire_sessions_user"}, nil},
				{"Epoch", func() error { _, err := s.Epoch(ctx, "u1"); return err }, []string{"gatewire_session_epochs_pkey"}, nil},
				{"EndedSince", func() error { _, _, err := s.EndedSince(ctx, cursor, 10); return err }, []string{"gatewire_session_ended_pkey"}, nil},
				{"End", func() error { _, err := s.End(ctx, "id5", session.ReasonSignedOut, now); return err }, []string{"using gatewire_sessions_pkey on"}, nil},
				{"EndUser", func() error { _, err := s.EndUser(ctx, "u1", "s", session.ReasonRevoked, now); return err }, []string{"gatewire_sessions_user"}, nil},
				{"EndUserAt", func() error { return atEpoch(ctx, s) }, []string{"gatewire_sessions_user", "gatewire_session_epochs_pkey"}, nil},
				{"EndOrigin by sid", func() error {
					_, err := s.EndOrigin(ctx, session.Origin{Issuer: origin.Issuer, SID: "sid7"}, session.ReasonProvider, now)
					return err
				},
					[]string{"gatewire_sessions_sid"}, nil},
				{"EndOrigin by both", func() error {
					_, err := s.EndOrigin(ctx, session.Origin{Issuer: origin.Issuer, SID: "sid8", Subject: "sub8"}, session.ReasonProvider, now)
					return err
				},
					[]string{"gatewire_sessions_sid"}, nil},
				{"EndOrigin by subject", func() error {
					_, err := s.EndOrigin(ctx, session.Origin{Issuer: origin.Issuer, Subject: "sub9"}, session.ReasonProvider, now)
					return err
				},
					[]string{"gatewire_sessions_subject"}, nil},
				{"Reap", func() error { _, err := s.Reap(ctx, now.Add(31*time.Minute), 10); return err },
					[]string{"using gatewire_sessions_dies on", "gatewire_session_ended_pkey"}, nil},
				{"CreateUser", func() error { return a.CreateUser(ctx, user(1), id) }, []string{"gatewire_identities_pkey"}, nil},
				{"UserByID", func() error { _, _, err := a.UserByID(ctx, "user-1"); return err }, []string{"gatewire_users_pkey"}, nil},
				{"UserByEmail", func() error { _, _, err := a.UserByEmail(ctx, "u1@example.com"); return err }, []string{"gatewire_users_email_key_key"}, nil},
				{"UserByIdentity", func() error { _, _, err := a.UserByIdentity(ctx, id.Issuer, "1"); return err },
					[]string{"gatewire_identities_pkey", "gatewire_users_pkey"}, nil},
				{"SetPassword", func() error { return a.SetPassword(ctx, "user-1", "hash-0", "hash-1", nil) }, []string{"gatewire_users_pkey"}, nil},
				{"SetPassword owing", func() error { return a.SetPassword(ctx, "user-1", "hash-1", "hash-2", owedAt("m", now)) }, []string{"gatewire_users_pkey"}, nil},
				{"SwapEnding", func() error { return a.SwapEnding(ctx, "user-1", "m", owedAt("n", now)) }, []string{"gatewire_users"}, nil},
				{"Owing", func() error { _, err := a.Owing(ctx, now, 100); return err }, []string{"gatewire_users_ending"}, nil},
				{"Limiter.Take", func() error { _, err := a.Limiter().Take(ctx, "over7", limit); return err }, []string{"gatewire_limits_pkey"}, nil},
				{"Limiter.Give", func() error { return a.Limiter().Give(ctx, "over7", limit) }, []string{"gatewire_limits_pkey"}, nil},
				{"Once.Take", func() error { _, err := a.Once().Take(ctx, "key", time.Hour); return err }, nil, nil},
				{"Once.Taken", func() error { _, _, err := a.Once().Taken(ctx, "over7"); return err }, []string{"gatewire_once_pkey"}, nil},
				{"Limiter reaps", func() error { return untilReaped(ctx, a) }, []string{"gatewire_limits_full_at", "gatewire_limits_pkey", "gatewire_once_expires", "gatewire_once_pkey"}, nil},
			} {
				t.Run(c.name, func(t *testing.T) {
					plan := explainPostgres(t, spy, generic, func() {
						if err := c.op(); c.name != "Create" && c.name != "Replace" {
							require.NoError(t, err)
						}
					})
					for _, want := range c.wants {
						require.Contains(t, plan, want)
					}
					for line := range strings.Lines(plan) { // the head is one row
						if strings.Contains(line, "Seq Scan on ") && !strings.Contains(line, "gatewire_session_head") {
							t.Errorf("a whole table is read:\n%s", plan)
						}
					}
				})
			}
		})
	}
}

// explainMySQL is explain for MariaDB, which answers for a row that is not there
// without a plan: so each statement is explained just before it is sent.
func explainMySQL(t *testing.T, s *spy, op func()) []mysqlStep {
	t.Helper()
	db := openDSN(t, s.dsn)
	var steps []mysqlStep
	var failure error
	s.setFail(func(query string) error {
		switch verb, _, _ := strings.Cut(query, " "); verb {
		case "SET", "START", "COMMIT", "ROLLBACK":
			return nil
		}
		if strings.Contains(query, "VALUES (") {
			return nil
		}
		rows, err := db.Query("EXPLAIN " + query)
		for err == nil && rows.Next() {
			step := mysqlStep{query: query}
			var id, number sql.NullInt64
			var how, table, kind, possible, key, length, ref, extra sql.NullString
			err = rows.Scan(&id, &how, &table, &kind, &possible, &key, &length, &ref, &number, &extra)
			step.table, step.kind, step.key, step.rows, step.extra = table.String, kind.String, key.String, number.Int64, extra.String
			steps = append(steps, step)
		}
		if err == nil {
			err = rows.Err()
		}
		failure = errors.Join(failure, err)
		return nil
	})
	op()
	s.setFail(nil)
	require.NoError(t, failure)
	require.NotEmpty(t, steps)
	return steps
}

type mysqlStep struct {
	query, table, kind, key, extra string
	rows                           int64 // that the server thinks it will look at
}

func TestS22_MySQLQueryPlansUseIndexes(t *testing.T) {
	dsn := dbtest.MySQLDSN(t)
	spy, db := openSpy(t, dsn)
	s := sessionsOn(t, db)
	ctx, now := t.Context(), time.Now()
	require.NoError(t, manySessions(db, 30000, "concat('u', i % 3000)", "1000000000000000000"))
	for _, q := range []string{
		// Half of the sessions have no origin, and the index has them all the same.
		"UPDATE gatewire_sessions SET origin_issuer = '', origin_subject = '', origin_sid = '' WHERE created % 4 = 0",
		"UPDATE gatewire_sessions SET origin_sid = '' WHERE created % 4 = 1",
		"INSERT INTO gatewire_session_ended SELECT seq, concat('e', seq), lpad(seq, 32, 'e'), concat('u', seq), 'x', seq FROM seq_1_to_30000",
		"UPDATE gatewire_session_head SET seq = 30000",
		"INSERT INTO gatewire_session_epochs SELECT concat('u', seq), seq FROM seq_1_to_30000",
		"ANALYZE TABLE gatewire_sessions, gatewire_session_ended, gatewire_session_epochs",
	} {
		_, err := db.Exec(q)
		require.NoError(t, err)
	}
	cursor := cursorOf(t, s)
	rec, other := record("s", "u1"), record("other", "u1")
	require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
	handed := rec
	handed.UserID = "u2"
	for i := range 20 {
		dead := record(fmt.Sprint("dead", i), "dead")
		dead.IdleExpires = now.Add(-time.Minute)
		require.NoError(t, s.Create(ctx, dead, session.AnyEpoch))
	}
	for _, c := range []struct {
		name  string
		op    func() error
		wants []string // indexes, in this order among others
	}{
		{"Create", func() error { return s.Create(ctx, other, 1) },
			[]string{"gatewire_session_locks PRIMARY", "gatewire_session_ended gatewire_session_ended_key", "gatewire_session_ended gatewire_session_ended_id", "gatewire_session_epochs PRIMARY"}},
		{"Load", func() error { _, _, err := s.Load(ctx, rec.Key); return err }, []string{"gatewire_sessions gatewire_sessions_key"}},
		{"ByID", func() error { _, _, err := s.ByID(ctx, "s"); return err }, []string{"gatewire_sessions PRIMARY"}},
		{"Touch", func() error { return s.Touch(ctx, rec.Key, now.Add(time.Minute), now.Add(time.Hour)) }, []string{"gatewire_sessions gatewire_sessions_key"}},
		{"Replace", func() error { return s.Replace(ctx, rec.Key, rec, 1) }, []string{"gatewire_sessions gatewire_sessions_key"}},
		{"Replace for another", func() error { return s.Replace(ctx, rec.Key, handed, 2) },
			[]string{"gatewire_sessions gatewire_sessions_key", "gatewire_session_locks PRIMARY", "gatewire_sessions gatewire_sessions_key"}},
		{"ListUser", func() error { _, err := s.ListUser(ctx, "u1"); return err }, []string{"gatewire_sessions gatewire_sessions_user"}},
		{"Epoch", func() error { _, err := s.Epoch(ctx, "u1"); return err }, []string{"gatewire_session_epochs PRIMARY"}},
		{"EndedSince", func() error { _, _, err := s.EndedSince(ctx, cursor, 10); return err }, []string{"gatewire_session_ended PRIMARY"}},
		{"End", func() error { _, err := s.End(ctx, "id5", session.ReasonSignedOut, now); return err },
			[]string{"h PRIMARY", "gatewire_sessions PRIMARY", "gatewire_session_ended PRIMARY", "e PRIMARY", "s PRIMARY", "h PRIMARY"}},
		{"EndUser", func() error { _, err := s.EndUser(ctx, "u1", "s", session.ReasonRevoked, now); return err },
			[]string{"gatewire_sessions gatewire_sessions_user", "e PRIMARY", "s PRIMARY"}},
		{"EndOrigin by sid", func() error {
			_, err := s.EndOrigin(ctx, session.Origin{Issuer: origin.Issuer, SID: "sid7"}, session.ReasonProvider, now)
			return err
		}, []string{"gatewire_sessions gatewire_sessions_sid", "e PRIMARY", "s PRIMARY"}},
		{"EndOrigin by both", func() error {
			_, err := s.EndOrigin(ctx, session.Origin{Issuer: origin.Issuer, SID: "sid11", Subject: "sub11"}, session.ReasonProvider, now)
			return err
		}, []string{"gatewire_sessions gatewire_sessions_sid", "e PRIMARY", "s PRIMARY"}},
		{"EndOrigin by subject", func() error {
			_, err := s.EndOrigin(ctx, session.Origin{Issuer: origin.Issuer, Subject: "sub9"}, session.ReasonProvider, now)
			return err
		}, []string{"gatewire_sessions gatewire_sessions_subject", "e PRIMARY", "s PRIMARY"}},
		{"Reap", func() error { _, err := s.Reap(ctx, now, 10); return err },
			[]string{"gatewire_sessions gatewire_sessions_dies", "e PRIMARY", "s PRIMARY", "gatewire_session_ended PRIMARY", "gatewire_session_ended PRIMARY"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var used []string
			for _, step := range explainMySQL(t, spy, func() { require.NoError(t, c.op()) }) {
				key := step.table + " " + step.key
				if step.table == "gatewire_session_head" {
					key = "h " + step.key
				}
				used = append(used, key)
				switch step.table {
				case "", "h", "gatewire_session_head", "gatewire_session_locks": // nothing, or one row
				case "<derived2>", "<derived3>": // what another step has found
				default:
					// The oldest of the log are read in the order of its key, up to a limit.
					ordered := step.kind == "index" && step.key == "PRIMARY" && strings.Contains(step.query, "LIMIT")
					require.NotEqual(t, "ALL", step.kind, "%+v", step)
					require.True(t, ordered || step.kind != "index", "%+v", step)
					require.NotEmpty(t, step.key, "%+v", step)
					if step.table != "gatewire_session_ended" { // it is to be forgotten, all of it
						require.Less(t, step.rows, int64(100), "%+v", step)
					}
				}
			}
			rest := c.wants
			for _, key := range used {
				if len(rest) > 0 && key == rest[0] {
					rest = rest[1:]
				}
			}
			require.Empty(t, rest, "%q", used)
		})
	}
}

// Ten thousand sessions of one user among as many of others: what listing and
// ending one user's costs does not grow with the table.
func TestS22_OneUserAmongMany(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s := sessionsOn(t, db)
		ctx := t.Context()
		require.NoError(t, manySessions(db, 20000, "CASE WHEN i % 2 = 0 THEN 'big' ELSE concat('u', i) END", "1000000000000000000"))

		list, err := s.ListUser(ctx, "big")
		require.NoError(t, err)
		require.Len(t, list, 10000)
		require.Equal(t, "id20000", list[0].ID, "newest first")

		cursor := cursorOf(t, s)
		ended, err := s.EndUser(ctx, "big", "id10000", session.ReasonRevoked, time.Now())
		require.NoError(t, err)
		require.Len(t, ended, 9999)
		list, err = s.ListUser(ctx, "big")
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, "id10000", list[0].ID)

		var logged []session.Ended
		for {
			page, next, err := s.EndedSince(ctx, cursor, 1000)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			logged, cursor = append(logged, page...), next
		}
		require.Equal(t, ended, logged)
		var rest int
		require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM gatewire_sessions`).Scan(&rest))
		require.Equal(t, 10001, rest)
	})
}
