//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// order is what the generator tells a server to do, one JSON object a line.
type order struct {
	Do     string        `json:"do"`
	N      int           `json:"n,omitempty"`
	Floor  bool          `json:"floor,omitempty"` // bare writes, not the peer's
	Window int           `json:"window,omitempty"`
	Warm   time.Duration `json:"warm,omitempty"`
	For    time.Duration `json:"for,omitempty"`
	Every  time.Duration `json:"every,omitempty"`
	File   string        `json:"file,omitempty"`
}

// answer is what came of an order.
type answer struct {
	Error    string   `json:"error,omitempty"`
	Addr     string   `json:"addr,omitempty"`
	Commands bool     `json:"commands,omitempty"` // peer.commands, told with Addr
	Cookies  []string `json:"cookies,omitempty"`
	Begun    []int64  `json:"begun,omitempty"` // when each sign-out began, on the clock of now
	Spent    spent    `json:"spent"`
	Held     held     `json:"held"`
}

// spent is what a step took the server.
type spent struct {
	Messages int     `json:"messages"`
	Seconds  float64 `json:"seconds"`
	CPU      float64 `json:"cpu"`     // seconds of the server's process
	Foreign  float64 `json:"foreign"` // share of its cores that others took
	Mallocs  uint64  `json:"mallocs"`
	Bytes    uint64  `json:"bytes"`
}

// held is what a server holds, after a collection.
type held struct {
	RSS        int `json:"rss"`
	Heap       int `json:"heap"`
	Stack      int `json:"stack"`
	Goroutines int `json:"goroutines"`
	Conns      int `json:"conns"`
}

// payloadSize is that of every message, as JSON.
const payloadSize = 128

const (
	numberAt = len(`{"n":`)
	timeAt   = len(`{"n":1000000000,"t":`)
)

// Numbers in messages have the same width always, and JSON's have no zeros in
// front.
const (
	numberBase = 1_000_000_000
	timeBase   = 1_000_000_000_000_000_000
)

// payload is message number n, sent now.
func payload(n uint64) []byte {
	b := append(make([]byte, 0, payloadSize), `{"n":`...)
	b = strconv.AppendUint(b, numberBase+n, 10)
	b = append(b, `,"t":`...)
	b = strconv.AppendInt(b, timeBase+now(), 10)
	b = append(b, `,"pad":"`...)
	for len(b) < payloadSize-2 {
		b = append(b, 'x')
	}
	return append(b, '"', '}')
}

// digits reads a number of fixed width; what is none reads as one that is never
// expected.
func digits(b []byte) uint64 {
	var n uint64
	for _, d := range b {
		if d < '0' || d > '9' {
			return 1 << 63
		}
		n = n*10 + uint64(d-'0')
	}
	return n
}

// began ties the clock that both processes share to the one that Go reads
// without a system call.
var began = func() (at struct {
	nano int64
	time time.Time
}) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	at.nano, at.time = ts.Nano(), time.Now()
	return at
}()

// now is the clock that both processes share, in nanoseconds.
func now() int64 { return began.nano + int64(time.Since(began.time)) }

// textFrame is a server's frame around p.
func textFrame(p []byte) []byte {
	b := []byte{0x81}
	switch {
	case len(p) <= 125:
		b = append(b, byte(len(p)))
	case len(p) <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(len(p)))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(len(p)))
	}
	return append(b, p...)
}

// maskedFrame is a client's frame around p (RFC 6455 section 5.3).
func maskedFrame(p []byte) []byte {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := textFrame(p)
	head := len(b) - len(p)
	b[1] |= 0x80
	out := append(append(append(make([]byte, 0, len(b)+4), b[:head]...), key[:]...), p...)
	for i := range p {
		out[head+4+i] ^= key[i%4]
	}
	return out
}

var errFrame = errors.New("a frame that no server here sends")

// nextFrame cuts the first frame off b. A frame that isn't all there yet leaves
// rest as it is, with whole false.
func nextFrame(b []byte) (opcode byte, body, rest []byte, whole bool, err error) {
	if len(b) < 2 {
		return 0, nil, b, false, nil
	}
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		return 0, nil, b, false, errFrame
	}
	head, n := 2, int(b[1])
	switch {
	case n == 126 && len(b) < 4, n == 127 && len(b) < 10:
		return 0, nil, b, false, nil
	case n == 126:
		head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	case n == 127:
		head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
	}
	if len(b) < head+n {
		return 0, nil, b, false, nil
	}
	return b[0] & 0x0f, b[head : head+n], b[head+n:], true, nil
}
