package auth

import (
	"encoding/json"
	"net/http"
)

// Problem is an error answer, RFC 9457.
type Problem struct {
	// Type names the kind of problem and never changes: a relative URI
	// reference such as "invalid-token".
	Type string `json:"type"`
	// Title is one line for people, the same for every problem of a Type.
	Title string `json:"title"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Detail says more about this occurrence.
	Detail string `json:"detail,omitempty"`
	// Reason is a word for programs, where a Type has several.
	Reason string `json:"reason,omitempty"`
}

// Write answers with the problem. Headers set on w before are kept.
func (p Problem) Write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil { // cannot be: the fields are strings and a number
		http.Error(w, http.StatusText(p.Status), p.Status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the client may be gone
}
