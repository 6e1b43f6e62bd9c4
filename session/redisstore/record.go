package redisstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gatewire/gatewire/session"
)

// A record is stored in two parts. The header holds what scripts read and
// Touch moves; all of it but the tokens and the user id has a fixed place:
//
//	 0  version, 1
//	 1  Rev, 8 bytes
//	 9  Seen, IdleExpires, Created, Expires: milliseconds since 1970 as
//	    IEEE 754 doubles, the numbers of Lua
//	41  Key, 32 bytes
//	73  how many tokens, then the tokens
//	    UserID to the end
//
// The body holds the rest and is opaque to scripts: version, flags, AuthTime in
// milliseconds, then the texts, each behind its length. Numbers are big-endian;
// lengths are varints.
const (
	recordVersion = 1
	headerLeast   = 74

	hasRefresh = 1 << 0
)

// token finds sessions in the index: a letter, and 128 bits of a SHA-256 sum.
type token [17]byte

// tokenOf is behind no other kind or pair of texts: lengths are hashed too.
func tokenOf(kind byte, first, second string) (t token) {
	b := append([]byte{kind}, binary.BigEndian.AppendUint64(nil, uint64(len(first)))...)
	sum := sha256.Sum256(append(append(b, first...), second...))
	t[0] = kind
	copy(t[1:], sum[:])
	return t
}

func userToken(userID string) token { return tokenOf('u', userID, "") }

func subjectToken(o session.Origin) token { return tokenOf('o', o.Issuer, o.Subject) }

func sidToken(o session.Origin) token { return tokenOf('s', o.Issuer, o.SID) }

// after is the first text that is behind all that begin with t.
func (t token) after() string {
	for i := len(t) - 1; ; i-- {
		if t[i]++; t[i] != 0 { // the letter never overflows
			return string(t[:i+1])
		}
	}
}

// tokens are what a record is found by in the index.
func tokens(rec session.Record) (list []token) {
	if rec.UserID != "" {
		list = append(list, userToken(rec.UserID))
	}
	if o := rec.Origin; o.Issuer != "" {
		if o.Subject != "" {
			list = append(list, subjectToken(o))
		}
		if o.SID != "" {
			list = append(list, sidToken(o))
		}
	}
	return list
}

// furthest bounds times: doubles hold whole milliseconds up to there, some
// 285,000 years.
const furthest = 1 << 53

func millis(t time.Time) (int64, error) {
	ms := t.UnixMilli()
	if year := t.Year(); year < -9999 || year > 99999 || ms <= -furthest || ms >= furthest {
		return 0, fmt.Errorf("the time %v is out of range", t)
	}
	return ms, nil
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// encoded is a record as it is stored.
type encoded struct {
	header, body  []byte
	dies, expires int64
}

func encode(rec session.Record) (encoded, error) {
	var ms [6]int64
	var errs []error
	for i, t := range []time.Time{rec.Seen, rec.IdleExpires, rec.Created, rec.Expires, rec.AuthTime, rec.Refresh.RotatedAt} {
		var err error
		ms[i], err = millis(t)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return encoded{}, err
	}
	e := encoded{dies: min(ms[1], ms[3]), expires: ms[3]}

	h := append(make([]byte, 0, headerLeast+3*len(token{})+len(rec.UserID)), recordVersion)
	h = binary.BigEndian.AppendUint64(h, rec.Rev)
	for _, t := range ms[:4] {
		h = binary.BigEndian.AppendUint64(h, math.Float64bits(float64(t)))
	}
	h = append(h, rec.Key[:]...)
	found := tokens(rec)
	h = append(h, byte(len(found)))
	for _, t := range found {
		h = append(h, t[:]...)
	}
	e.header = append(h, rec.UserID...)

	var flags byte
	refresh := rec.Refresh.Secret != [32]byte{} || rec.Refresh.Previous != [32]byte{} || !rec.Refresh.RotatedAt.IsZero() || len(rec.Refresh.Successor) > 0
	if refresh {
		flags |= hasRefresh
	}
	b := append(make([]byte, 0, 256+len(rec.Data)), recordVersion, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(ms[4]))
	for _, s := range []string{string(rec.Kind), rec.UserAgent, rec.IP, rec.Origin.Issuer, rec.Origin.Subject, rec.Origin.SID} {
		b = appendText(b, s)
	}
	for _, list := range [][]string{rec.Scopes, rec.Roles} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = appendText(b, s)
		}
	}
	if refresh {
		b = append(append(b, rec.Refresh.Secret[:]...), rec.Refresh.Previous[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(ms[5]))
		b = appendText(b, rec.Refresh.Successor)
	}
	e.body = append(b, rec.Data...)
	return e, nil
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errDamaged = errors.New("a record is damaged")

// decode reads what encode and the scripts wrote. What can't have been written
// by this package is an error: it is neither a session nor the absence of one.
func decode(id string, header, body []byte) (rec session.Record, err error) {
	h := reader{b: header}
	if h.byte() != recordVersion {
		return session.Record{}, fmt.Errorf("%w, or of a later version", errDamaged)
	}
	rec.ID = id
	rec.Rev = h.uint64()
	rec.Seen, rec.IdleExpires, rec.Created, rec.Expires = h.double(), h.double(), h.double(), h.double()
	copy(rec.Key[:], h.take(32))
	h.take(uint64(h.byte()) * uint64(len(token{})))
	rec.UserID = string(h.b)

	b := reader{b: body, bad: h.bad}
	if b.byte() != recordVersion {
		return session.Record{}, fmt.Errorf("%w, or of a later version", errDamaged)
	}
	flags := b.byte()
	rec.AuthTime = b.time()
	rec.Kind = session.Kind(b.text())
	rec.UserAgent, rec.IP = string(b.text()), string(b.text())
	rec.Origin = session.Origin{Issuer: string(b.text()), Subject: string(b.text()), SID: string(b.text())}
	rec.Scopes, rec.Roles = b.list(), b.list()
	if flags&hasRefresh != 0 {
		copy(rec.Refresh.Secret[:], b.take(32))
		copy(rec.Refresh.Previous[:], b.take(32))
		rec.Refresh.RotatedAt = b.time()
		rec.Refresh.Successor = append([]byte(nil), b.text()...)
	}
	if b.bad || flags&^hasRefresh != 0 {
		return session.Record{}, errDamaged
	}
	rec.Data = append([]byte(nil), b.b...)
	return rec, nil
}

// reader takes a stored text apart. Once bad, it yields zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uint32() uint64 {
	if b := r.take(4); b != nil {
		return uint64(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) time() time.Time { return fromMillis(int64(r.uint64())) }

func (r *reader) double() time.Time {
	f := math.Float64frombits(r.uint64())
	if !(f > -furthest && f < furthest) || f != math.Trunc(f) {
		r.bad = true
		return time.Time{}
	}
	return fromMillis(int64(f))
}

func (r *reader) length() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) text() []byte { return r.take(r.length()) }

func (r *reader) list() (list []string) {
	for n := r.length(); n > 0 && !r.bad; n-- {
		list = append(list, string(r.text()))
	}
	return list
}

// decodeEnded reads an entry of the log: version, when it was logged and when
// it ended as doubles, the lengths of the reason and the user id in 4 bytes
// each, the key, the reason, the user id, the id.
func decodeEnded(entry []byte) (session.Ended, error) {
	r := reader{b: entry}
	version := r.byte()
	r.double()
	at := r.double()
	reason, user := r.uint32(), r.uint32()
	r.take(32)
	e := session.Ended{Reason: session.Reason(r.take(reason)), UserID: string(r.take(user)), At: at, ID: string(r.b)}
	if r.bad || version != 1 {
		return session.Ended{}, errors.New("the log of ended sessions is damaged, or of a later version")
	}
	return e, nil
}
