package sqlstore

import (
	"embed"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
)

// Dialect says which database a [Store] talks to.
type Dialect string

const (
	// SQLite is SQLite 3.35 or later, with any driver.
	SQLite Dialect = "sqlite"
	// PostgreSQL is PostgreSQL 13 or later, with any driver.
	PostgreSQL Dialect = "postgres"
	// MySQL is MySQL 8.0 or later, or MariaDB 10.6 or later, with
	// github.com/go-sql-driver/mysql.
	MySQL Dialect = "mysql"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the schema as numbered files, "0001_sessions.sql" and so
// on: what [Store.Migrate] runs, in order. It is nil for an unknown dialect.
func (d Dialect) Migrations() fs.FS {
	if d != SQLite && d != PostgreSQL && d != MySQL {
		return nil
	}
	sub, err := fs.Sub(migrations, "migrations/"+string(d))
	if err != nil {
		return nil
	}
	return sub
}

// SQLiteDSN returns a data source name for modernc.org/sqlite that opens file
// with the settings the package comment explains. It imports and opens nothing.
func SQLiteDSN(file string) string {
	p := filepath.ToSlash(file)
	prefix := "file:"
	if filepath.VolumeName(file) != "" {
		prefix = "file:///" // file:///C:/app.db
	} else if strings.HasPrefix(p, "/") {
		prefix = "file://"
	}
	// A path is data: a '?' or '#' in it must not start a parameter.
	p = strings.ReplaceAll(url.PathEscape(p), "%2F", "/")
	return prefix + p + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_txlock=immediate"
}
