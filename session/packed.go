package session

import (
	"encoding/binary"
	"time"
)

// packed is what of a record only Replace changes, in one string: a million
// records are then a million strings and not ten million. Keys and the times
// that Touch moves are kept beside it. It lives in one process and is never
// stored, so it has no version.
type packed string

// The first byte after id and user says what follows, and the kind unless it
// is one this package doesn't know.
const (
	packedCookie = 1 << iota
	packedToken
	packedGrants
	packedOrigin
	packedRefresh
)

func pack(rec *Record) packed {
	b := make([]byte, 0, 512) // does not escape; more is rare
	b = appendText(b, rec.ID)
	b = appendText(b, rec.UserID)
	var flags byte
	switch rec.Kind {
	case KindCookie:
		flags |= packedCookie
	case KindToken:
		flags |= packedToken
	}
	if len(rec.Scopes)+len(rec.Roles) > 0 {
		flags |= packedGrants
	}
	if rec.Origin != (Origin{}) {
		flags |= packedOrigin
	}
	r := &rec.Refresh
	if r.Secret != [32]byte{} || r.Previous != [32]byte{} || !r.RotatedAt.IsZero() || len(r.Successor) > 0 {
		flags |= packedRefresh
	}
	b = append(b, flags)
	if flags&(packedCookie|packedToken) == 0 {
		b = appendText(b, string(rec.Kind))
	}
	b = binary.AppendUvarint(b, rec.Rev)
	created := rec.Created.UnixMicro()
	b = binary.AppendUvarint(b, uint64(created))
	b = binary.AppendVarint(b, rec.AuthTime.UnixMicro()-created) // most often 0
	b = appendText(b, rec.UserAgent)
	b = appendText(b, rec.IP)
	b = appendText(b, rec.Data)
	if flags&packedGrants != 0 {
		b = appendList(b, rec.Scopes)
		b = appendList(b, rec.Roles)
	}
	if flags&packedOrigin != 0 {
		b = appendText(b, rec.Origin.Issuer)
		b = appendText(b, rec.Origin.Subject)
		b = appendText(b, rec.Origin.SID)
	}
	if flags&packedRefresh != 0 {
		b = append(b, r.Secret[:]...)
		b = append(b, r.Previous[:]...)
		b = binary.AppendUvarint(b, uint64(r.RotatedAt.UnixMicro()))
		b = appendText(b, r.Successor)
	}
	return packed(b)
}

func appendText[T string | []byte](b []byte, text T) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, text := range list {
		b = appendText(b, text)
	}
	return b
}

// unpack fills in what pack packed. The strings of rec are parts of p; the
// slices are the caller's own.
func (p packed) unpack(rec *Record) {
	r := unpacker(p)
	rec.ID = r.text()
	rec.UserID = r.text()
	flags := r.take(1)[0]
	switch {
	case flags&packedCookie != 0:
		rec.Kind = KindCookie
	case flags&packedToken != 0:
		rec.Kind = KindToken
	default:
		rec.Kind = Kind(r.text())
	}
	rec.Rev = r.uvarint()
	created := int64(r.uvarint())
	rec.Created = fromMicro(created)
	rec.AuthTime = fromMicro(created + r.varint())
	rec.UserAgent = r.text()
	rec.IP = r.text()
	if data := r.text(); data != "" {
		rec.Data = []byte(data)
	}
	if flags&packedGrants != 0 {
		rec.Scopes = r.list()
		rec.Roles = r.list()
	}
	if flags&packedOrigin != 0 {
		rec.Origin = Origin{Issuer: r.text(), Subject: r.text(), SID: r.text()}
	}
	if flags&packedRefresh != 0 {
		copy(rec.Refresh.Secret[:], r.take(32))
		copy(rec.Refresh.Previous[:], r.take(32))
		rec.Refresh.RotatedAt = fromMicro(int64(r.uvarint()))
		if sealed := r.text(); sealed != "" {
			rec.Refresh.Successor = []byte(sealed)
		}
	}
}

func (p packed) id() string {
	r := unpacker(p)
	return r.text()
}

func (p packed) userID() string {
	r := unpacker(p)
	r.text()
	return r.text()
}

// rev is where the record's revision stands, behind id, user and kind.
func (p packed) rev() uint64 {
	r := unpacker(p)
	r.text()
	r.text()
	if r.take(1)[0]&(packedCookie|packedToken) == 0 {
		r.text()
	}
	return r.uvarint()
}

func (p packed) origin() Origin {
	var rec Record
	p.unpack(&rec)
	return rec.Origin
}

// unpacker is what is not read yet.
type unpacker string

func (r *unpacker) take(n int) string {
	s := string(*r)
	*r = unpacker(s[n:])
	return s[:n]
}

func (r *unpacker) text() string { return r.take(int(r.uvarint())) }

func (r *unpacker) list() []string {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

// uvarint is [binary.Uvarint] for a string.
func (r *unpacker) uvarint() uint64 {
	var n uint64
	for shift := 0; ; shift += 7 {
		b := r.take(1)[0]
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
}

// varint reads what [binary.AppendVarint] wrote.
func (r *unpacker) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// fromMicro is UTC, as every time in a record. Microseconds reach from the zero
// time to the year 294,000.
func fromMicro(t int64) time.Time { return time.UnixMicro(t).UTC() }
