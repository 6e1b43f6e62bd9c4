package auth

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type signInKey struct{}

// SignInPage is a middleware around [Require]: a browser that opens a
// page and would get 401 is redirected (303) to the sign-in page at the URL
// instead, with the page it wanted in the query parameter return_to, a local
// path, and for [Fresh] the seconds in max_age. Everything else gets the answer
// of [Refuse] as ever: a request is a browser's when it is GET or HEAD, carries
// no Authorization header, its Accept prefers text/html, and its
// Sec-Fetch-Mode, if there is one, is navigate.
//
// The page must check return_to again before it redirects there: anybody can
// make a link to the sign-in page. It panics when page is neither a local
// absolute path nor an http or https URL.
func SignInPage(page string) func(http.Handler) http.Handler {
	u, err := url.Parse(page)
	local := err == nil && u.Scheme == "" && u.Host == "" && localPath(page)
	absolute := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
	if !local && !absolute {
		panic("auth: SignInPage: wants a local absolute path such as /signin, or an http or https URL")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), signInKey{}, *u)))
		})
	}
}

// redirectToSignIn answers with a redirect when a page is configured and the
// request is a browser's that opens a page.
func redirectToSignIn(w http.ResponseWriter, r *http.Request, e Error) bool {
	page, ok := r.Context().Value(signInKey{}).(url.URL)
	if !ok {
		return false
	}
	w.Header().Add("Vary", "Accept")
	if !opensPage(r) {
		return false
	}
	back := r.URL.RequestURI()
	if !localPath(back) {
		back = "/"
	}
	q := page.Query()
	q.Set("return_to", back)
	if e.maxAge > 0 {
		q.Set("max_age", strconv.FormatInt(int64(e.maxAge/time.Second), 10))
	}
	page.RawQuery = q.Encode()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", page.String())
	w.WriteHeader(http.StatusSeeOther)
	return true
}

func opensPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Authorization") != "" {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	html := quality(r, "text/html")
	return html > 0 && html >= quality(r, "application/json")
}

// quality is the weight that Accept names for a media type, RFC 9110 section
// 12.5.1; ranges with a * don't count, because everything sends them.
func quality(r *http.Request, media string) float64 {
	best := 0.0
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), media) {
			continue
		}
		q := 1.0
		for param := range strings.SplitSeq(params, ";") {
			if k, v, ok := strings.Cut(strings.TrimSpace(param), "="); ok && strings.EqualFold(k, "q") {
				var err error
				if q, err = strconv.ParseFloat(v, 64); err != nil || !(q >= 0 && q <= 1) {
					q = 0
				}
			}
		}
		best = max(best, q)
	}
	return best
}

// localPath reports whether no browser takes s for another origin.
func localPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") &&
		!strings.ContainsFunc(s, func(c rune) bool { return c == '\\' || c < ' ' || c == 0x7f })
}
