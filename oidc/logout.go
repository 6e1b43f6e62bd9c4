package oidc

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatewire/gatewire/internal/seal"
)

const (
	hintPurpose = "oidc id token hint"
	// maxHintCookie bounds name and value: browsers drop a cookie beyond 4096
	// bytes. An ID token of up to 2.9 KB fits.
	maxHintCookie = 4000
	// logoutPatience is how long a user who signs out waits for the provider's metadata.
	logoutPatience = 5 * time.Second
)

var errOrigin = errors.New("oidc: the sign-out comes from another origin")

// sameOrigin is the default of Options.CheckOrigin.
func (l *Login) sameOrigin(r *http.Request) error {
	if origins := r.Header["Origin"]; len(origins) > 1 || len(origins) == 1 && origins[0] != l.origin {
		return errOrigin // also one that equals Host, which is not from configuration
	}
	check := http.NewCrossOriginProtection()
	if err := check.AddTrustedOrigin(l.origin); err != nil {
		return err
	}
	return check.Check(r)
}

// serveLogout signs out here first, and then sends the browser to the provider
// to sign out there too (OpenID Connect RP-Initiated Logout 1.0).
func (l *Login) serveLogout(w http.ResponseWriter, r *http.Request) {
	privateHeaders(w)
	if err := l.checkOrigin(r); err != nil {
		l.failPage(w, r, "Sign-out failed", "", &failure{status: http.StatusForbidden, message: messageForeign, reason: err})
		return
	}
	hint := l.hints.read(r)
	if l.signedIn != nil && !l.tokenOf(hint, r) {
		hint = ""
	}
	if err := l.signOut(w, r); err != nil {
		l.failPage(w, r, "Sign-out failed", "", &failure{status: http.StatusServiceUnavailable, message: messageSignedIn, reason: err, retryAfter: 5 * time.Second})
		return
	}
	l.hints.forget(w)
	w.Header().Set("Location", l.logoutTarget(r, hint))
	w.WriteHeader(http.StatusSeeOther)
}

// tokenOf reports whether an ID token, which was verified when it was sealed, is
// that of whom the request is signed in as.
func (l *Login) tokenOf(raw string, r *http.Request) bool {
	issuer, subject := l.signedIn(r)
	parts := strings.Split(raw, ".")
	if subject == "" || issuer != l.provider.Issuer || len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	c, err := parseObject(payload)
	if err != nil {
		return false
	}
	sub, ok := c.text("sub")
	return ok && sub == subject
}

// logoutTarget is the provider's page, or ours when the provider has none or
// can't be asked: the user is signed out here, whatever becomes of the rest.
func (l *Login) logoutTarget(r *http.Request, hint string) string {
	ctx, cancel := context.WithTimeout(r.Context(), logoutPatience)
	defer cancel()
	meta, _, err := l.metadata.get(ctx)
	if err == nil {
		err = meta.endSessionErr
	}
	if err != nil {
		l.log.WarnContext(r.Context(), "oidc: signed out here, but not at the provider", "reason", err.Error())
		return l.LoggedOutURL()
	}
	if meta.endSession == nil {
		return l.LoggedOutURL()
	}
	to := *meta.endSession
	query := to.Query()
	query.Set("client_id", l.provider.ClientID)
	query.Set("post_logout_redirect_uri", l.LoggedOutURL())
	query.Set("state", rand.Text()) // the page it comes back to takes any
	if hint != "" {
		query.Set("id_token_hint", hint)
	}
	to.RawQuery = query.Encode()
	return to.String()
}

// hints keep the ID token of a sign-in until the sign-out, sealed in a cookie
// that the browser sends to the logout page alone. No server needs to remember
// it, and no other request gets larger.
type hints struct {
	keys    seal.Keys
	secure  bool
	path    string
	binding string
}

func (h *hints) name() string {
	if h.secure {
		return "__Secure-oidc-hint" // __Host- would be sent with every request
	}
	return "oidc-hint"
}

// put sets the cookie, or deletes the one of a sign-in before when this token
// is too large for one. undo takes it back.
func (h *hints) put(w http.ResponseWriter, raw IDToken) (undo func(), err error) {
	sealed, err := h.keys.Seal(hintPurpose, []byte(raw), []byte(h.binding))
	if err != nil {
		return nil, err
	}
	c := h.cookie(base64.RawURLEncoding.EncodeToString(sealed))
	if len(c.Name)+len(c.Value) > maxHintCookie {
		c.Value, c.MaxAge = "", -1
	}
	line := c.String()
	w.Header().Add("Set-Cookie", line)
	return func() {
		w.Header()["Set-Cookie"] = slices.DeleteFunc(w.Header()["Set-Cookie"], func(s string) bool { return s == line })
	}, nil
}

// read returns the hint, empty when there is none.
func (h *hints) read(r *http.Request) string {
	cookies := r.CookiesNamed(h.name())
	if len(cookies) != 1 { // a second one was planted: the order tells nothing
		return ""
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cookies[0].Value)
	if err != nil {
		return ""
	}
	raw, err := h.keys.Open(hintPurpose, sealed, []byte(h.binding))
	if err != nil {
		return ""
	}
	return string(raw)
}

func (h *hints) forget(w http.ResponseWriter) {
	c := h.cookie("")
	c.MaxAge = -1
	if !slices.Contains(w.Header()["Set-Cookie"], c.String()) { // the host's SignOut may have
		http.SetCookie(w, c)
	}
}

func (h *hints) cookie(value string) *http.Cookie {
	return &http.Cookie{Name: h.name(), Value: value, Path: h.path, Secure: h.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// ForgetHint deletes the cookie that keeps the ID token for a sign-out at the
// provider. Call it where a user signs out by another way than this login's
// logout page. Without Options.SignOut it does nothing.
func (l *Login) ForgetHint(w http.ResponseWriter) {
	if l.signOut != nil {
		l.hints.forget(w)
	}
}

// LogoutURL is the page to post a form to, to sign out here and at the provider.
func (l *Login) LogoutURL() string { return l.base + "/logout" }

// LoggedOutURL is the page that the provider sends users back to, to register
// there as a post-logout redirect URI.
func (l *Login) LoggedOutURL() string { return l.base + "/logged-out" }

// BackchannelURL is where the provider's server posts logout tokens, to
// register there.
func (l *Login) BackchannelURL() string { return l.base + "/backchannel" }

// EndSessionEndpoint returns the provider's page for signing out there, nil when
// it has none. It asks the provider unless that is known, as [Login.Ready] does.
func (l *Login) EndSessionEndpoint(ctx context.Context) (*url.URL, error) {
	meta, _, err := l.metadata.get(ctx)
	switch {
	case err != nil:
		return nil, err
	case meta.endSession == nil:
		return nil, meta.endSessionErr
	}
	u := *meta.endSession
	return &u, nil
}
