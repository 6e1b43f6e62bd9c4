package sessiontest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/gatewire/gatewire/session"
)

// record returns a record with something in every field.
func record(userID string, created time.Time) session.Record {
	return session.Record{
		Key: newKey(), ID: rand.Text(), Kind: session.KindToken, Rev: 1,
		UserID: userID, Scopes: []string{"read", "wri,te"}, Roles: []string{"admin", `"quoted" ü`},
		AuthTime: created.Add(-time.Second), Created: created, Seen: created,
		IdleExpires: created.Add(30 * time.Minute), Expires: created.Add(12 * time.Hour),
		UserAgent: "Mozilla/5.0 ('x'; \"y\") ☃", IP: "2001:db8::1",
		Origin: session.Origin{Issuer: "https://issuer.example", Subject: "sub|1", SID: "sid-1"},
		Refresh: session.Refresh{
			Secret: sha256.Sum256([]byte("secret")), Previous: sha256.Sum256([]byte("previous")),
			RotatedAt: created.Add(time.Millisecond), Successor: []byte{0, 1, 255, '\'', '\n'},
		},
		Data: []byte("\x01{\"a\":\"\u0000ü\"}\xff"),
	}
}

func newKey() session.Key {
	var k session.Key
	rand.Read(k[:])
	return k
}

// now is cut to what a store has to keep.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// difference names the first field in which two records differ. An empty list
// and no list are the same, and so is one instant in another location.
func difference(a, b session.Record) string {
	switch {
	case a.Key != b.Key:
		return "Key"
	case a.ID != b.ID:
		return "ID"
	case a.Kind != b.Kind:
		return "Kind"
	case a.Rev != b.Rev:
		return "Rev"
	case a.UserID != b.UserID:
		return "UserID"
	case !slices.Equal(a.Scopes, b.Scopes):
		return "Scopes"
	case !slices.Equal(a.Roles, b.Roles):
		return "Roles"
	case !a.AuthTime.Equal(b.AuthTime):
		return "AuthTime"
	case !a.Created.Equal(b.Created):
		return "Created"
	case !a.Seen.Equal(b.Seen):
		return "Seen"
	case !a.IdleExpires.Equal(b.IdleExpires):
		return "IdleExpires"
	case !a.Expires.Equal(b.Expires):
		return "Expires"
	case a.UserAgent != b.UserAgent:
		return "UserAgent"
	case a.IP != b.IP:
		return "IP"
	case a.Origin != b.Origin:
		return "Origin"
	case a.Refresh.Secret != b.Refresh.Secret:
		return "Refresh.Secret"
	case a.Refresh.Previous != b.Refresh.Previous:
		return "Refresh.Previous"
	case !a.Refresh.RotatedAt.Equal(b.Refresh.RotatedAt):
		return "Refresh.RotatedAt"
	case !bytes.Equal(a.Refresh.Successor, b.Refresh.Successor):
		return "Refresh.Successor"
	case !bytes.Equal(a.Data, b.Data):
		return "Data"
	}
	return ""
}

// create stores a record and returns it.
func (r *run) create(userID string) session.Record {
	r.Helper()
	rec := record(userID, now())
	r.ok(r.store.Create(r.ctx, rec, session.AnyEpoch))
	return rec
}

// load returns what stands under a key, failing if nothing does.
func (r *run) load(key session.Key) session.Record {
	r.Helper()
	rec, found, err := r.store.Load(r.ctx, key)
	r.ok(err)
	r.must(found, "Load does not find a record that was stored")
	return rec
}

// same fails unless want stands in the store under its key and its id.
func (r *run) same(want session.Record) {
	r.Helper()
	got := r.load(want.Key)
	d := difference(got, want)
	r.must(d == "", "Load: %s differs:\n got %+v\nwant %+v", d, got, want)
	got, found, err := r.store.ByID(r.ctx, want.ID)
	r.ok(err)
	r.must(found, "ByID does not find a record that was stored")
	d = difference(got, want)
	r.must(d == "", "ByID: %s differs:\n got %+v\nwant %+v", d, got, want)
}

// gone fails if a record is found in any way.
func (r *run) gone(rec session.Record) {
	r.Helper()
	_, found, err := r.store.Load(r.ctx, rec.Key)
	r.ok(err)
	r.must(!found, "Load finds a record that is gone")
	_, found, err = r.store.ByID(r.ctx, rec.ID)
	r.ok(err)
	r.must(!found, "ByID finds a record that is gone")
	list, err := r.store.ListUser(r.ctx, rec.UserID)
	r.ok(err)
	for _, other := range list {
		r.must(other.ID != rec.ID, "ListUser lists a record that is gone")
	}
}

// cursor returns the cursor of now.
func (r *run) cursor() string {
	r.Helper()
	ended, next, err := r.store.EndedSince(r.ctx, "", 10)
	r.ok(err)
	r.must(len(ended) == 0, "EndedSince(\"\") returns %d sessions, want none", len(ended))
	r.must(next != "", "EndedSince(\"\") returns an empty cursor")
	return next
}

// endedSince reads the log to its end.
func (r *run) endedSince(cursor string, limit int) []session.Ended {
	r.Helper()
	var all []session.Ended
	for {
		ended, next, err := r.store.EndedSince(r.ctx, cursor, limit)
		r.ok(err)
		r.must(len(ended) <= limit, "EndedSince returns %d sessions, limit is %d", len(ended), limit)
		r.must(next != "", "EndedSince returns an empty cursor")
		all = append(all, ended...)
		if len(ended) == 0 {
			return all
		}
		cursor = next
	}
}
