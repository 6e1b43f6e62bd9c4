package sqlstore

// Parameters are numbered, so that a statement reads the same in a dialect
// that writes them $1. Nothing but these constants is ever sent as SQL.

const (
	userColumns = `u.id, u.email, u.email_verified, u.name, u.picture, u.created, u.password, u.disabled, u.scopes, u.roles`

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

	allKeys = `SELECT id, algorithm, public_key, sealed, published, signs, retires, gone
		FROM gatewire_signing_keys ORDER BY published, id`
	// addKey compares and stores in one statement.
	addKey = `INSERT INTO gatewire_signing_keys (id, algorithm, public_key, sealed, published, signs, retires, gone)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
		WHERE COALESCE((SELECT id FROM gatewire_signing_keys ORDER BY published DESC, id DESC LIMIT 1), '') = ?9
		ON CONFLICT DO NOTHING`
	removeKey = `DELETE FROM gatewire_signing_keys WHERE id = ?1`
)
