package realtime

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Opcodes with the final bit set (RFC 6455 section 5.2). Frames of a server are
// never masked.
const (
	frameText  = 0x81
	frameClose = 0x88
	framePing  = 0x89
	framePong  = 0x8a
)

// maxFrame is how much text one frame joins: messages are written whole, and
// clients limit what they take at once.
const maxFrame = 64 << 10

// pingFrame is the protocol's ping, an empty object, as a frame.
var pingFrame = []byte{frameText, 2, '{', '}'}

// appendHeader appends the header of a frame with n bytes of payload.
func appendHeader(b []byte, opcode byte, n int) []byte {
	switch {
	case n <= 125:
		return append(b, opcode, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, opcode, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, opcode, 127), uint64(n))
	}
}

// textFrame makes one frame of p.
func textFrame(p []byte) []byte {
	return append(appendHeader(make([]byte, 0, len(p)+10), frameText, len(p)), p...)
}

// closeFrameOf makes the close frame of d. RFC 6455 section 5.5: at most 125
// bytes, of which two are the code.
func closeFrameOf(d disconnect) []byte {
	reason := plainReason(d.reason)
	b := appendHeader(make([]byte, 0, 4+len(reason)), frameClose, 2+len(reason))
	b = binary.BigEndian.AppendUint16(b, d.code)
	return append(b, reason...)
}

// plainReason makes a close reason of s: valid text, at most 123 bytes, not
// empty, and nothing that an SDK would parse as JSON advice.
func plainReason(s string) string {
	s = cutTo(strings.TrimSpace(plain(s)), 123)
	if s == "" {
		return "closed"
	}
	if json.Valid([]byte(s)) {
		s = cutTo("reason: "+s, 123)
	}
	return s
}

// plain makes valid text of s, without control characters.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
}

// cutTo cuts valid text to at most n bytes, between two characters.
func cutTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
