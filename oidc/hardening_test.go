package oidc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

// Whatever return path is accepted fits into a cookie that browsers keep, and
// comes back as it was.
func TestO7_EveryReturnPathSurvivesTheFlow(t *testing.T) {
	for _, c := range []string{"x", "&", "<", `"`, "'", "ä", "\u2028", "%2B", "=", "#"} {
		path := "/?q=" + strings.Repeat(c, 2000/len(c))
		require.Equal(t, path, oidc.ReturnPath(path))
		w := newWorld(t, setup{})
		b := w.browser()
		to := b.begin(path)
		cookie := b.cookies()[0]
		require.LessOrEqual(t, len(cookie.Name)+len(cookie.Value), 4096, "%q", c)
		p, _ := b.hop(b.authorize(to).String())
		want := strings.NewReplacer("ä", "%C3%A4", "\u2028", "%E2%80%A8").Replace(path)
		require.Equal(t, want, p.header.Get("Location"), "%q", c)
	}
}

func TestO7_FragmentsStayFragments(t *testing.T) {
	for path, want := range map[string]string{
		"/#/a//b": "/#/a//b", "/x#a/../b": "/x#a/../b", "/x#/../..//evil.example": "/x#/../..//evil.example", "/#https://other.example": "/#https://other.example",
		"/ä b?ü": "/%C3%A4%20b?%C3%BC",
	} {
		w := newWorld(t, setup{})
		b := w.browser()
		p, _ := b.hop(b.authorize(b.begin(path)).String())
		require.Equal(t, want, p.header.Get("Location"))
	}
}

func TestO8_OddBaseURLs(t *testing.T) {
	p := oidc.Generic("https://op.example", "app", "")
	for _, bad := range []string{
		"https://app.example//", "https://app.example///", "https://bücher.example/a", "https://app.example:/a", "https://*.example", `https://a"b/`, "https://a;b/x", "https://a,b/x",
	} {
		_, err := oidc.NewLogin(p, nobody, oidc.BaseURL(bad), nil)
		require.ErrorContains(t, err, "base URL", bad)
	}
	_, err := oidc.NewLogin(p, nobody, "https://xn--bcher-kva.example/a", nil)
	require.NoError(t, err)
}

// A newline after an id or secret read from a file, and Google's rules for
// another issuer, are mistakes that would otherwise show late.
func TestO14_ProviderMistakes(t *testing.T) {
	elsewhere := oidc.Google("id", "0123456789abcdef")
	elsewhere.Issuer = "https://other.example"
	hosted := oidc.Google("id", "0123456789abcdef")
	hosted.HostedDomain = "@example.com"
	domains := oidc.Generic("https://op.example", "id", "")
	domains.EmailDomains = []string{"bücher.example"} // could never match: mail has it as xn--…
	for want, p := range map[string]*oidc.Provider{
		"client ID: has blanks":     oidc.Google("id\n", "0123456789abcdef"),
		"client secret: has blanks": oidc.Google("id", "0123456789abcdef\n"),
		"use oidc.Generic":          elsewhere,
		"hosted domain":             hosted,
		"email domain":              domains,
	} {
		_, err := oidc.NewLogin(p, nobody, "https://app.example", nil)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "0123456789abcdef")
	}
}

// Letters whose lower case is an ASCII letter don't make somebody else's domain.
func TestO14_LettersThatFoldIntoOthers(t *testing.T) {
	google := setup{issuer: googleIssuer, op: oidctest.Options{TokenAuth: "client_secret_post"}}
	google.op.Users = []oidctest.User{{Subject: "1", Email: "victim@gma\u0130l.com", Name: "A"}}
	w := newWorld(t, google)
	require.Equal(t, 200, w.browser().signIn("/").status)
	require.True(t, w.signedIn()[0].EmailVerified)
	require.False(t, w.signedIn()[0].EmailAuthoritative)

	w = newWorld(t, setup{
		op:     oidctest.Options{Users: []oidctest.User{{Email: "root@\u212Aernel.example", Name: "A"}}},
		change: func(p *oidc.Provider) { p.EmailDomains = []string{"kernel.example"} },
	})
	require.Equal(t, 200, w.browser().signIn("/").status)
	require.False(t, w.signedIn()[0].EmailAuthoritative)

	google.op.Users[0].Claims = map[string]any{"hd": "\u212Aernel.example"}
	google.change = func(p *oidc.Provider) { p.HostedDomain = "kernel.example" }
	require.Equal(t, 403, newWorld(t, google).browser().signIn("/").status)
}

func TestO14_ConsentOnce(t *testing.T) {
	for prompt, want := range map[string]string{"": "consent", "select_account": "consent select_account", "consent": "consent", "select_account consent": "select_account consent"} {
		w := newWorld(t, setup{issuer: googleIssuer, change: func(p *oidc.Provider) { p.Offline, p.Prompt = true, prompt }})
		require.Equal(t, want, w.browser().begin("/").Query().Get("prompt"))
	}
}

func TestO14_GoogleTellsTheTimeWhenAsked(t *testing.T) {
	maxAge := func(p *oidc.Provider) { p.MaxAge = time.Hour }
	q := newWorld(t, setup{issuer: googleIssuer, change: maxAge}).browser().begin("/").Query()
	require.JSONEq(t, `{"id_token":{"auth_time":{"essential":true}}}`, q.Get("claims"))
	require.False(t, newWorld(t, setup{change: maxAge}).browser().begin("/").Query().Has("claims"))
	require.False(t, newWorld(t, setup{issuer: googleIssuer}).browser().begin("/").Query().Has("claims"))
}

// A proof of the future would stay fresh for long.
func TestO3_AuthTimeOfTheFuture(t *testing.T) {
	now := time.Now().Unix()
	for at, status := range map[int64]int{now + 30: 200, now + 90: 403, 1 << 50: 200} {
		w := newWorld(t, setup{op: userWith(map[string]any{"auth_time": at})})
		require.Equal(t, status, w.browser().signIn("/").status, at)
		for _, p := range w.signedIn() {
			require.Less(t, p.AuthTime.Year(), 10000, "no time at all")
			_, err := json.Marshal(p)
			require.NoError(t, err)
		}
	}
}

// One failed fetch after a rotation must not make half a minute of refusals:
// nothing is known of those tokens.
func TestO2_KeysDownWhileRotating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		require.Equal(t, 200, w.browser().signIn("/").status)
		w.op.Rotate()
		w.op.Inject(oidctest.Down(oidctest.Keys))
		asked := w.op.Asked(oidctest.Keys)
		for range 20 {
			require.Equal(t, 503, w.browser().signIn("/").status, "could not tell")
		}
		require.Equal(t, asked+1, w.op.Asked(oidctest.Keys), "with a pause")
		w.op.Clear()
		time.Sleep(2 * time.Second)
		require.Equal(t, 200, w.browser().signIn("/").status)
	})
}

func TestO11_GivingUpIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		w.op.Inject(oidctest.Hangs(oidctest.Keys))
		b := w.browser()
		callback := b.authorize(b.begin("/"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, callback.String(), nil)
		r.AddCookie(b.cookies()[0])
		rec := httptest.NewRecorder()
		w.login.ServeHTTP(rec, r)
		require.Equal(t, 504, rec.Code, w.logged())
		time.Sleep(time.Minute) // the fetch ends by itself
	})
}

func TestO11_RetryAfterOfTheLoginFunc(t *testing.T) {
	w := newWorld(t, setup{})
	w.then = func(http.ResponseWriter, *http.Request, oidc.Profile) error { return told{503} }
	got := w.browser().signIn("/")
	require.Equal(t, 503, got.status)
	require.NotEmpty(t, got.header.Get("Retry-After"))
}

func TestO4_KeysAreNotPrinted(t *testing.T) {
	w := newWorld(t, setup{})
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		printed := fmt.Sprintf(verb, w.login) + fmt.Sprintf(verb, struct{ l *oidc.Login }{w.login}) + fmt.Sprintf(verb, *w.login)
		require.NotContains(t, printed, "default", "the key's id stands beside the key")
		require.NotContains(t, printed, "secret:")
	}
}
