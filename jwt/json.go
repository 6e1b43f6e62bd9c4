package jwt

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays of a header or of claims may nest.
const maxDepth = 16

// jsonError is what is wrong with a JSON text. It never quotes the text.
type jsonError string

func (e jsonError) Error() string { return string(e) }

const (
	errSyntax    jsonError = "not JSON"
	errUTF8      jsonError = "not UTF-8"
	errSurrogate jsonError = "a lone surrogate"
	errNotObject jsonError = "not a JSON object"
	errTrailing  jsonError = "bytes after the JSON object"
	errDepth     jsonError = "nested too deep"
	errDuplicate jsonError = "a name appears twice"
)

// member is one name of an object and the text of its value.
type member struct {
	name string
	raw  []byte
}

// nameSet holds the names that are read, by their folded form. A name that
// equals one of them only after folding is refused: encoding/json would take
// "SUB" for "sub" when it fills a struct.
type nameSet map[string]string

func newNameSet(names ...string) nameSet {
	set := make(nameSet, len(names))
	for _, n := range names {
		set[fold(n)] = n
	}
	return set
}

// fold maps names that encoding/json would take for one another to one string.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		if r < utf8.RuneSelf {
			return r
		}
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next // the smallest of its orbit
			}
			r = next
		}
	}, s)
}

// scanObject checks that data is exactly one JSON object as RFC 8259 and
// RFC 7493 (I-JSON) want it and returns its members. The scanner is ours
// because encoding/json takes duplicate names, invalid UTF-8, lone surrogates
// and names in another case; what passes here has one meaning to every parser,
// so it may be handed to encoding/json afterwards.
func scanObject(data []byte, known nameSet) ([]member, error) {
	if !utf8.Valid(data) {
		return nil, errUTF8
	}
	s := scanner{data: data, known: known}
	s.space()
	if s.peek() != '{' {
		return nil, errNotObject
	}
	var top []member
	if err := s.object(1, &top); err != nil {
		return nil, err
	}
	s.space()
	if s.pos != len(data) {
		return nil, errTrailing
	}
	return top, nil
}

type scanner struct {
	data  []byte
	pos   int
	known nameSet
}

// peek returns the next byte, 0 at the end. A real 0 is nowhere valid.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) eat(c byte) bool {
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) space() {
	for {
		switch s.peek() {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth + 1)
	case c == '"':
		_, err := s.text()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
			s.pos += len(word)
			return nil
		}
	}
	return errSyntax
}

func (s *scanner) object(depth int, top *[]member) error {
	if depth > maxDepth {
		return errDepth
	}
	s.pos++
	s.space()
	if s.eat('}') {
		return nil
	}
	var seen names
	for {
		raw, err := s.text()
		if err != nil {
			return err
		}
		name := unquote(raw)
		if !seen.add(name) {
			return errDuplicate
		}
		if exact, ok := s.known[fold(name)]; ok && exact != name {
			return jsonError("a name differs only in case from " + exact)
		}
		s.space()
		if !s.eat(':') {
			return errSyntax
		}
		s.space()
		start := s.pos
		if err := s.value(depth); err != nil {
			return err
		}
		if top != nil {
			*top = append(*top, member{name, s.data[start:s.pos]})
		}
		s.space()
		if s.eat('}') {
			return nil
		}
		if !s.eat(',') {
			return errSyntax
		}
		s.space()
	}
}

func (s *scanner) array(depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	s.pos++
	s.space()
	if s.eat(']') {
		return nil
	}
	for {
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		if s.eat(']') {
			return nil
		}
		if !s.eat(',') {
			return errSyntax
		}
		s.space()
	}
}

// text reads a string and returns it with its quotes.
func (s *scanner) text() ([]byte, error) {
	start := s.pos
	if !s.eat('"') {
		return nil, errSyntax
	}
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		s.pos++
		switch {
		case c == '"':
			return s.data[start:s.pos], nil
		case c < 0x20:
			return nil, errSyntax
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		}
	}
	return nil, errSyntax
}

func (s *scanner) escape() error {
	c := s.peek()
	s.pos++
	if c != 'u' {
		if strings.IndexByte(`"\/bfnrt`, c) < 0 {
			return errSyntax
		}
		return nil
	}
	u, ok := s.hex4()
	switch {
	case !ok:
		return errSyntax
	case u < 0xd800 || u > 0xdfff:
		return nil
	case u > 0xdbff || !s.eat('\\') || !s.eat('u'):
		return errSurrogate
	}
	if low, ok := s.hex4(); !ok || low < 0xdc00 || low > 0xdfff {
		return errSurrogate
	}
	return nil
}

func (s *scanner) hex4() (u int, ok bool) {
	if len(s.data)-s.pos < 4 {
		return 0, false
	}
	for _, c := range s.data[s.pos : s.pos+4] {
		switch {
		case '0' <= c && c <= '9':
			u = u<<4 | int(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			u = u<<4 | int(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	s.pos += 4
	return u, true
}

func (s *scanner) number() error {
	s.eat('-')
	if !s.eat('0') && !s.digits() {
		return errSyntax
	}
	if s.eat('.') && !s.digits() {
		return errSyntax
	}
	if s.eat('e') || s.eat('E') {
		if !s.eat('+') {
			s.eat('-')
		}
		if !s.digits() {
			return errSyntax
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for '0' <= s.peek() && s.peek() <= '9' {
		s.pos++
	}
	return s.pos > start
}

// unquote decodes a string that text has read.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var out string
	_ = json.Unmarshal(raw, &out) // text has checked it
	return out
}

// names finds duplicates: in a list while there are few, then in a map, so that
// a large object costs no quadratic time.
type names struct {
	few  []string
	many map[string]struct{}
}

func (n *names) add(name string) bool {
	if n.many != nil {
		if _, dup := n.many[name]; dup {
			return false
		}
		n.many[name] = struct{}{}
		return true
	}
	for _, have := range n.few {
		if have == name {
			return false
		}
	}
	if n.few = append(n.few, name); len(n.few) == 16 {
		n.many = make(map[string]struct{}, 32)
		for _, have := range n.few {
			n.many[have] = struct{}{}
		}
	}
	return true
}
