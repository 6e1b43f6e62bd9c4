package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/auth/authtest"
)

var errStore = errors.New("connection refused to 10.0.0.7:5432")

// ok tells who got through.
var ok = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	who, found := auth.From(r.Context())
	fmt.Fprintf(w, "%q %v", who.UserID(), found)
})

func get(h http.Handler, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/orders?page=2", nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func down() auth.Authenticator {
	return auth.AuthenticatorFunc(func(*http.Request) (auth.Identity, error) { return auth.Identity{}, errStore })
}

func TestRequireRefusals(t *testing.T) {
	alice := authtest.Caller{User: "alice", Scopes: []string{"read"}, Roles: []string{"user"}}
	as := authtest.As(alice)
	deny := auth.RuleFunc(func(*http.Request, auth.Identity) error { return auth.ErrDenied })
	broken := auth.RuleFunc(func(*http.Request, auth.Identity) error { return errStore })
	allow := auth.RuleFunc(func(*http.Request, auth.Identity) error { return nil })
	stale := authtest.As(authtest.Caller{SignedIn: time.Now().Add(-time.Hour)})
	nobody := auth.AuthenticatorFunc(func(*http.Request) (auth.Identity, error) { return auth.Identity{}, nil })
	stepUp := `Bearer error="insufficient_user_authentication", error_description="A more recent authentication is required", max_age="300"`
	for name, c := range map[string]struct {
		a         auth.Authenticator
		rule      auth.Rule
		status    int
		challenge string
		problem   string
	}{
		"signed in":                 {as, auth.All(), 200, "", ""},
		"no credentials":            {authtest.Anonymous(), auth.All(), 401, "Bearer", "unauthenticated"},
		"refused":                   {authtest.Refused("invalid_token"), auth.All(), 401, `Bearer error="invalid_token"`, "invalid-token"},
		"malformed":                 {authtest.Refused("invalid_request"), auth.All(), 400, `Bearer error="invalid_request"`, "invalid-credentials"},
		"a code nobody knows":       {authtest.Refused(`x", a="`), auth.All(), 401, `Bearer error="invalid_token"`, "invalid-token"},
		"an empty code":             {authtest.Refused(""), auth.All(), 503, "", "unavailable"},
		"unavailable":               {authtest.Down(), auth.All(), 503, "", "unavailable"},
		"store down, untyped error": {down(), auth.All(), 503, "", "unavailable"},
		"nobody without an error":   {nobody, auth.All(), 401, `Bearer error="invalid_token"`, "invalid-token"},
		"scope held":                {as, auth.Scope("read"), 200, "", ""},
		"scope missing":             {as, auth.Scope("read", "write"), 403, `Bearer error="insufficient_scope", scope="read write"`, "insufficient-scope"},
		"role held":                 {as, auth.Role("user"), 200, "", ""},
		"role missing":              {as, auth.Role("user", "admin"), 403, "", "forbidden"},
		"fresh":                     {as, auth.Fresh(5 * time.Minute), 200, "", ""},
		"stale":                     {stale, auth.Fresh(5 * time.Minute), 401, stepUp, "step-up-required"},
		"host's rule denies":        {as, deny, 403, "", "forbidden"},
		"host's rule can't tell":    {as, broken, 503, "", "unavailable"},
		"all, one denies":           {as, auth.All(allow, deny), 403, "", "forbidden"},
		"any, one allows":           {as, auth.Any(deny, broken, allow), 200, "", ""},
		"any, one can't tell":       {as, auth.Any(deny, broken), 503, "", "unavailable"},
		"any, all deny":             {as, auth.Any(auth.Scope("write"), deny), 403, `Bearer error="insufficient_scope", scope="write"`, "insufficient-scope"},
	} {
		t.Run(name, func(t *testing.T) {
			w := get(auth.Require(c.a, c.rule)(ok))
			require.Equal(t, c.status, w.Code, w.Body)
			require.Equal(t, c.challenge, w.Header().Get("WWW-Authenticate"))
			require.NotContains(t, w.Body.String(), "10.0.0.7")
			if c.problem == "" {
				return
			}
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			var p auth.Problem
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
			require.Equal(t, c.problem, p.Type)
			require.Equal(t, c.status, p.Status)
			if c.status == 503 {
				require.NotEmpty(t, w.Header().Get("Retry-After"))
			}
		})
	}
}

func TestLoad(t *testing.T) {
	alice := authtest.As(authtest.Caller{User: "alice"})
	require.Equal(t, `"alice" true`, get(auth.Load(alice)(ok)).Body.String())
	require.Equal(t, `"" false`, get(auth.Load(authtest.Anonymous())(ok)).Body.String())
	require.Equal(t, `"" false`, get(auth.Load(authtest.Refused("invalid_token"))(ok)).Body.String(), "who brings an old cookie can still reach the sign-in page")
	require.Equal(t, `"" false`, get(auth.Load(alice)(auth.Load(authtest.Refused("invalid_token"))(ok))).Body.String())
	require.Equal(t, 503, get(auth.Load(down())(ok)).Code)
	require.Equal(t, `"" false`, get(auth.Load(alice)(auth.Load(authtest.Anonymous())(ok))).Body.String(), "the inner one decides")
	require.Equal(t, `"" false`, get(ok).Body.String())
}

// A store that is down must not read as "no credentials", whatever it is
// joined or wrapped with.
func TestErrorCode(t *testing.T) {
	_, none := authtest.Anonymous().Authenticate(nil)
	require.Equal(t, auth.CodeNone, auth.ErrorCode(none))
	require.Equal(t, auth.CodeNone, auth.ErrorCode(fmt.Errorf("cookie: %w", none)))
	require.Equal(t, auth.CodeUnavailable, auth.ErrorCode(errors.Join(none, errStore)))
	require.Equal(t, auth.CodeUnavailable, auth.ErrorCode(errors.Join(errStore, none)))
	require.Equal(t, auth.CodeUnavailable, auth.ErrorCode(fmt.Errorf("%w, %w", none, errStore)))
	require.Equal(t, auth.CodeUnavailable, auth.ErrorCode(errStore))
	require.Equal(t, auth.CodeUnavailable, auth.ErrorCode(nil))
	require.ErrorIs(t, fmt.Errorf("x: %w", auth.ErrDenied), auth.ErrDenied)
	require.NotErrorIs(t, none, auth.ErrDenied)
}

func TestOneOf(t *testing.T) {
	now := time.Now()
	alice := authtest.Caller{User: "alice", Session: "s1", Scopes: []string{"a", "b"}, Roles: []string{"x"}, SignedIn: now, Expires: now.Add(time.Hour)}
	less := authtest.Caller{User: "alice", Session: "s1", Scopes: []string{"b", "c"}, Roles: []string{"y"}, SignedIn: now.Add(-time.Hour), Expires: now.Add(time.Minute)}
	other := alice
	other.Session = "s2"
	mallory := alice
	mallory.User = "mallory"
	as := authtest.As
	none, bad := authtest.Anonymous(), authtest.Refused("invalid_token")
	for name, c := range map[string]struct {
		all  []auth.Authenticator
		code string
	}{
		"none":                      {[]auth.Authenticator{none, none}, "none"},
		"first":                     {[]auth.Authenticator{as(alice), none}, ""},
		"second":                    {[]auth.Authenticator{none, as(alice)}, ""},
		"both agree":                {[]auth.Authenticator{as(alice), as(less)}, ""},
		"a bad one besides a good":  {[]auth.Authenticator{as(alice), bad}, "invalid_token"},
		"a bad one before a good":   {[]auth.Authenticator{bad, as(alice)}, "invalid_token"},
		"two users":                 {[]auth.Authenticator{as(alice), as(mallory)}, "invalid_token"},
		"two sessions":              {[]auth.Authenticator{as(alice), as(other)}, "invalid_token"},
		"down besides a good":       {[]auth.Authenticator{as(alice), down()}, "unavailable"},
		"down besides none":         {[]auth.Authenticator{none, down()}, "unavailable"},
		"down and refused":          {[]auth.Authenticator{down(), bad}, "invalid_token"},
		"third disagrees":           {[]auth.Authenticator{as(alice), as(less), as(mallory)}, "invalid_token"},
		"a success without anybody": {[]auth.Authenticator{auth.AuthenticatorFunc(func(*http.Request) (auth.Identity, error) { return auth.Identity{}, nil }), as(alice)}, "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			who, err := auth.OneOf(c.all...).Authenticate(httptest.NewRequest("GET", "/", nil))
			if c.code == "" {
				require.NoError(t, err)
				require.Equal(t, "alice", who.UserID())
				return
			}
			require.Equal(t, c.code, auth.ErrorCode(err))
			require.True(t, who.IsZero())
		})
	}

	for _, order := range [][]auth.Authenticator{{as(alice), as(less)}, {as(less), as(alice)}} {
		who, err := auth.OneOf(order...).Authenticate(nil)
		require.NoError(t, err)
		scopes, roles := who.Grants()
		require.Equal(t, []string{"b"}, scopes)
		require.Empty(t, roles)
		require.Equal(t, less.SignedIn, who.AuthTime())
		require.Equal(t, less.Expires, who.ExpiresAt())
	}
}

type key struct{ user string }

func (k key) UserID() string               { return k.user }
func (k key) SessionID() string            { return "" }
func (k key) AuthTime() time.Time          { return time.Time{} }
func (k key) ExpiresAt() time.Time         { return time.Time{} }
func (k key) Grants() (scopes, r []string) { return []string{"read"}, nil }

func TestViaAnyType(t *testing.T) {
	via := func(user string) auth.Authenticator {
		return auth.Via(func(*http.Request) (key, error) { return key{user}, nil })
	}
	require.Equal(t, 200, get(auth.Require(via("robot"), auth.Scope("read"))(ok)).Code)
	require.Equal(t, 401, get(auth.Require(via("robot"), auth.Fresh(time.Hour))(ok)).Code, "unknown is not fresh")
	require.Equal(t, 401, get(auth.Require(via(""))(ok)).Code)

	// An end that is never, merged with one that is.
	ends := authtest.Caller{User: "robot", Session: "", Expires: time.Now().Add(time.Hour)}
	both := auth.OneOf(via("robot"), auth.Via(func(*http.Request) (auth.Identity, error) {
		return auth.NewIdentity(sessionless{ends.Identity()}), nil
	}))
	who, err := both.Authenticate(nil)
	require.NoError(t, err)
	require.Equal(t, ends.Expires, who.ExpiresAt())
	require.True(t, who.AuthTime().IsZero())
}

type sessionless struct{ auth.Identity }

func (sessionless) SessionID() string { return "" }

func TestFreshByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := auth.Require(authtest.As(authtest.Caller{SignedIn: time.Now()}), auth.Fresh(time.Minute))(ok)
		time.Sleep(time.Minute)
		require.Equal(t, 200, get(h).Code)
		time.Sleep(time.Nanosecond)
		require.Equal(t, 401, get(h).Code)
		ahead := auth.Require(authtest.As(authtest.Caller{SignedIn: time.Now().Add(2 * time.Minute)}), auth.Fresh(time.Minute))(ok)
		require.Equal(t, 401, get(ahead).Code, "a sign-in in the future")
	})
}

func TestCheckInAHandler(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	require.Equal(t, auth.CodeNone, auth.ErrorCode(auth.Check(r, auth.Role("admin"))))
	r = authtest.Request(r, authtest.Caller{Roles: []string{"admin"}})
	require.NoError(t, auth.Check(r))
	require.NoError(t, auth.Check(r, auth.Role("admin")))
	require.ErrorIs(t, auth.Check(r, auth.Role("owner")), auth.ErrDenied)
}

func TestIdentityIsACopy(t *testing.T) {
	scopes := []string{"a"}
	who := authtest.Caller{Scopes: scopes}.Identity()
	scopes[0] = "admin"
	got, _ := who.Grants()
	require.Equal(t, []string{"a"}, got)
	got[0] = "admin"
	require.False(t, who.HasScope("admin"))
	_, found := auth.From(auth.With(context.Background(), auth.Identity{}))
	require.False(t, found)
}

func TestSignInPage(t *testing.T) {
	page := auth.SignInPage("/signin?lang=en")
	anonymous := page(auth.Require(authtest.Anonymous())(ok))
	browser := "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

	w := get(anonymous, "Accept", browser)
	require.Equal(t, 303, w.Code)
	require.Equal(t, "/signin?lang=en&return_to=%2Forders%3Fpage%3D2", w.Header().Get("Location"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "Accept", w.Header().Get("Vary"))

	stale := page(auth.Require(authtest.As(authtest.Caller{SignedIn: time.Now().Add(-time.Hour)}), auth.Fresh(time.Minute))(ok))
	require.Contains(t, get(stale, "Accept", browser).Header().Get("Location"), "max_age=60")

	for name, header := range map[string][]string{
		"no Accept":          {},
		"anything":           {"Accept", "*/*"},
		"JSON":               {"Accept", "application/json"},
		"JSON first":         {"Accept", "application/json, text/html;q=0.5"},
		"not html":           {"Accept", "text/html;q=0"},
		"broken weight":      {"Accept", "text/html;q=x"},
		"fetch":              {"Accept", browser, "Sec-Fetch-Mode", "cors"},
		"with Authorization": {"Accept", browser, "Authorization", "Bearer x"},
	} {
		w := get(anonymous, header...)
		require.Equal(t, 401, w.Code, name)
		require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"), name)
	}
	require.Equal(t, 303, get(anonymous, "Accept", browser, "Sec-Fetch-Mode", "navigate").Code)
	require.Equal(t, 503, get(page(auth.Require(down())(ok)), "Accept", browser).Code)
	require.Equal(t, 403, get(page(auth.Require(authtest.As(authtest.Caller{}), auth.Role("x"))(ok)), "Accept", browser).Code)
	require.Equal(t, 401, get(auth.Require(authtest.Anonymous())(ok), "Accept", browser).Code, "not configured")

	post := httptest.NewRequest("POST", "/orders", nil)
	post.Header.Set("Accept", browser)
	w = httptest.NewRecorder()
	anonymous.ServeHTTP(w, post)
	require.Equal(t, 401, w.Code)

	evil := httptest.NewRequest("GET", "/", nil)
	evil.URL.Path = "//evil.example/x"
	evil.Header.Set("Accept", browser)
	w = httptest.NewRecorder()
	anonymous.ServeHTTP(w, evil)
	require.Equal(t, "/signin?lang=en&return_to=%2F", w.Header().Get("Location"))
}

func TestWiringMistakesPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"Via":             func() { auth.Via[key](nil) },
		"OneOf":           func() { auth.OneOf() },
		"OneOf nil":       func() { auth.OneOf(authtest.Anonymous(), nil) },
		"Load":            func() { auth.Load(nil) },
		"Require":         func() { auth.Require(nil) },
		"Require nil":     func() { auth.Require(authtest.Anonymous(), nil) },
		"Scope":           func() { auth.Scope() },
		"Scope empty":     func() { auth.Scope("") },
		"Scope quote":     func() { auth.Scope(`a"b`) },
		"Scope space":     func() { auth.Scope("a b") },
		"Role":            func() { auth.Role() },
		"Role empty":      func() { auth.Role("") },
		"Fresh":           func() { auth.Fresh(0) },
		"Any":             func() { auth.Any() },
		"SignInPage rel":  func() { auth.SignInPage("signin") },
		"SignInPage //":   func() { auth.SignInPage("//evil.example") },
		"SignInPage js":   func() { auth.SignInPage("javascript:alert(1)") },
		"SignInPage none": func() { auth.SignInPage("") },
	} {
		require.Panics(t, f, name)
	}
	require.NotPanics(t, func() { auth.SignInPage("https://sso.example/in") })
}
