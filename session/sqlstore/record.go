package sqlstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatewire/gatewire/session"
)

// micros is how a time is stored. The zero time keeps its own number, so it
// is the zero time again when it is read.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// values returns the columns of rec in the order of sessionColumns.
func (s *Store) values(rec session.Record) ([]any, error) {
	if err := s.fitsRecord(&rec); err != nil {
		return nil, err
	}
	scopes, err := json.Marshal(rec.Scopes)
	if err != nil {
		return nil, err
	}
	roles, err := json.Marshal(rec.Roles)
	if err != nil {
		return nil, err
	}
	return []any{
		rec.ID, micros(rec.Created),
		rec.Key[:], string(rec.Kind), int64(rec.Rev), rec.UserID, string(scopes), string(roles),
		micros(rec.AuthTime), micros(rec.Seen), micros(rec.IdleExpires), micros(rec.Expires),
		rec.UserAgent, rec.IP,
		rec.Origin.Issuer, rec.Origin.Subject, rec.Origin.SID,
		sum(rec.Refresh.Secret), sum(rec.Refresh.Previous), micros(rec.Refresh.RotatedAt), blob(rec.Refresh.Successor),
		blob(rec.Data),
	}, nil
}

// How many bytes MySQL's columns hold of what is searched for, or short.
const (
	shortColumn = 255
	longColumn  = 1020 // 255 characters, whichever
)

// column is a text on its way into a column of MySQL's.
type column struct {
	name, value string
	holds       int
}

// fits refuses a text that is longer than its column. The server would cut it
// without a word where its sql_mode is not strict. The other databases have no
// such columns.
func (s *Store) fits(columns ...column) error {
	for _, c := range columns {
		if s.db.MySQL && len(c.value) > c.holds {
			return fmt.Errorf("the %s has %d bytes and its column holds %d", c.name, len(c.value), c.holds)
		}
	}
	return nil
}

// fitsRecord is fits for the columns of rec. The others hold whatever fits into
// one packet.
func (s *Store) fitsRecord(rec *session.Record) error {
	return s.fits(column{"id", rec.ID, shortColumn}, column{"kind", string(rec.Kind), shortColumn}, column{"user id", rec.UserID, longColumn},
		column{"IP", rec.IP, shortColumn}, column{"origin's issuer", rec.Origin.Issuer, longColumn},
		column{"origin's subject", rec.Origin.Subject, longColumn}, column{"origin's sid", rec.Origin.SID, longColumn})
}

// sum is NULL for the zero value, which most sessions have.
func sum(b [32]byte) any {
	if b == [32]byte{} {
		return nil
	}
	return b[:]
}

// blob is NULL for nothing: drivers disagree whether an empty value comes back
// as nil.
func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// row is a record on its way out of the database.
type row struct {
	rec                                                session.Record
	key, scopes, roles, secret, previous               []byte
	kind                                               string
	rev                                                int64
	authTime, created, seen, idleExpires, expires, rot int64
}

// dest returns where the columns go, in the order of sessionColumns.
func (r *row) dest() []any {
	rec := &r.rec
	return []any{
		&rec.ID, &r.created,
		&r.key, &r.kind, &r.rev, &rec.UserID, &r.scopes, &r.roles,
		&r.authTime, &r.seen, &r.idleExpires, &r.expires,
		&rec.UserAgent, &rec.IP,
		&rec.Origin.Issuer, &rec.Origin.Subject, &rec.Origin.SID,
		&r.secret, &r.previous, &r.rot, &rec.Refresh.Successor,
		&rec.Data,
	}
}

// record returns what was read. A row that cannot have been written by this
// package is an error: it is neither a session nor the absence of one.
func (r *row) record() (session.Record, error) {
	rec := r.rec
	rec.Kind = session.Kind(r.kind)
	rec.Rev = uint64(r.rev)
	rec.AuthTime = fromMicros(r.authTime)
	rec.Created = fromMicros(r.created)
	rec.Seen = fromMicros(r.seen)
	rec.IdleExpires = fromMicros(r.idleExpires)
	rec.Expires = fromMicros(r.expires)
	rec.Refresh.RotatedAt = fromMicros(r.rot)
	err := errors.Join(
		intoSum((*[32]byte)(&rec.Key), r.key, false),
		intoSum(&rec.Refresh.Secret, r.secret, true),
		intoSum(&rec.Refresh.Previous, r.previous, true),
		intoList(&rec.Scopes, r.scopes),
		intoList(&rec.Roles, r.roles),
	)
	if err != nil {
		return session.Record{}, fmt.Errorf("the row of session %q is damaged: %w", rec.ID, err)
	}
	return rec, nil
}

func intoSum(dst *[32]byte, b []byte, nullable bool) error {
	if b == nil && nullable {
		return nil
	}
	if len(b) != len(dst) {
		return fmt.Errorf("a SHA-256 sum of %d bytes", len(b))
	}
	copy(dst[:], b)
	return nil
}

func intoList(dst *[]string, text []byte) error {
	if err := json.Unmarshal(text, dst); err != nil {
		return errors.New("a list that is not a JSON array of strings")
	}
	return nil
}
