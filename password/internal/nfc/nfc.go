// Package nfc brings strings into Unicode normalization form C (Unicode Standard
// Annex #15): "é" typed as one code point and as "e" with a combining accent
// become the same string.
//
// It is small and slow next to golang.org/x/text, which this module does not
// depend on, and does nothing but what passwords need. Its data is that of
// Unicode 15.0. Normalization is stable: characters assigned there are treated
// the same by every later version.
package nfc

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unicodeData has a line for each canonical decomposition, "C0=41 300", with '<'
// in place of '=' where the pair is never composed again, and one for each run of
// combining characters of one class, "300-314:230".
//
//go:embed unicode.txt
var unicodeData string

// Hangul syllables are computed (The Unicode Standard, section 3.12).
const (
	hangulS, hangulL, hangulV, hangulT = 0xAC00, 0x1100, 0x1161, 0x11A7
	hangulLs, hangulVs, hangulTs       = 19, 21, 28
	hangulSs                           = hangulLs * hangulVs * hangulTs
)

// Form is the form C. It is immutable and safe for concurrent use.
type Form struct {
	decomposed map[rune][]rune // one step
	composed   map[[2]rune]rune
	class      map[rune]uint8 // canonical combining class where it isn't 0
}

// New reads the embedded data.
func New() (*Form, error) {
	f := &Form{decomposed: map[rune][]rune{}, composed: map[[2]rune]rune{}, class: map[rune]uint8{}}
	for line := range strings.Lines(unicodeData) {
		if err := f.read(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("nfc: %q: %w", line, err)
		}
	}
	return f, nil
}

func (f *Form) read(line string) error {
	if runs, class, ok := strings.Cut(line, ":"); ok {
		from, to, _ := strings.Cut(runs, "-")
		r, err := hex(from, to)
		if err != nil {
			return err
		}
		c, err := strconv.ParseUint(class, 10, 8)
		for i := r[0]; i <= r[1]; i++ {
			f.class[i] = uint8(c)
		}
		return err
	}
	i := strings.IndexAny(line, "=<")
	if i < 0 {
		return strconv.ErrSyntax
	}
	r, err := hex(append([]string{line[:i]}, strings.Fields(line[i+1:])...)...)
	if err != nil {
		return err
	}
	f.decomposed[r[0]] = r[1:]
	if line[i] == '=' {
		f.composed[[2]rune(r[1:])] = r[0]
	}
	return nil
}

func hex(fields ...string) ([]rune, error) {
	out := make([]rune, len(fields))
	for i, s := range fields {
		n, err := strconv.ParseUint(s, 16, 21)
		if err != nil {
			return nil, err
		}
		out[i] = rune(n)
	}
	return out, nil
}

// String returns s in form C. What is not valid UTF-8 is returned as it is.
func (f *Form) String(s string) string {
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < utf8.RuneSelf
	}
	if ascii || !utf8.ValidString(s) {
		return s
	}
	rs := make([]rune, 0, len(s))
	for _, r := range s {
		rs = f.decompose(rs, r)
	}
	f.reorder(rs)
	return string(f.compose(rs))
}

// decompose appends the full canonical decomposition of r.
func (f *Form) decompose(to []rune, r rune) []rune {
	if i := r - hangulS; i >= 0 && i < hangulSs {
		to = append(to, hangulL+i/(hangulVs*hangulTs), hangulV+i%(hangulVs*hangulTs)/hangulTs)
		if t := i % hangulTs; t > 0 {
			to = append(to, hangulT+t)
		}
		return to
	}
	step, ok := f.decomposed[r]
	if !ok {
		return append(to, r)
	}
	for _, r := range step {
		to = f.decompose(to, r)
	}
	return to
}

// reorder sorts each run of combining characters by class and keeps the order
// within a class (The Unicode Standard, D109).
func (f *Form) reorder(rs []rune) {
	for i := 0; i < len(rs); i++ {
		run := i
		for i < len(rs) && f.class[rs[i]] != 0 {
			i++
		}
		slices.SortStableFunc(rs[run:i], func(a, b rune) int { return int(f.class[a]) - int(f.class[b]) })
	}
}

// compose joins each character with the last starter before it unless something
// of the same or a higher class stands between them (D117). It works in place.
func (f *Form) compose(rs []rune) []rune {
	out := rs[:0]
	starter := -1 // its index in out
	for _, r := range rs {
		class := f.class[r]
		if starter >= 0 {
			last := f.class[out[len(out)-1]]
			if adjacent := starter == len(out)-1; adjacent || last != 0 && last < class {
				if c, ok := f.pair(out[starter], r); ok {
					out[starter] = c
					continue
				}
			}
		}
		if class == 0 {
			starter = len(out)
		}
		out = append(out, r)
	}
	return out
}

func (f *Form) pair(a, b rune) (rune, bool) {
	if l, v := a-hangulL, b-hangulV; l >= 0 && l < hangulLs && v >= 0 && v < hangulVs {
		return hangulS + (l*hangulVs+v)*hangulTs, true
	}
	if s, t := a-hangulS, b-hangulT; s >= 0 && s < hangulSs && s%hangulTs == 0 && t > 0 && t < hangulTs {
		return a + t, true
	}
	c, ok := f.composed[[2]rune{a, b}]
	return c, ok
}
