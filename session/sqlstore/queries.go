package sqlstore

// Parameters are numbered, so that a statement reads the same in a dialect
// that writes them $1. Nothing but these constants is ever sent as SQL.

const sessionColumns = `id, created,
	key, kind, rev, user_id, scopes, roles, auth_time, seen, idle_expires, expires,
	user_agent, ip, origin_issuer, origin_subject, origin_sid,
	refresh_secret, refresh_previous, refresh_rotated, refresh_successor, data`

// createColumns is how many of them, from the first, are set by Create alone.
const createColumns = 2

const (
	insertSession = `INSERT INTO gatewire_sessions (` + sessionColumns + `)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)
		ON CONFLICT DO NOTHING`

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

	// touchSession writes nothing when there is nothing to move.
	touchSession = `UPDATE gatewire_sessions SET
		seen = CASE WHEN seen > ?2 THEN seen ELSE ?2 END,
		idle_expires = CASE WHEN idle_expires > ?3 OR idle_expires >= expires THEN idle_expires WHEN expires < ?3 THEN expires ELSE ?3 END
		WHERE key = ?1 AND (seen < ?2 OR (idle_expires < ?3 AND idle_expires < expires))`

	hasEnded = `SELECT EXISTS (SELECT 1 FROM gatewire_session_ended WHERE id = ?1)
		OR EXISTS (SELECT 1 FROM gatewire_session_ended WHERE key = ?2)`
	userEpoch = `SELECT COALESCE((SELECT epoch FROM gatewire_session_epochs WHERE user_id = ?1), 0)`

	// lockHead keeps everyone else who ends sessions waiting until this
	// transaction is over.
	lockHead = `UPDATE gatewire_session_head SET seq = seq WHERE one = 1`
	readHead = `SELECT seq FROM gatewire_session_head WHERE one = 1`
	moveHead = `UPDATE gatewire_session_head SET seq = ?1 WHERE one = 1`

	raiseEpoch = `INSERT INTO gatewire_session_epochs (user_id, epoch) VALUES (?1, ?2)
		ON CONFLICT (user_id) DO UPDATE SET epoch = excluded.epoch`

	// The three log statements number what they are about to end from ?1+1 on,
	// and removeLogged removes exactly that.
	logOne = `INSERT INTO gatewire_session_ended (seq, id, key, user_id, reason, at)
		SELECT ?1 + 1, id, key, user_id, ?2, ?3 FROM gatewire_sessions WHERE id = ?4`
	logUser = `INSERT INTO gatewire_session_ended (seq, id, key, user_id, reason, at)
		SELECT ?1 + ROW_NUMBER() OVER (ORDER BY created), id, key, user_id, ?2, ?3
		FROM gatewire_sessions WHERE user_id = ?4 AND id <> ?5`
	logDead = `INSERT INTO gatewire_session_ended (seq, id, key, user_id, reason, at)
		SELECT ?1 + ROW_NUMBER() OVER (ORDER BY dies), id, key, user_id, ?2, ?3
		FROM (SELECT id, key, user_id, dies FROM gatewire_sessions WHERE dies <= ?4 ORDER BY dies LIMIT ?5) AS dead`
	removeLogged = `DELETE FROM gatewire_sessions WHERE id IN (SELECT id FROM gatewire_session_ended WHERE seq > ?1)`
	readLogged   = `SELECT id, user_id, reason, at FROM gatewire_session_ended WHERE seq > ?1 ORDER BY seq`

	// endedSince reads the head and what follows the cursor in one statement,
	// and so at one moment.
	endedSince = `SELECT h.log, h.seq, h.pruned, e.seq, e.id, e.user_id, e.reason, e.at
		FROM gatewire_session_head AS h
		LEFT JOIN (SELECT seq, id, user_id, reason, at FROM gatewire_session_ended WHERE seq > ?1 ORDER BY seq LIMIT ?2) AS e ON 1 = 1
		WHERE h.one = 1 ORDER BY e.seq`

	oldestLogged = `SELECT seq, at FROM gatewire_session_ended ORDER BY seq LIMIT ?1`
	forgetLogged = `DELETE FROM gatewire_session_ended WHERE seq <= ?1`
	movePruned   = `UPDATE gatewire_session_head SET pruned = ?1 WHERE one = 1`
)
