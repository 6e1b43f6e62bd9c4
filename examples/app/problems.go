package main

import (
	"net/http"
	"strings"

	"github.com/gatewire/gatewire/auth"
)

// withProblems serves mux, whose own 404 and 405 below /auth/ are answered as
// problems (RFC 9457), like every error there.
func withProblems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/auth/") {
			if _, pattern := mux.Handler(r); pattern == "" {
				w = &problemWriter{ResponseWriter: w}
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// problemWriter writes a problem in place of the text of an error.
type problemWriter struct{ http.ResponseWriter }

func (w *problemWriter) WriteHeader(status int) {
	p := auth.Problem{Type: "not-found", Title: "There is nothing here", Status: status}
	if status == http.StatusMethodNotAllowed {
		p.Type, p.Title = "method-not-allowed", "This can't be done with this method; Allow lists those that can"
	}
	p.Write(w.ResponseWriter)
}

func (w *problemWriter) Write(b []byte) (int, error) { return len(b), nil }
