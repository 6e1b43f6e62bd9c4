package accounts

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gatewire/gatewire/auth"
)

// maxBody bounds the body of a request in bytes.
const maxBody = 64 << 10

// requestError is a request that can't be read.
type requestError struct{ problem auth.Problem }

func (e *requestError) Error() string {
	return "accounts: " + e.problem.Title + ": " + e.problem.Detail
}

func malformed(status int, detail string) error {
	return &requestError{auth.Problem{Type: "malformed-request", Title: "The request can't be read", Status: status, Detail: detail}}
}

// readBody reads a body of the given media type.
func readBody(w http.ResponseWriter, r *http.Request, media string) ([]byte, error) {
	if got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || got != media {
		return nil, malformed(http.StatusUnsupportedMediaType, "the Content-Type must be "+media)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, malformed(http.StatusRequestEntityTooLarge, "the body is larger than 64 KiB")
	case err != nil:
		return nil, malformed(http.StatusBadRequest, "the body ended early")
	case !utf8.Valid(body):
		return nil, malformed(http.StatusBadRequest, "the body is not UTF-8")
	}
	return body, nil
}

// readJSON reads the one JSON object of a body. Members are strings; their names
// are compared exactly. Required ones come first, those ending in "?" may be
// missing. See parseObject.
func readJSON(w http.ResponseWriter, r *http.Request, members ...string) (map[string]string, error) {
	body, err := readBody(w, r, "application/json")
	if err != nil {
		return nil, err
	}
	return parseObject(body, members...)
}

// parseObject is as strict as can be, so that nothing behind it or before it can
// read another thing: one object, no member twice or unknown, no value but
// strings, nothing after it. encoding/json into a struct takes all of these, and
// names in any case.
func parseObject(body []byte, members ...string) (map[string]string, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, malformed(http.StatusBadRequest, "the body must be a JSON object")
	}
	got := make(map[string]string, len(members))
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, malformed(http.StatusBadRequest, "the body is not JSON")
		}
		if !slices.Contains(members, name) && !slices.Contains(members, name+"?") || strings.HasSuffix(name, "?") {
			return nil, malformed(http.StatusBadRequest, "the body has a member that is not known here")
		}
		if _, twice := got[name]; twice {
			return nil, malformed(http.StatusBadRequest, "the body has a member twice: "+name)
		}
		t, err = dec.Token()
		if err != nil {
			return nil, malformed(http.StatusBadRequest, "the body is not JSON")
		}
		value, ok := t.(string)
		if !ok {
			return nil, malformed(http.StatusBadRequest, name+" must be a string")
		}
		// The decoder writes U+FFFD for half of a surrogate pair: two values
		// that differ would read the same.
		if strings.ContainsAny(value, "\x00\ufffd") {
			return nil, malformed(http.StatusBadRequest, name+" has a NUL or a character that is none")
		}
		got[name] = value
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, malformed(http.StatusBadRequest, "the body is not JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed(http.StatusBadRequest, "the body has something after the JSON object")
	}
	for _, name := range members {
		if _, ok := got[name]; !ok && !strings.HasSuffix(name, "?") {
			return nil, malformed(http.StatusBadRequest, name+" is missing")
		}
	}
	return got, nil
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
	return nil
}
