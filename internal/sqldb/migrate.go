package sqldb

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"time"
)

// Migrate brings the schema up to date. table keeps the versions it has had.
func (d *DB) Migrate(ctx context.Context, table string) error {
	names, err := fs.Glob(d.Migrations, "*.sql") // sorted: 0001_…, 0002_…
	if err != nil {
		return d.Wrap("migrate", err)
	}
	create := `CREATE TABLE IF NOT EXISTS ` + table + ` (version INTEGER NOT NULL PRIMARY KEY, applied BIGINT NOT NULL)`
	if d.MySQL {
		return d.migrateMySQL(ctx, table, create, names)
	}
	if !d.Postgres {
		if _, err := d.Exec(ctx, "migrate", create); err != nil {
			return err
		}
	}
	return d.tx(ctx, "migrate", func(ctx context.Context, tx *Tx) error {
		if err := d.lockVersions(ctx, tx, table, create); err != nil {
			return err
		}
		var have int
		if err := tx.Row(ctx, `SELECT COALESCE(MAX(version), 0) FROM `+table, nil, &have); err != nil {
			return err
		}
		switch {
		case have == len(names):
			return ErrUnchanged
		case have > len(names):
			return newerSchema(have, len(names))
		}
		for i := have; i < len(names); i++ {
			if err := d.apply(ctx, tx, names[i]); err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
			if _, err := tx.Exec(ctx, `INSERT INTO `+table+` (version, applied) VALUES (?1, ?2)`, i+1, time.Now().UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
}

// lockVersions makes this process the one that migrates: others that start
// wait. It makes the table of versions where there is none yet.
func (d *DB) lockVersions(ctx context.Context, tx *Tx, table, create string) error {
	if !d.Postgres {
		_, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE version < 0`)
		return err
	}
	// IF NOT EXISTS is no help to two that create a table at once, and asks for
	// the right to create one even where it has nothing to do.
	if err := tx.Lock(ctx, NameLock("migrate", table), false); err != nil {
		return err
	}
	var there bool
	if err := tx.Row(ctx, `SELECT to_regclass(?1) IS NOT NULL`, []any{table}, &there); err != nil || there {
		return err
	}
	if err := checkEncoding(ctx, tx); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, create)
	return err
}

func (d *DB) apply(ctx context.Context, tx *Tx, name string) error {
	text, err := fs.ReadFile(d.Migrations, name)
	if err != nil {
		return err
	}
	for stmt := range statements(string(text)) {
		if _, err := tx.Exec(ctx, stmt); err != nil {
			return err
		}
	}
	return nil
}

// statements are those of a migration.
func statements(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for stmt := range strings.SplitSeq(text, ";\n") {
			if strings.TrimSpace(stmt) != "" && !yield(stmt) {
				return
			}
		}
	}
}

func newerSchema(have, known int) error {
	return fmt.Errorf("the schema in the database is version %d and this program knows %d at most: it was migrated by a newer release; run that release, or restore a backup made before it", have, known)
}

// checkEncoding refuses a database that could not keep some name or address:
// better now than at that user's first sign-in.
func checkEncoding(ctx context.Context, tx *Tx) error {
	var encoding string
	if err := tx.Row(ctx, `SELECT current_setting('server_encoding')`, nil, &encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the encoding of the database is %s: create it with ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	return nil
}
