package redisbroker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

// The form of a message: "offset epoch" for what the history has put a place
// to, a newline, and the event: version, kind, flags, and fields that each
// begin with their length.
const version = 1

const (
	hasInfo = 1 << iota // the publication has a ClientInfo
)

var errForm = errors.New("redisbroker: a message of an unknown form")

// encode returns an event as it is published.
func encode(e realtime.Event) string { return "\n" + body(e) }

func body(e realtime.Event) string {
	p := &e.Publication
	b := make([]byte, 0, 64+len(p.Data)+len(p.Epoch)+len(e.Client.Client)+len(e.Client.User)+len(e.Client.Info))
	b = append(b, version, byte(e.Kind))
	switch e.Kind {
	case realtime.EventJoin, realtime.EventLeave:
		b = appendClient(b, &e.Client)
	default:
		var flags byte
		if p.Info != nil {
			flags |= hasInfo
		}
		b = append(b, flags)
		b = binary.AppendVarint(b, p.Time.Unix())
		b = binary.AppendUvarint(b, uint64(p.Time.Nanosecond()))
		b = binary.AppendUvarint(b, p.Offset)
		b = appendField(b, p.Epoch)
		b = appendField(b, string(p.Data))
		if p.Info != nil {
			b = appendClient(b, p.Info)
		}
	}
	return string(b)
}

func appendField(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendClient(b []byte, c *realtime.ClientInfo) []byte {
	b = appendField(b, c.Client)
	b = appendField(b, c.User)
	return appendField(b, string(c.Info))
}

// decode is the opposite of encode.
func decode(message string) (e realtime.Event, err error) {
	place, rest, ok := strings.Cut(message, "\n")
	if !ok {
		return e, errForm
	}
	if e, err = decodeBody(rest); err != nil || place == "" {
		return e, err
	}
	offset, epoch, ok := strings.Cut(place, " ")
	e.Publication.Offset, err = strconv.ParseUint(offset, 10, 64)
	if !ok || err != nil || e.Kind != realtime.EventPublication {
		return e, errForm
	}
	e.Publication.Epoch = epoch
	return e, nil
}

func decodeBody(s string) (e realtime.Event, err error) {
	r := reader{rest: s}
	if r.byte() != version {
		return e, errForm
	}
	e.Kind = realtime.EventKind(r.byte())
	switch e.Kind {
	case realtime.EventPublication:
		p := &e.Publication
		flags := r.byte()
		sec, nsec := r.varint(), r.uvarint()
		p.Time = time.Unix(sec, int64(nsec)).UTC()
		p.Offset = r.uvarint()
		p.Epoch = r.field()
		p.Data = raw(r.field())
		if flags&hasInfo != 0 {
			p.Info = &realtime.ClientInfo{}
			r.client(p.Info)
		}
		if nsec >= 1e9 || flags&^hasInfo != 0 {
			r.bad = true
		}
	case realtime.EventJoin, realtime.EventLeave:
		r.client(&e.Client)
	default:
		r.bad = true
	}
	if r.bad || r.rest != "" {
		return realtime.Event{}, errForm
	}
	return e, nil
}

func raw(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

// reader takes fields off a text. What is missing sets bad.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) byte() byte {
	if r.rest == "" {
		r.bad = true
		return 0
	}
	c := r.rest[0]
	r.rest = r.rest[1:]
	return c
}

func (r *reader) uvarint() (n uint64) {
	for shift := uint(0); shift < 64; shift += 7 {
		c := r.byte()
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if shift == 63 && c > 1 {
				break
			}
			return n
		}
	}
	r.bad = true
	return 0
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) field() string {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	f := r.rest[:n]
	r.rest = r.rest[n:]
	return f
}

func (r *reader) client(c *realtime.ClientInfo) {
	c.Client, c.User, c.Info = r.field(), r.field(), raw(r.field())
}
