package jwt

import (
	"encoding/base64"
	"strconv"
	"strings"
)

const (
	maxSize      = 8 << 10
	maxSizeLimit = 64 << 10
	maxHeader    = 1 << 10
	maxSignature = 1 << 10 // RSA of 8192 bits
	maxLoggedID  = 64
)

// Strict: unused bits must be zero, else one signature has several spellings.
var base64url = base64.RawURLEncoding.Strict()

// headerNames are the header parameters that are read or refused by name.
var headerNames = newNameSet("alg", "kid", "typ", "crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c")

// compact is a token taken apart, nothing of it believed yet.
type compact struct {
	alg, kid, typ string
	signed        []byte // the exact bytes that the signature is over
	payload       string // still encoded: it is not looked at before the signature verifies
	signature     []byte
}

// parseCompact is the front door: everything that can be refused without a key
// is refused here, in one pass over at most max bytes (RFC 7515 section 7.1).
func parseCompact(raw string, max int) (compact, *Error) {
	var c compact
	if len(raw) > max {
		return c, refuse(ErrMalformed, "longer than "+strconv.Itoa(max)+" bytes")
	}
	first, second, ok := dots(raw)
	if !ok {
		return c, refuse(ErrMalformed, "not three segments of base64url")
	}
	header64, signature64 := raw[:first], raw[second+1:]
	c.payload = raw[first+1 : second]
	if header64 == "" || c.payload == "" || signature64 == "" {
		return c, refuse(ErrMalformed, "an empty segment")
	}
	if len(header64) > base64url.EncodedLen(maxHeader) {
		return c, refuse(ErrMalformed, "header longer than "+strconv.Itoa(maxHeader)+" bytes")
	}
	if len(signature64) > base64url.EncodedLen(maxSignature) {
		return c, refuse(ErrMalformed, "signature longer than "+strconv.Itoa(maxSignature)+" bytes")
	}
	header, err := base64url.DecodeString(header64)
	if err != nil {
		return c, refuse(ErrMalformed, "header: not base64url")
	}
	if c.signature, err = base64url.DecodeString(signature64); err != nil {
		return c, refuse(ErrMalformed, "signature: not base64url")
	}
	c.signed = []byte(raw[:second])
	if e := c.readHeader(header); e != nil {
		return c, e
	}
	return c, nil
}

// dots finds the two dots of a compact token, and nothing but the base64url
// alphabet around them. encoding/base64 alone would skip newlines.
func dots(raw string) (first, second int, ok bool) {
	first, second = -1, -1
	for i := range len(raw) {
		switch c := raw[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c != '.', second >= 0:
			return 0, 0, false
		case first < 0:
			first = i
		default:
			second = i
		}
	}
	return first, second, second >= 0
}

func (c *compact) readHeader(header []byte) *Error {
	members, err := scanObject(header, headerNames)
	if err != nil {
		return refuse(ErrMalformed, "header: "+err.Error())
	}
	for _, m := range members {
		var to *string
		switch m.name {
		case "alg":
			to = &c.alg
		case "kid":
			to = &c.kid
		case "typ":
			to = &c.typ
		case "crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c":
			// crit names extensions that we would have to understand, and we
			// understand none (RFC 7515 section 4.1.11). The others change what is
			// signed or name a key of the sender's choice.
			return refuse(ErrMalformed, "header: "+m.name+" is not taken")
		default:
			continue // RFC 7515 section 4: what is not understood is ignored
		}
		if m.raw[0] != '"' {
			return refuse(ErrMalformed, "header: "+m.name+" is not a string")
		}
		if *to = unquote(m.raw); *to == "" {
			return refuse(ErrMalformed, "header: "+m.name+" is empty")
		}
	}
	if c.alg == "" {
		return refuse(ErrMalformed, "header: no alg")
	}
	return nil
}

// hasType compares media types, which have no case (RFC 2045 section 5.1); the
// prefix application/ may be left out (RFC 7515 section 4.1.9).
func (c *compact) hasType(typ string) bool {
	const prefix = "application/"
	have := c.typ
	if len(have) > len(prefix) && strings.EqualFold(have[:len(prefix)], prefix) {
		have = have[len(prefix):]
	}
	return strings.EqualFold(have, typ)
}

// quoteKeyID makes a key id fit for a log: one line of ASCII, cut.
func quoteKeyID(id string) string {
	if id == "" {
		return "no kid"
	}
	if len(id) > maxLoggedID {
		return "kid " + strconv.QuoteToASCII(id[:maxLoggedID]) + "…"
	}
	return "kid " + strconv.QuoteToASCII(id)
}
