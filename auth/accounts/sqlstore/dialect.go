package sqlstore

import (
	"embed"
	"io/fs"
)

// Dialect says which database a [Store] talks to.
type Dialect string

const (
	// SQLite is SQLite 3.35 or later, with any driver.
	SQLite Dialect = "sqlite"
	// PostgreSQL is PostgreSQL 13 or later, with any driver.
	PostgreSQL Dialect = "postgres"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the schema as numbered files, "0001_accounts.sql" and so
// on: what [Store.Migrate] runs, in order. It is nil for an unknown dialect.
func (d Dialect) Migrations() fs.FS {
	if d != SQLite && d != PostgreSQL {
		return nil
	}
	sub, err := fs.Sub(migrations, "migrations/"+string(d))
	if err != nil {
		return nil
	}
	return sub
}
