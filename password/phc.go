package password

import (
	"strconv"
	"strings"
)

// maxHashBytes bounds a stored hash. Ours have at most 160 bytes; with 64 bytes of
// salt and of tag, the most that parse takes, they have up to 261.
const maxHashBytes = 512

// stored is a stored hash, taken apart.
type stored struct {
	params  Argon2idParams
	threads uint32 // as written; params.Threads once it's known to fit
	pepper  string // id, "" for none
	salt    []byte
	tag     []byte
}

func (s stored) encode() Hash {
	var b strings.Builder
	b.WriteString("$argon2id$v=19$m=")
	b.WriteString(strconv.FormatUint(uint64(s.params.MemoryKiB), 10))
	b.WriteString(",t=")
	b.WriteString(strconv.FormatUint(uint64(s.params.Time), 10))
	b.WriteString(",p=")
	b.WriteString(strconv.FormatUint(uint64(s.params.Threads), 10))
	if s.pepper != "" {
		b.WriteString(",keyid=")
		b.WriteString(b64Strict.EncodeToString([]byte(s.pepper)))
	}
	b.WriteByte('$')
	b.WriteString(b64Strict.EncodeToString(s.salt))
	b.WriteByte('$')
	b.WriteString(b64Strict.EncodeToString(s.tag))
	return Hash(b.String())
}

// outdated reports whether s differs from what h would make today.
func (s stored) outdated(h *Hasher) bool {
	return s.params != h.params || s.pepper != h.peppers.current() || len(s.salt) < saltBytes || len(s.tag) != tagBytes
}

// parse takes a stored hash apart: an argon2id PHC string in its one spelling.
// It allocates by the string's length alone, never by the numbers in it.
func parse(h Hash) (stored, error) {
	if len(h) > maxHashBytes {
		return stored{}, ErrMalformed
	}
	rest, ok := strings.CutPrefix(string(h), "$argon2id$v=")
	if !ok {
		return stored{}, foreign(h)
	}
	rest, ok = strings.CutPrefix(rest, "19$")
	if !ok {
		return stored{}, ErrMalformed
	}
	fields := strings.Split(rest, "$")
	if len(fields) != 3 {
		return stored{}, ErrMalformed
	}
	s, err := parseParams(fields[0])
	if err != nil {
		return stored{}, err
	}
	if s.salt, err = parseB64(fields[1], 8, 64); err != nil {
		return stored{}, err
	}
	if s.tag, err = parseB64(fields[2], 16, 64); err != nil {
		return stored{}, err
	}
	// Last, so that ErrParams is said of well-formed hashes only.
	if s.params.Time > maxTime || s.threads > maxThreads {
		return stored{}, ErrParams
	}
	s.params.Threads = uint8(s.threads)
	return s, nil
}

// parseParams reads "m=…,t=…,p=…[,keyid=…]": this order, nothing else.
func parseParams(text string) (stored, error) {
	var s stored
	fields := strings.Split(text, ",")
	if len(fields) != 3 && len(fields) != 4 {
		return s, ErrMalformed
	}
	var okM, okT, okP bool
	s.params.MemoryKiB, okM = parseNumber(fields[0], "m=")
	s.params.Time, okT = parseNumber(fields[1], "t=")
	s.threads, okP = parseNumber(fields[2], "p=")
	// RFC 9106 section 3.1: m is at least 8p.
	if !okM || !okT || !okP || uint64(s.params.MemoryKiB) < 8*uint64(s.threads) {
		return s, ErrMalformed
	}
	if len(fields) == 4 {
		v, ok := strings.CutPrefix(fields[3], "keyid=")
		id, err := parseB64(v, 1, maxPepperID)
		if !ok || err != nil || !validPepperID(string(id)) {
			return s, ErrMalformed
		}
		s.pepper = string(id)
	}
	return s, nil
}

// parseNumber reads a decimal number from 1 to 2^32-1 in its one spelling.
func parseNumber(field, name string) (uint32, bool) {
	v, ok := strings.CutPrefix(field, name)
	if !ok || len(v) == 0 || len(v) > 10 || v[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(v) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(v, 10, 32)
	return uint32(n), err == nil
}

func parseB64(s string, least, most int) ([]byte, error) {
	// The decoder would skip these two.
	if strings.ContainsAny(s, "\r\n") {
		return nil, ErrMalformed
	}
	b, err := b64Strict.DecodeString(s)
	if err != nil || len(b) < least || len(b) > most {
		return nil, ErrMalformed
	}
	return b, nil
}
