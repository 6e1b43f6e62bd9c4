package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// claims are the members of a JSON object by their exact names, which
// encoding/json alone would match in any case.
type claims map[string]json.RawMessage

// parseObject reads one JSON object without duplicate members or trailing bytes.
func parseObject(data []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	c := claims{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("not a JSON object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("not a JSON object")
		}
		if _, twice := c[name]; twice {
			return nil, fmt.Errorf("member %.40q appears twice", name)
		}
		c[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("not a JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("bytes after the JSON object")
	}
	return c, nil
}

// text returns a claim that is a JSON string.
func (c claims) text(name string) (string, bool) {
	raw := c[name]
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// isTrue is for the JSON value true alone: "true" and 1 are not.
func (c claims) isTrue(name string) bool { return string(c[name]) == "true" }

func (c claims) audience() ([]string, error) {
	if s, ok := c.text("aud"); ok {
		return []string{s}, nil
	}
	var aud []string
	if err := json.Unmarshal(c["aud"], &aud); err != nil || len(aud) == 0 {
		return nil, errors.New("aud is neither a string nor an array of strings")
	}
	return aud, nil
}

const maxTime = 253402300799 // the last second of the year 9999, beyond which RFC 3339 can't write

// time reads a NumericDate (RFC 7519 section 2).
func (c claims) time(name string) (time.Time, error) {
	raw, ok := c[name]
	if !ok {
		return time.Time{}, fmt.Errorf("no %s", name)
	}
	var f float64
	if raw[0] == 'n' || json.Unmarshal(raw, &f) != nil || f < 1 || f > maxTime {
		return time.Time{}, fmt.Errorf("%s is not a point in time", name)
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

func isUnsafeControl(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' }
