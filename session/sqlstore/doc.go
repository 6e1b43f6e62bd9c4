// Package sqlstore keeps sessions in an SQL database. [Store] implements
// [session.Store] on database/sql alone: bring a driver.
//
//	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN("app.db")) // modernc.org/sqlite
//	store, err := sqlstore.New(db, sqlstore.SQLite)
//	err = store.Migrate(ctx)
//	sessions, err := session.New[Data](store, nil)
//
// # Opening SQLite
//
// [SQLiteDSN] gives the settings below to modernc.org/sqlite. With another
// driver, set them its way, for every connection of the pool:
//
//   - journal_mode=WAL: readers and the writer don't wait for each other.
//   - synchronous=FULL: a commit has reached the disk before the call returns.
//   - busy_timeout=5000: a writer waits its turn in SQLite, in milliseconds.
//   - transactions begin IMMEDIATE: the write lock is taken at the start.
//
// The store is also correct without them: what SQLite answers with "busy" or
// "locked" is tried again for up to ten seconds. SQLite must be 3.35 or later.
//
// An in-memory database belongs to one connection. Give the pool exactly one
// that is never closed: SetMaxOpenConns(1), SetMaxIdleConns(1),
// SetConnMaxLifetime(0), SetConnMaxIdleTime(0).
//
// # Opening PostgreSQL
//
//	db, err := sql.Open("pgx", "postgres://user:password@host/name?sslmode=verify-full") // jackc/pgx/v5/stdlib
//	db.SetMaxOpenConns(20)
//	db.SetMaxIdleConns(20) // Go's default of 2 reconnects all the time
//	store, err := sqlstore.New(db, sqlstore.PostgreSQL)
//
// PostgreSQL 13 or later, with an encoding of UTF8, on any isolation level and
// behind a pool of connections (no session state is used). It is the store for
// several nodes: all of them use one database, migrate it at their start, and
// read one log of ended sessions. The database's user needs CREATE on the first
// schema of its search_path, and must own the tables that are there, only while
// [Store.Migrate] has something to do, else
// SELECT, INSERT, UPDATE and DELETE on the tables. Nodes that are pointed at a
// standby fail every write: give pgx target_session_attrs=read-write.
//
// Who ends sessions waits for the one before: ends are as many a second as the
// server can commit one after the other. Everything else runs side by side. So
// that a node that froze, or a network that vanished, in the middle holds nobody
// up for long, set idle_in_transaction_session_timeout for the database's user,
// say to 5s: without it, who ends sessions was seen to wait 13 seconds more.
// Serialisation failures and deadlocks are tried again for up to ten seconds;
// no call but Migrate takes longer than fifteen. A server that is down is an
// error at once, and the pool recovers by itself when it is back.
//
// PostgreSQL has no text with a zero byte or outside UTF-8. A record with such
// a text is refused whole, with an error; none is found under such a name. What
// [session.Manager] stores of a request is clean.
//
// # Opening MySQL or MariaDB
//
//	db, err := sql.Open("mysql", "user:password@tcp(host:3306)/name?tls=true") // go-sql-driver/mysql
//	db.SetMaxOpenConns(20)
//	db.SetMaxIdleConns(20)
//	store, err := sqlstore.New(db, sqlstore.MySQL)
//
// MySQL 8.0 or later, or MariaDB 10.6 or later, with InnoDB. It was tested with
// MariaDB 10.11. The statements keep to what MySQL 8.0 documents as well, which
// they were not run on. What is said of PostgreSQL and several nodes holds here
// too: how ends wait for each other, what is tried again (deadlocks, and waiting
// for a lock longer than innodb_lock_wait_timeout), and for how long.
//
// No setting of the connection is needed, and none of the driver's and of
// sql_mode that was tried changes what the store does: Migrate refuses those that
// would, which are autocommit off, READ UNCOMMITTED, sql_select_limit and
// sql_safe_updates. Values are sent as
// literals, numbers in digits and all else in hexadecimal, so that a call outside
// a transaction, as Load and Touch are, costs one round trip whatever the data
// source name says, nothing is kept prepared at the server, and no character set
// or sql_mode can read a value as anything else. A packet is twice as long as
// what is stored in it: one that is longer than the server's max_allowed_packet
// is refused, with an error. With binlog_format=STATEMENT nothing can be stored.
//
// Text is kept as bytes, any bytes. An id, a kind, an address and a reason may
// have 255 of them, a user id and each part of an origin 1,020: a record with a
// longer one is refused whole, also where the server would cut it.
//
// The database's user needs CREATE, besides SELECT, INSERT, UPDATE and DELETE,
// only while [Store.Migrate] has something to do. MySQL commits each statement of
// a schema by itself, so an interrupted Migrate leaves what it has made, and the
// next one goes on. Migrate keeps others waiting with GET_LOCK: have it connect
// to the server itself and not through a pool that changes connections between
// statements.
//
// All nodes use one server that writes, and read from it. Servers that take writes
// side by side, as those of Galera or of group replication with several
// primaries, don't see each other's locks: a sign-in on one could outlive the end
// of all of the user's sessions on another.
//
// A node that froze in the middle of an end holds up other ends until its
// connection is gone. MariaDB ends such a transaction by itself with
// idle_transaction_timeout, say 10 seconds; MySQL knows only wait_timeout, which
// also closes connections that have nothing to do, so set it above what
// SetConnMaxIdleTime allows them.
//
// # What a crash can lose
//
// With these settings of SQLite, nothing that was acknowledged: neither a killed process
// nor a power cut loses a session, brings back one that ended or forgets that
// it ended, as long as the disk keeps what it said it had written. A call that
// was under way is there whole or not at all. With synchronous=NORMAL a power
// cut can lose the last commits, and with them a sign-out; a killed process
// still loses nothing. The database must be on a local disk: WAL does not work
// over a network file system.
//
// The same is true of PostgreSQL with its defaults, fsync=on and
// synchronous_commit=on, and of MySQL and MariaDB with
// innodb_flush_log_at_trx_commit=1, the default; who keeps a binary log, also
// sets sync_binlog=1, which is MySQL's default and not MariaDB's. A failover to a standby that was behind loses what the
// standby had not received, sign-outs included: where that matters, replicate
// synchronously.
//
// # Security considerations
//
// Session and refresh tokens are stored as SHA-256 sums, so a copy of the
// database signs in nobody. It does hold user ids, addresses, user agents and
// the host's data in the clear: SQLite creates the file under the process's
// umask, so create it, or its directory, for the service's user alone. Over a
// network ask PostgreSQL for sslmode=verify-full and MySQL's driver for tls=true:
// less can be read or diverted.
//
// # What is in the database
//
// Tables begin with gatewire_session. [Store.Migrate] creates and migrates
// them; [Dialect.Migrations] has the same statements as files, for those who
// run migrations with a tool of their own. Times are integers, microseconds
// since 1970 UTC, always from the clock of the application.
package sqlstore
