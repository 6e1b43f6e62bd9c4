package oidc

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// maxReturnPath bounds what a flow cookie carries.
const maxReturnPath = 2048

// ReturnPath returns s when it is a local absolute path, optionally with a query
// and fragment, that no browser takes for another origin; else "/". Paths that
// hold "//", a backslash, dot segments or control characters, also escaped ones
// and escaped twice, count as unsafe, as do paths over 2048 bytes.
func ReturnPath(s string) string {
	if !isLocalPath(s) {
		return "/"
	}
	return s
}

func isLocalPath(s string) bool {
	// Browsers drop tabs and newlines and read '\' as '/', so none may appear,
	// wherever it stands.
	if len(s) > maxReturnPath || !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, isUnsafeRune) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	raw, _, _ := strings.Cut(s, "#")
	raw, _, _ = strings.Cut(raw, "?")
	for range 4 {
		if strings.Contains(raw, "//") || hasDotSegment(raw) || strings.ContainsFunc(raw, isUnsafeRune) {
			return false
		}
		decoded := unescape(raw)
		if decoded == raw {
			return true
		}
		raw = decoded
	}
	return false // escaped over and over: nobody means well
}

// unescape decodes every well-formed escape and lets the others stand, as the
// most lenient reader would.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escapeRunes escapes what may not stand in a header.
func escapeRunes(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isUnsafeRune(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\\' || r == '\uFFFD'
}

func hasDotSegment(p string) bool {
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
