package sqlstore

// Parameters are numbered, so that a statement reads the same in a dialect
// that writes them $1. Nothing but these constants is ever sent as SQL.

const (
	userColumns = `u.id, u.email, u.email_verified, u.name, u.picture, u.created, u.password, u.disabled, u.scopes, u.roles,
		u.ending_mark, u.ending_reason, u.ending_since, u.ending_due`

	insertUser = `INSERT INTO gatewire_users
		(id, email, email_key, email_verified, name, picture, created, password, disabled, scopes, roles)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING`
	insertIdentity = `INSERT INTO gatewire_identities (issuer, subject, user_id, email, created)
		VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING`
	hasIdentity = `SELECT EXISTS (SELECT 1 FROM gatewire_identities WHERE issuer = ?1 AND subject = ?2)`
	hasEmail    = `SELECT EXISTS (SELECT 1 FROM gatewire_users WHERE email_key = ?1)`
	hasUser     = `SELECT EXISTS (SELECT 1 FROM gatewire_users WHERE id = ?1)`

	userByID       = `SELECT ` + userColumns + ` FROM gatewire_users AS u WHERE u.id = ?1`
	userByEmail    = `SELECT ` + userColumns + ` FROM gatewire_users AS u WHERE u.email_key = ?1`
	userByIdentity = `SELECT ` + userColumns + ` FROM gatewire_identities AS i
		JOIN gatewire_users AS u ON u.id = i.user_id WHERE i.issuer = ?1 AND i.subject = ?2`

	setPassword = `UPDATE gatewire_users SET password = ?3 WHERE id = ?1 AND password = ?2`
	setDisabled = `UPDATE gatewire_users SET disabled = ?2 WHERE id = ?1`
	setGrants   = `UPDATE gatewire_users SET scopes = ?2, roles = ?3 WHERE id = ?1`

	// What is owed is written by the statement that makes it so.
	setPasswordOwing = `UPDATE gatewire_users SET password = ?3,
		ending_mark = ?4, ending_reason = ?5, ending_since = ?6, ending_due = ?7
		WHERE id = ?1 AND password = ?2 AND ending_mark IS NULL`
	setDisabledOwing = `UPDATE gatewire_users SET disabled = ?2,
		ending_mark = ?3, ending_reason = ?4, ending_since = ?5, ending_due = ?6 WHERE id = ?1`
	swapEnding = `UPDATE gatewire_users SET
		ending_mark = ?3, ending_reason = ?4, ending_since = ?5, ending_due = ?6 WHERE id = ?1 AND ending_mark = ?2`
	owing = `SELECT ` + userColumns + ` FROM gatewire_users AS u
		WHERE u.ending_due <= ?1 ORDER BY u.ending_due LIMIT ?2`

	allKeys = `SELECT id, algorithm, public_key, sealed, published, signs, retires, gone
		FROM gatewire_signing_keys ORDER BY published, id`
	// addKey compares and stores in one statement.
	addKey = `INSERT INTO gatewire_signing_keys (id, algorithm, public_key, sealed, published, signs, retires, gone)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
		WHERE COALESCE((SELECT id FROM gatewire_signing_keys ORDER BY published DESC, id DESC LIMIT 1), '') = ?9
		ON CONFLICT DO NOTHING`
	removeKey = `DELETE FROM gatewire_signing_keys WHERE id = ?1`

	limitState = `SELECT full_at FROM gatewire_limits WHERE key = ?1`
	// takeTry takes the key, now, one try's time, the latest that full_at may
	// be for there to be one, and full_at for a key that is new.
	takeTry = `INSERT INTO gatewire_limits (key, full_at) VALUES (?1, ?5)` + takeAnother
	// takeTryPostgres does not wait for the disk.
	takeTryPostgres = `INSERT INTO gatewire_limits (key, full_at)
		SELECT CAST(?1 AS TEXT), CAST(?5 AS BIGINT) WHERE ` + unsynced + takeAnother
	takeAnother = ` ON CONFLICT (key) DO UPDATE
		SET full_at = CASE WHEN gatewire_limits.full_at > ?2 THEN gatewire_limits.full_at ELSE ?2 END + ?3
		WHERE gatewire_limits.full_at <= ?4`
	// giveTry compares so that no index but the key's can serve.
	giveTry         = `UPDATE gatewire_limits SET full_at = full_at - ?2 WHERE key = ?1 AND full_at - ?3 > 0`
	giveTryPostgres = giveTry + ` AND ` + unsynced
	unsynced        = `set_config('synchronous_commit', 'off', TRUE) IS NOT NULL` // to the end of this transaction

	takeOnce = `INSERT INTO gatewire_once AS o (key, taken, expires, times) VALUES (?1, ?2, ?3, 1)
		ON CONFLICT (key) DO UPDATE SET
		times = CASE WHEN o.expires <= ?2 THEN 1 ELSE o.times + 1 END,
		taken = CASE WHEN o.expires > ?2 AND o.taken > ?2 THEN o.taken ELSE ?2 END,
		expires = CASE WHEN o.expires > ?3 THEN o.expires ELSE ?3 END
		RETURNING times`
	takenOnce = `SELECT taken, expires FROM gatewire_once WHERE key = ?1`
)

// sharingQueries are for what nodes count together.
type sharingQueries struct {
	takeTry, giveTry     string
	reapLimits, reapOnce string
}

var sqliteSharing = sharingQueries{
	takeTry: takeTry, giveTry: giveTry,
	reapLimits: `DELETE FROM gatewire_limits WHERE key IN (SELECT key FROM gatewire_limits WHERE full_at <= ?1 ORDER BY full_at LIMIT ?2)`,
	reapOnce:   `DELETE FROM gatewire_once WHERE key IN (SELECT key FROM gatewire_once WHERE expires <= ?1 ORDER BY expires LIMIT ?2)`,
}

// PostgreSQL looks at what is over again once it is locked, and leaves what
// somebody is using or removing.
var postgresSharing = sharingQueries{
	takeTry: takeTryPostgres, giveTry: giveTryPostgres,
	reapLimits: `DELETE FROM gatewire_limits WHERE key = ANY (ARRAY(
		SELECT key FROM gatewire_limits WHERE full_at <= ?1 ORDER BY full_at LIMIT ?2 FOR UPDATE SKIP LOCKED)) AND ` + unsynced,
	reapOnce: `DELETE FROM gatewire_once WHERE key = ANY (ARRAY(
		SELECT key FROM gatewire_once WHERE expires <= ?1 ORDER BY expires LIMIT ?2 FOR UPDATE SKIP LOCKED))`,
}
