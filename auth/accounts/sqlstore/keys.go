package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/gatewire/gatewire/internal/sqldb"
	"github.com/gatewire/gatewire/jwt"
)

// Keys implements [jwt.KeyStore].
func (s *Store) Keys(ctx context.Context) ([]jwt.StoredKey, error) {
	var keys []jwt.StoredKey
	err := s.db.Rows(ctx, "keys", allKeys, nil,
		func() { keys = nil },
		func(rows *sql.Rows) error {
			var k jwt.StoredKey
			var published, signs, retires, gone int64
			if err := rows.Scan(&k.ID, &k.Algorithm, &k.Public, &k.Sealed, &published, &signs, &retires, &gone); err != nil {
				return err
			}
			k.Published = time.UnixMicro(published).UTC()
			k.Signs = time.UnixMicro(signs).UTC()
			k.Retires = time.UnixMicro(retires).UTC()
			k.Gone = time.UnixMicro(gone).UTC()
			keys = append(keys, k)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// AddKey implements [jwt.KeyStore].
func (s *Store) AddKey(ctx context.Context, k jwt.StoredKey, newest string) error {
	return s.db.Tx(ctx, "add key", func(ctx context.Context, tx *sqldb.Tx) error {
		// To PostgreSQL, comparing and storing in one statement is not one step:
		// two would both find the same newest key.
		if err := tx.Lock(ctx, sqldb.NameLock("add signing key"), false); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, addKey, k.ID, k.Algorithm, k.Public, k.Sealed,
			k.Published.UnixMicro(), k.Signs.UnixMicro(), k.Retires.UnixMicro(), k.Gone.UnixMicro(), newest)
		if err == nil && n == 0 {
			return jwt.ErrKeyConflict
		}
		return err
	})
}

// RemoveKey implements [jwt.KeyStore].
func (s *Store) RemoveKey(ctx context.Context, id string) error {
	_, err := s.db.Exec(ctx, "remove key", removeKey, id)
	return err
}
