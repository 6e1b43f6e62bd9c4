package sqlstore

// Nothing but these constants is ever sent as SQL. Parameters are numbered, so
// that a statement reads the same for PostgreSQL, which writes them $1, and for
// MySQL, which is sent literals in their place.

const sessionColumns = `id, created,
	key, kind, rev, user_id, scopes, roles, auth_time, seen, idle_expires, expires,
	user_agent, ip, origin_issuer, origin_subject, origin_sid,
	refresh_secret, refresh_previous, refresh_rotated, refresh_successor, data`

// createColumns is how many of them, from the first, are set by Create alone.
const createColumns = 2

const (
	insertSession = `INSERT INTO gatewire_sessions (` + sessionColumns + `)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)`

	sessionByKey   = `SELECT ` + sessionColumns + ` FROM gatewire_sessions WHERE key = ?1`
	sessionByID    = `SELECT ` + sessionColumns + ` FROM gatewire_sessions WHERE id = ?1`
	sessionsOfUser = `SELECT ` + sessionColumns + ` FROM gatewire_sessions WHERE user_id = ?1 ORDER BY created DESC`
	hasSession     = `SELECT EXISTS (SELECT 1 FROM gatewire_sessions WHERE key = ?1)`

	// replaceSession takes the values of insertSession but the first two, then
	// the old key and the revision. id and created keep what they have, and a
	// touch in between is not undone: expressions see the row as it is.
	replaceSession = `UPDATE gatewire_sessions SET
		key = ?1, kind = ?2, rev = ?3, user_id = ?4, scopes = ?5, roles = ?6, auth_time = ?7,
		seen = CASE WHEN seen > ?8 THEN seen ELSE ?8 END,
		idle_expires = CASE WHEN idle_expires <= ?9 THEN ?9 WHEN idle_expires <= ?10 THEN idle_expires ELSE ?10 END,
		expires = ?10, user_agent = ?11, ip = ?12, origin_issuer = ?13, origin_subject = ?14, origin_sid = ?15,
		refresh_secret = ?16, refresh_previous = ?17, refresh_rotated = ?18, refresh_successor = ?19, data = ?20
		WHERE key = ?21 AND rev = ?22`

	// replaceSessionPostgres takes the number of the user's lock besides, and
	// shares the lock where the session changes hands: see userLock.
	replaceSessionPostgres = replaceSession +
		` AND CASE WHEN user_id = ?4 THEN TRUE ELSE pg_advisory_xact_lock_shared(?23) IS NOT NULL END`

	// replaceSessionMySQL does not see a session that changes hands: see
	// replaceFrom.
	replaceSessionMySQL = replaceSession + ` AND user_id = ?4`

	// touchSession writes nothing when there is nothing to move.
	touchSession = `UPDATE gatewire_sessions SET
		seen = CASE WHEN seen > ?2 THEN seen ELSE ?2 END,
		idle_expires = CASE WHEN idle_expires > ?3 OR idle_expires >= expires THEN idle_expires WHEN expires < ?3 THEN expires ELSE ?3 END
		WHERE key = ?1 AND (seen < ?2 OR (idle_expires < ?3 AND idle_expires < expires))`

	hasEnded = `SELECT EXISTS (SELECT 1 FROM gatewire_session_ended WHERE id = ?1)
		OR EXISTS (SELECT 1 FROM gatewire_session_ended WHERE key = ?2)`
	userEpoch = `SELECT COALESCE((SELECT epoch FROM gatewire_session_epochs WHERE user_id = ?1), 0)`

	// lockHead keeps everyone else who ends sessions waiting until this
	// transaction is over. So numbers are committed in their order, and no
	// reader of the log passes one that is still to come.
	lockHead      = `UPDATE gatewire_session_head SET seq = seq WHERE one = 1 RETURNING seq`
	lockHeadMySQL = `SELECT seq FROM gatewire_session_head WHERE one = 1 FOR UPDATE`
	moveHead      = `UPDATE gatewire_session_head SET seq = ?1 WHERE one = 1`

	raiseEpoch = `INSERT INTO gatewire_session_epochs (user_id, epoch) VALUES (?1, ?2)
		ON CONFLICT (user_id) DO UPDATE SET epoch = excluded.epoch`
	raiseEpochMySQL = `INSERT INTO gatewire_session_epochs (user_id, epoch) VALUES (?1, ?2) ON DUPLICATE KEY UPDATE epoch = ?2`

	// endedSince reads the head and what follows the cursor in one statement,
	// and so at one moment.
	endedSince = `SELECT h.log, h.seq, h.pruned, e.seq, e.id, e.user_id, e.reason, e.at
		FROM gatewire_session_head AS h
		LEFT JOIN (SELECT seq, id, user_id, reason, at FROM gatewire_session_ended WHERE seq > ?1 ORDER BY seq LIMIT ?2) AS e ON 1 = 1
		WHERE h.one = 1 ORDER BY e.seq`

	oldestLogged = `SELECT seq, at FROM gatewire_session_ended ORDER BY seq LIMIT ?1`
	// Both ends: of the upper one alone a planner may think that it is most of the table.
	forgetLogged = `DELETE FROM gatewire_session_ended WHERE seq >= ?1 AND seq <= ?2`
	movePruned   = `UPDATE gatewire_session_head SET pruned = ?1 WHERE one = 1`
)

// queries are the statements that differ from one database to another.
type queries struct {
	replace    string
	raiseEpoch string
	lockHead   string
	ending     endingQueries
}

var (
	sqliteQueries   = queries{replace: replaceSession, raiseEpoch: raiseEpoch, lockHead: lockHead, ending: sqliteEnding}
	postgresQueries = queries{replace: replaceSessionPostgres, raiseEpoch: raiseEpoch, lockHead: lockHead, ending: postgresEnding}
	mysqlQueries    = queries{replace: replaceSessionMySQL, raiseEpoch: raiseEpochMySQL, lockHead: lockHeadMySQL, ending: mysqlEnding}
)

// endingQueries end sessions and log that. All but logged and remove number what
// they end from ?1+1 on.
type endingQueries struct {
	one, user, dead string
	sid, subject    string // by the provider's session, with any subject or one; by the subject alone
	logged          string // returns what the others have logged, where they don't
	remove          string // removes what was logged, where the others don't
}

// The last term of each is that of the partial index, which is used for it. In
// MySQL, which has none, the index also holds the sessions without an origin,
// under an issuer that nobody asks for. There an empty text is written as bytes:
// a sql_mode of MariaDB's, EMPTY_STRING_IS_NULL, reads the other as NULL, which
// equals nothing.
const (
	ofSID          = `origin_issuer = ?4 AND origin_sid = ?5 AND ?6 IN ('', origin_subject) AND origin_sid <> ''`
	ofSubject      = `origin_issuer = ?4 AND origin_subject = ?5 AND origin_subject <> ''`
	mysqlOfSID     = `origin_issuer = ?4 AND origin_sid = ?5 AND ?6 IN (x'', origin_subject)`
	mysqlOfSubject = `origin_issuer = ?4 AND origin_subject = ?5`
)

const (
	logEnded    = `INSERT INTO gatewire_session_ended (seq, id, key, user_id, reason, at) SELECT `
	loggedEnded = ` RETURNING seq, id, user_id, reason, at`
)

const sqliteOrigin = logEnded + `?1 + ROW_NUMBER() OVER (ORDER BY created), id, key, user_id, ?2, ?3 FROM gatewire_sessions WHERE `

var sqliteEnding = endingQueries{
	one: logEnded + `?1 + 1, id, key, user_id, ?2, ?3 FROM gatewire_sessions WHERE id = ?4` + loggedEnded,
	user: logEnded + `?1 + ROW_NUMBER() OVER (ORDER BY created), id, key, user_id, ?2, ?3
		FROM gatewire_sessions WHERE user_id = ?4 AND id <> ?5` + loggedEnded,
	dead: logEnded + `?1 + ROW_NUMBER() OVER (ORDER BY dies), id, key, user_id, ?2, ?3
		FROM (SELECT id, key, user_id, dies FROM gatewire_sessions WHERE dies <= ?4 ORDER BY dies LIMIT ?5) AS dead` + loggedEnded,
	sid:     sqliteOrigin + ofSID + loggedEnded,
	subject: sqliteOrigin + ofSubject + loggedEnded,
	remove:  `DELETE FROM gatewire_sessions WHERE id IN (SELECT id FROM gatewire_session_ended WHERE seq > ?1)`,
}

const (
	postgresOrigin    = `WITH gone AS (DELETE FROM gatewire_sessions WHERE `
	postgresOriginLog = ` RETURNING id, key, user_id, created) ` +
		logEnded + `CAST(?1 AS BIGINT) + ROW_NUMBER() OVER (ORDER BY created), id, key, user_id, CAST(?2 AS TEXT), CAST(?3 AS BIGINT) FROM gone` + loggedEnded
)

// PostgreSQL logs what it has removed: while the removal waits for a change of
// the same row, the key or the user that was read before would become stale.
// For the same reason the dead are locked first, and looked at again then: one
// that was touched meanwhile lives.
var postgresEnding = endingQueries{
	one: `WITH gone AS (DELETE FROM gatewire_sessions WHERE id = ?4 RETURNING id, key, user_id) ` +
		logEnded + `CAST(?1 AS BIGINT) + 1, id, key, user_id, CAST(?2 AS TEXT), CAST(?3 AS BIGINT) FROM gone` + loggedEnded,
	user: `WITH gone AS (DELETE FROM gatewire_sessions WHERE user_id = ?4 AND id <> ?5 RETURNING id, key, user_id, created) ` +
		logEnded + `CAST(?1 AS BIGINT) + ROW_NUMBER() OVER (ORDER BY created), id, key, user_id, CAST(?2 AS TEXT), CAST(?3 AS BIGINT) FROM gone` + loggedEnded,
	dead: `WITH gone AS (DELETE FROM gatewire_sessions WHERE id = ANY (ARRAY(
			SELECT id FROM gatewire_sessions WHERE dies <= ?4 ORDER BY dies LIMIT ?5 FOR UPDATE)) RETURNING id, key, user_id, dies) ` +
		logEnded + `CAST(?1 AS BIGINT) + ROW_NUMBER() OVER (ORDER BY dies), id, key, user_id, CAST(?2 AS TEXT), CAST(?3 AS BIGINT) FROM gone` + loggedEnded,
	sid:     postgresOrigin + ofSID + postgresOriginLog,
	subject: postgresOrigin + ofSubject + postgresOriginLog,
}

// MySQL locks what it logs, as it is then, and removes what it has logged: it
// waits for a change of such a row and sees it. Only an index keeps it from
// locking, and waiting for, what is not asked for; which one is no guess of the
// server's. The dead that somebody is at are left for the next time: they may
// have been touched.
const (
	mysqlLog    = logEnded + `?1 + ROW_NUMBER() OVER (ORDER BY created), id, key, user_id, ?2, ?3 FROM gatewire_sessions FORCE INDEX `
	mysqlLocked = ` FOR UPDATE`
)

var mysqlEnding = endingQueries{
	one:  logEnded + `?1 + 1, id, key, user_id, ?2, ?3 FROM gatewire_sessions WHERE id = ?4` + mysqlLocked,
	user: mysqlLog + `(gatewire_sessions_user) WHERE user_id = ?4 AND id <> ?5` + mysqlLocked,
	dead: logEnded + `?1 + ROW_NUMBER() OVER (ORDER BY dies), id, key, user_id, ?2, ?3
		FROM (SELECT id, key, user_id, dies FROM gatewire_sessions FORCE INDEX (gatewire_sessions_dies)
			WHERE dies <= ?4 ORDER BY dies LIMIT ?5 FOR UPDATE SKIP LOCKED) AS dead`,
	sid:     mysqlLog + `(gatewire_sessions_sid) WHERE ` + mysqlOfSID + mysqlLocked,
	subject: mysqlLog + `(gatewire_sessions_subject) WHERE ` + mysqlOfSubject + mysqlLocked,
	logged:  `SELECT seq, id, user_id, reason, at FROM gatewire_session_ended WHERE seq > ?1`,
	remove: `DELETE s FROM gatewire_session_ended AS e STRAIGHT_JOIN gatewire_sessions AS s ON s.id = e.id
		WHERE e.seq > ?1`,
}
