package session

import (
	"net/http"
	"strings"
	"time"
)

// setCookie puts the session cookie into h, in place of any of that name that
// is there already.
func (m *Manager[D]) setCookie(h http.Header, value string, expires time.Time) {
	c := m.cookie(value)
	if m.config.shape.Persistent {
		c.MaxAge = max(int(time.Until(expires)/time.Second), 1)
	}
	m.putCookie(h, c)
}

// ClearCookie tells the browser to forget the session cookie. It does not end
// the session; Logout does both. Most programs don't need it.
func (m *Manager[D]) ClearCookie(w http.ResponseWriter) {
	m.clearCookie(w.Header())
	protect(w.Header(), true)
}

// clearCookie repeats name, path, domain and Secure: browsers ignore a
// deletion that doesn't match (RFC 6265 section 5.3), or that is not Secure
// for a "__Host-" name.
func (m *Manager[D]) clearCookie(h http.Header) {
	c := m.cookie("")
	c.MaxAge = -1
	m.putCookie(h, c)
}

func (m *Manager[D]) cookie(value string) *http.Cookie {
	shape := m.config.shape
	return &http.Cookie{
		Name: shape.Name, Value: value, Path: shape.Path, Domain: shape.Domain,
		Secure: !shape.Insecure, HttpOnly: true, SameSite: shape.SameSite,
	}
}

func (m *Manager[D]) putCookie(h http.Header, c *http.Cookie) {
	var others []string
	for _, line := range h["Set-Cookie"] {
		if !strings.HasPrefix(line, c.Name+"=") {
			others = append(others, line)
		}
	}
	h["Set-Cookie"] = append(others, c.String())
}

// writeHeaders adds what the visit has come to.
func (v *visit[D]) writeHeaders(h http.Header) {
	switch {
	case v.token != "":
		v.m.setCookie(h, v.token, v.rec.Expires)
	case v.clear:
		v.m.clearCookie(h)
	}
	protect(h, v.token != "" || v.clear)
}

// writeFailure adds what an error response needs: a sign-out deletes the
// cookie also when the store is down.
func (v *visit[D]) writeFailure(h http.Header) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.clear {
		v.m.clearCookie(h)
	}
	protect(h, true)
}
