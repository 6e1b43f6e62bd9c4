// Package sqlstore keeps accounts and signing keys in an SQL database. [Store]
// implements [accounts.Store] and [jwt.KeyStore] on database/sql alone: bring a
// driver.
//
//	db, err := sql.Open("sqlite", sessionsql.SQLiteDSN("app.db")) // modernc.org/sqlite
//	users, err := sqlstore.New(db, sqlstore.SQLite)
//	err = users.Migrate(ctx)
//	ring, err := jwt.NewRing(users, sealing, nil)
//
// [Store.Limiter] and [Store.Once] let several nodes count guesses together, and
// agree on what has happened:
//
//	service, err := accounts.New(sessions, config, &accounts.Options{Limiter: users.Limiter(), Once: users.Once()})
//
// A sign-in then writes to the database: four small statements for the tries it
// takes, and four more to give them back when the password was right. PostgreSQL
// doesn't wait for the disk with these. SQLite does, unless it was opened with
// synchronous=NORMAL; one program that serves many sign-ins from SQLite alone may
// prefer accounts.NewMemoryLimiter. A try that is refused writes nothing.
//
// How to open SQLite and PostgreSQL (sessionsql above is session/sqlstore, and
// the two stores can share one database), and what a crash can and can't lose,
// is explained in [github.com/gatewire/gatewire/session/sqlstore]. In short: in
// WAL mode with synchronous=FULL, and with PostgreSQL's defaults, an account,
// password or key that was acknowledged is still there after the process was
// killed and after a power cut.
//
// # Security considerations
//
// Passwords are stored as the hashes the host gives, private keys sealed with
// the ring's sealing keys: a copy of the database can sign in nobody and sign
// nothing. Names and addresses are in the clear: SQLite creates the file under
// the process's umask, so create it, or its directory, for the service's user
// alone.
//
// # What is in the database
//
// Tables gatewire_users, gatewire_identities, gatewire_signing_keys,
// gatewire_limits, gatewire_once and gatewire_accounts_schema. Rows of limits and
// once that are over are removed by use, some minutes later. [Store.Migrate] creates and migrates them;
// [Dialect.Migrations] has the same statements as files. Times are integers,
// microseconds since 1970 UTC, from the clock of the application. The column
// email_key is [accounts.EmailKey] of the address and NULL without one; its
// unique index is what makes two sign-ups of one address one account.
package sqlstore
