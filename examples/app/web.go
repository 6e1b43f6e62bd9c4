package main

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/internal/origin"
)

//go:embed web
var webFS embed.FS

// csp allows this origin's own files alone, and the page in no frame.
const csp = "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"

// page serves the embedded page: index.html at the root, the rest below /web/.
// formsStay keeps its forms on this origin; browsers apply that to the redirects
// that follow too, and signing out leads to the provider.
func page(formsStay bool) http.Handler {
	policy := csp
	if formsStay {
		policy += "; form-action 'self'"
	}
	web, err := fs.Sub(webFS, "web")
	if err != nil {
		panic(err) // unreachable: the folder is embedded above
	}
	files := http.StripPrefix("/web", http.FileServerFS(web))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "same-origin") // with no-referrer a form's Origin is null, and refused
		w.Header().Set("Cache-Control", "no-cache")
		if r.URL.Path == "/" {
			http.ServeFileFS(w, r, web, "index.html")
			return
		}
		files.ServeHTTP(w, r)
	})
}

// button is a sign-in button of the page.
type button struct {
	Name  string `json:"name"`
	Label string `json:"label"`
}

// pageConfig tells the page what this app is configured for, and whether
// somebody is signed in, so that it needn't find out by a 401.
func pageConfig(providers []button, service *accounts.Service, users accounts.Store) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := service.Authenticate(r)
		if err != nil && auth.ErrorCode(err) == auth.CodeUnavailable {
			auth.Refuse(w, r, err)
			return
		}
		signedIn, hasPassword := err == nil, false
		var provider *button // at which one can sign out too
		if signedIn {
			user, _, err := users.UserByID(r.Context(), who.UserID())
			if err != nil {
				auth.Refuse(w, r, err)
				return
			}
			hasPassword = user.Password != ""
			name, canSignOut, err := service.SignedInWith(r.Context(), who.SessionID())
			if err != nil {
				auth.Refuse(w, r, err)
				return
			}
			if i := slices.IndexFunc(providers, func(b button) bool { return b.Name == name }); canSignOut && i >= 0 {
				provider = &providers[i]
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(map[string]any{"providers": providers, "signed_in": signedIn, "has_password": hasPassword, "provider_sign_out": provider})
	}
}

// hardened sets what every response should carry.
func hardened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// oneLoopbackName sends a page opened under another name of this machine
// (localhost for 127.0.0.1) to the configured one: cookies and the Origin
// check know only that.
func oneLoopbackName(baseURL string, next http.Handler) http.Handler {
	base, err := url.Parse(baseURL)
	if err != nil || !origin.Loopback(base.Hostname()) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.Trim(host, "[]")
		navigates := r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
		if navigates && !strings.EqualFold(r.Host, base.Host) && origin.Loopback(host) {
			to := url.URL{Scheme: base.Scheme, Host: base.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
			http.Redirect(w, r, to.String(), http.StatusTemporaryRedirect)
			return
		}
		next.ServeHTTP(w, r)
	})
}
