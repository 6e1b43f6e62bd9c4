package realtime

import "encoding/binary"

// scanner checks JSON in one pass, without memory of its own: RFC 8259, as
// strict as encoding/json, which decides in all cases that matter but speed.
type scanner struct {
	b      []byte
	deep   int  // how deep values may be nested
	spaced bool // there was white space between tokens
}

// valueEnd returns where the value that begins at i ends, or -1 when there is
// none, or one nested too deep.
func (s *scanner) valueEnd(i int) int {
	if i >= len(s.b) {
		return -1
	}
	switch c := s.b[i]; {
	case c == '"':
		return s.stringEnd(i)
	case c == '{' || c == '[':
		return s.nestedEnd(i)
	case c == '-' || '0' <= c && c <= '9':
		return s.numberEnd(i)
	case c == 't':
		return s.wordEnd(i, "true")
	case c == 'f':
		return s.wordEnd(i, "false")
	case c == 'n':
		return s.wordEnd(i, "null")
	}
	return -1
}

func (s *scanner) wordEnd(i int, word string) int {
	if len(s.b)-i < len(word) || string(s.b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// space returns where white space that begins at i ends.
func (s *scanner) space(i int) int {
	for i < len(s.b) && (s.b[i] == ' ' || s.b[i] == '\n' || s.b[i] == '\t' || s.b[i] == '\r') {
		s.spaced = true
		i++
	}
	return i
}

func (s *scanner) stringEnd(i int) int {
	for i++; i < len(s.b); {
		if i+8 <= len(s.b) && ordinary(binary.LittleEndian.Uint64(s.b[i:])) {
			i += 8
			continue
		}
		for end := min(i+8, len(s.b)); i < end; i++ {
			switch c := s.b[i]; {
			case c == '"':
				return i + 1
			case c < ' ':
				return -1
			case c == '\\':
				if i = s.escapeEnd(i + 1); i < 0 {
					return -1
				}
			}
		}
	}
	return -1
}

// ordinary says that none of eight bytes is a quotation mark, a backslash or a control
// character: what is less than n has its highest bit unset, and set once n is taken
// from it.
func ordinary(b uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	quote, slash := b^each*'"', b^each*'\\'
	return ((quote-each)&^quote|(slash-each)&^slash|(b-each*' ')&^b)&high == 0
}

// escapeEnd returns the last byte of an escape, of which i is the second.
func (s *scanner) escapeEnd(i int) int {
	if i >= len(s.b) {
		return -1
	}
	switch s.b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
	case 'u':
		for range 4 {
			if i++; i >= len(s.b) || !hex(s.b[i]) {
				return -1
			}
		}
	default:
		return -1
	}
	return i
}

func hex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

func (s *scanner) numberEnd(i int) int {
	if s.b[i] == '-' {
		i++
	}
	if i < len(s.b) && s.b[i] == '0' {
		i++
	} else if i = s.digitsEnd(i); i < 0 {
		return -1
	}
	if i < len(s.b) && s.b[i] == '.' {
		if i = s.digitsEnd(i + 1); i < 0 {
			return -1
		}
	}
	if i < len(s.b) && (s.b[i] == 'e' || s.b[i] == 'E') {
		if i++; i < len(s.b) && (s.b[i] == '+' || s.b[i] == '-') {
			i++
		}
		i = s.digitsEnd(i)
	}
	return i
}

// digitsEnd wants one digit at least.
func (s *scanner) digitsEnd(i int) int {
	start := i
	for i < len(s.b) && '0' <= s.b[i] && s.b[i] <= '9' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// nestedEnd is valueEnd for an object or a list.
func (s *scanner) nestedEnd(i int) int {
	if s.deep--; s.deep < 0 {
		return -1
	}
	object := s.b[i] == '{'
	last := byte(']')
	if object {
		last = '}'
	}
	if i = s.space(i + 1); i < len(s.b) && s.b[i] == last {
		s.deep++
		return i + 1
	}
	for {
		if object {
			if i >= len(s.b) || s.b[i] != '"' {
				return -1
			}
			if i = s.stringEnd(i); i < 0 {
				return -1
			}
			if i = s.space(i); i >= len(s.b) || s.b[i] != ':' {
				return -1
			}
			i = s.space(i + 1)
		}
		if i = s.valueEnd(i); i < 0 {
			return -1
		}
		if i = s.space(i); i >= len(s.b) {
			return -1
		}
		switch s.b[i] {
		case last:
			s.deep++
			return i + 1
		case ',':
			i = s.space(i + 1)
		default:
			return -1
		}
	}
}
