package oidc_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

var errStore = errors.New("the store is down")

// endings is a host's side of logout: what it was asked to end, and whether it
// can.
type endings struct {
	mu      sync.Mutex
	logouts []oidc.ProviderLogout
	down    bool
	during  func()

	signedOut   int
	signOutDown bool
}

func (e *endings) onLogout(_ context.Context, l oidc.ProviderLogout) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.during != nil {
		e.during()
	}
	if e.down {
		return errStore
	}
	e.logouts = append(e.logouts, l)
	return nil
}

func (e *endings) signOut(http.ResponseWriter, *http.Request) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.signOutDown {
		return errStore
	}
	e.signedOut++
	return nil
}

func (e *endings) ended() []oidc.ProviderLogout {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.logouts)
}

// logoutWorld is a world whose host takes part in logout.
func logoutWorld(t *testing.T, s setup) (*world, *endings) {
	t.Helper()
	e := &endings{}
	if s.options.OnLogout == nil {
		s.options.OnLogout = e.onLogout
	}
	if s.options.SignOut == nil {
		s.options.SignOut = e.signOut
	}
	return newWorld(t, s), e
}

// post sends a body to the back-channel page, as the provider's server would.
func (w *world) post(contentType, body string) page {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.login.BackchannelURL(), strings.NewReader(body))
	require.NoError(w.t, err)
	req.Header.Set("Content-Type", contentType)
	resp, err := w.RoundTrip(req)
	b := &browser{w: w}
	return b.read(resp, err)
}

const formType = "application/x-www-form-urlencoded"

func (w *world) logout(subject, sid string) page {
	w.t.Helper()
	token, err := w.op.LogoutToken(oidctest.Logout{Subject: subject, SID: sid})
	require.NoError(w.t, err)
	return w.post(formType, url.Values{"logout_token": {token}}.Encode())
}

// logoutToken is one about alice with other claims; null removes nothing but
// says null.
func (w *world) logoutToken(claims map[string]any) string {
	w.t.Helper()
	token, err := w.op.LogoutToken(oidctest.Logout{Subject: "alice", Claims: claims})
	require.NoError(w.t, err)
	return token
}

func TestO12_BackchannelFaults(t *testing.T) {
	reasons := map[oidctest.Fault]string{
		oidctest.LogoutAlgNone: "alg", oidctest.LogoutHMACSecret: "alg", oidctest.LogoutHMACPublicKey: "alg",
		oidctest.LogoutBadSignature: "signature", oidctest.LogoutUnknownKey: "signature",
		oidctest.LogoutWrongIssuer: "different provider", oidctest.LogoutWrongAudience: "audience", oidctest.LogoutExtraAudience: "TrustedAudiences",
		oidctest.LogoutMissingIssuedAt: "no iat", oidctest.LogoutFutureIssuedAt: "future", oidctest.LogoutOldIssuedAt: "long ago",
		oidctest.LogoutMissingExpiry: "no exp", oidctest.LogoutExpired: "expired",
		oidctest.LogoutMissingEvents: "events", oidctest.LogoutNoEvent: "events", oidctest.LogoutWrongEvent: "events",
		oidctest.LogoutNullEvent: "events", oidctest.LogoutTextEvent: "events", oidctest.LogoutWithNonce: "nonce",
		oidctest.LogoutNobody: "neither sub nor sid", oidctest.LogoutEmptySubject: "sub must be", oidctest.LogoutNumberSID: "sid must be", oidctest.LogoutLongSID: "sid must be",
		oidctest.LogoutMissingID: "jti must be", oidctest.LogoutReplayed: "used before", oidctest.LogoutDuplicateClaim: "appears twice",
		oidctest.LogoutCriticalHeader: "crit", oidctest.LogoutAccessType: "typ is", oidctest.LogoutIDTokenInPlace: "events",
		oidctest.LogoutNoType: "", oidctest.LogoutPlainType: "", oidctest.LogoutMoreInEvent: "", // to be accepted
	}
	for _, fault := range oidctest.LogoutFaults() {
		t.Run("O12 "+string(fault), func(t *testing.T) {
			want, known := reasons[fault]
			require.True(t, known, "this fault has no expectation")
			synctest.Test(t, func(t *testing.T) {
				w, e := logoutWorld(t, setup{})
				require.Equal(t, 200, w.logout("alice", "s1").status) // so that there is one to replay
				w.op.Inject(fault)
				got := w.logout("alice", "s2")
				require.Equal(t, "no-store", got.header.Get("Cache-Control"))
				if want == "" {
					require.Equal(t, 200, got.status, got.body+w.logged())
					require.Len(t, e.ended(), 2)
					return
				}
				require.Equal(t, 400, got.status, got.body)
				require.Equal(t, "application/json", got.header.Get("Content-Type"))
				require.JSONEq(t, `{"error":"invalid_request"}`, got.body)
				require.Len(t, e.ended(), 1, "nothing more has ended")
				require.Contains(t, w.logged(), want)

				w.op.Clear() // a good one still counts, after the pause for unknown keys
				time.Sleep(time.Minute)
				require.Equal(t, 200, w.logout("alice", "s2").status, w.logged())
			})
		})
	}
}

func TestO12_BackchannelNamesWhatEnds(t *testing.T) {
	w, e := logoutWorld(t, setup{})
	base := oidc.ProviderLogout{Provider: "oidc", Issuer: opURL}
	for _, tt := range []struct{ subject, sid string }{{"alice", ""}, {"", "s1"}, {"alice", "s1"}, {strings.Repeat("x", 255), "ü"}} {
		got := w.logout(tt.subject, tt.sid)
		require.Equal(t, 200, got.status, got.body)
		require.Empty(t, got.body)
		require.Equal(t, "no-store", got.header.Get("Cache-Control"))
		want := base
		want.Subject, want.SID = tt.subject, tt.sid
		ended := e.ended()
		require.Equal(t, want, ended[len(ended)-1])
	}
	require.NotContains(t, w.logged(), "alice", "no names in the log")

	// The sid of the sign-in is the one that the provider will name.
	w.browser().signIn("/")
	require.NotEmpty(t, w.signedIn()[0].SID)
	require.WithinDuration(t, time.Now(), w.signedIn()[0].Received, time.Minute)
}

// The claims that the faults don't reach.
func TestO12_LogoutTokenClaims(t *testing.T) {
	for name, claims := range map[string]map[string]any{
		"sub null":          {"sub": nil},
		"sid empty":         {"sid": ""},
		"sid with newline":  {"sid": "a\nb"},
		"jti empty":         {"jti": ""},
		"jti a number":      {"jti": 7},
		"nonce null":        {"nonce": nil},
		"aud missing":       {"aud": nil},
		"azp another":       {"azp": "another-app"},
		"events an array":   {"events": []any{"http://schemas.openid.net/event/backchannel-logout"}},
		"event an array":    {"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": []any{}}},
		"iat text":          {"iat": "1"},
		"exp far, iat old":  {"iat": time.Now().Add(-2 * time.Hour).Unix(), "exp": time.Now().Add(1e6 * time.Hour).Unix()},
		"nbf in the future": {"nbf": time.Now().Add(time.Hour).Unix()},
	} {
		t.Run("O12 "+name, func(t *testing.T) {
			w, e := logoutWorld(t, setup{})
			require.Equal(t, 200, w.post(formType, "logout_token="+w.logoutToken(nil)).status, w.logged())
			got := w.post(formType, "logout_token="+w.logoutToken(claims))
			require.Equal(t, 400, got.status, got.body)
			require.Len(t, e.ended(), 1)
		})
	}
	t.Run("O12 trusted audience", func(t *testing.T) {
		w, e := logoutWorld(t, setup{change: trustAPI})
		require.Equal(t, 200, w.post(formType, "logout_token="+w.logoutToken(map[string]any{"aud": []string{"app", "api"}})).status, w.logged())
		require.Len(t, e.ended(), 1)
	})
}

func TestO12_BackchannelRequests(t *testing.T) {
	w, e := logoutWorld(t, setup{})
	token := func() string {
		token, err := w.op.LogoutToken(oidctest.Logout{Subject: "alice"})
		require.NoError(t, err)
		return token
	}
	for name, tt := range map[string]struct{ contentType, body string }{
		"JSON":             {"application/json", `{"logout_token":"` + token() + `"}`},
		"no type":          {"", "logout_token=" + token()},
		"multipart":        {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"logout_token\"\r\n\r\n" + token() + "\r\n--x--\r\n"},
		"twice":            {formType, "logout_token=" + token() + "&logout_token=" + token()},
		"another twice":    {formType, "logout_token=" + token() + "&x=1&x=2"},
		"none":             {formType, ""},
		"empty":            {formType, "logout_token="},
		"bad escape":       {formType, "logout_token=%zz"},
		"not a token":      {formType, "logout_token=junk"},
		"five parts":       {formType, "logout_token=a.b.c.d.e"},
		"too large":        {formType, "logout_token=" + token() + "&x=" + strings.Repeat("y", 70<<10)},
		"too large a name": {formType, strings.Repeat("y", 1<<20)},
	} {
		t.Run("O12 "+name, func(t *testing.T) {
			got := w.post(tt.contentType, tt.body)
			require.Equal(t, 400, got.status, got.body)
			require.Equal(t, "no-store", got.header.Get("Cache-Control"))
			require.Empty(t, e.ended())
		})
	}
	t.Run("O12 only from the body", func(t *testing.T) {
		req := httptest.NewRequest(http.MethodPost, w.login.BackchannelURL()+"?logout_token="+token(), nil)
		req.Header.Set("Content-Type", formType)
		rec := httptest.NewRecorder()
		w.login.ServeHTTP(rec, req)
		require.Equal(t, 400, rec.Code)
	})
	t.Run("O12 only by POST", func(t *testing.T) {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
			rec := httptest.NewRecorder()
			w.login.ServeHTTP(rec, httptest.NewRequest(method, w.login.BackchannelURL()+"?logout_token="+token(), nil))
			require.Equal(t, 405, rec.Code, method)
			require.Equal(t, "POST", rec.Header().Get("Allow"))
		}
	})
	require.Empty(t, e.ended())
	t.Run("O12 guarded by its signature, not by Origin", func(t *testing.T) {
		req := httptest.NewRequest(http.MethodPost, w.login.BackchannelURL(), strings.NewReader("x=1&logout_token="+token()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
		req.Header.Set("Origin", "https://elsewhere.example")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		rec := httptest.NewRecorder()
		w.login.ServeHTTP(rec, req)
		require.Equal(t, 200, rec.Code)
	})
	t.Run("O12 not without OnLogout", func(t *testing.T) {
		w := newWorld(t, setup{})
		require.Equal(t, 404, w.logout("alice", "").status)
	})
}

// once is a Once that can be down.
type once struct {
	oidc.Once
	takeDown, takenDown bool
}

func (o *once) Take(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if o.takeDown {
		return false, errStore
	}
	return o.Once.Take(ctx, key, ttl)
}

func (o *once) Taken(ctx context.Context, key string) (time.Time, bool, error) {
	if o.takenDown {
		return time.Time{}, false, errStore
	}
	return o.Once.Taken(ctx, key)
}

// Anybody may post here: what nobody has signed must not fill the log.
func TestO12_AStrangersTokenDoesNotFillTheLog(t *testing.T) {
	long := strings.Repeat("spam ", 5000)
	for name, header := range map[string]map[string]any{
		"alg": {"alg": long},
		"typ": {"alg": "RS256", "typ": long},
		"kid": {"alg": "RS256", "kid": long},
		"jwk": {"alg": "RS256", "jwk": map[string]any{"kty": "EC", "crv": long, "x": "AA", "y": "AA"}},
		"x5c": {"alg": "RS256", "x5c": []string{long}},
	} {
		t.Run("O12 "+name, func(t *testing.T) {
			w, e := logoutWorld(t, setup{})
			first, err := json.Marshal(header)
			require.NoError(t, err)
			token := base64.RawURLEncoding.EncodeToString(first) + ".e30." + strings.Repeat("A", 342)
			require.Equal(t, http.StatusBadRequest, w.post(formType, url.Values{"logout_token": {token}}.Encode()).status)
			require.Empty(t, e.ended())
			require.NotEmpty(t, w.logged())
			require.Less(t, len(w.logged()), 1000)
		})
	}
}

// A logout that could not be done is 503, and the same token counts when the
// provider sends it again.
func TestO12_AFailedLogoutCanComeAgain(t *testing.T) {
	o := &once{Once: oidc.NewMemoryOnce()}
	w, e := logoutWorld(t, setup{options: oidc.Options{Once: o}})
	token, err := w.op.LogoutToken(oidctest.Logout{Subject: "alice"})
	require.NoError(t, err)
	deliver := func(want int) {
		t.Helper()
		got := w.post(formType, "logout_token="+token)
		require.Equal(t, want, got.status, got.body)
		require.Equal(t, want == 503, got.header.Get("Retry-After") != "")
		require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	}
	e.down = true
	deliver(503)
	deliver(503)
	e.down, o.takenDown = false, true
	deliver(503)
	require.Empty(t, e.ended(), "not without knowing whether it is a replay")
	o.takenDown, o.takeDown = false, true
	deliver(503)
	o.takeDown = false
	deliver(200)
	deliver(400)
	require.Len(t, e.ended(), 2, "ended once more is no harm, a replay is not let through")
}

func TestO12_ProviderKeysDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := logoutWorld(t, setup{})
		for _, fault := range []oidctest.Fault{oidctest.Down(oidctest.Discovery), oidctest.Down(oidctest.Keys), oidctest.Fails(oidctest.Keys), oidctest.Hangs(oidctest.Keys)} {
			w.op.Inject(fault)
			got := w.logout("alice", "")
			require.Equal(t, 503, got.status, "%s", fault)
			require.NotEmpty(t, got.header.Get("Retry-After"))
			w.op.Clear()
			time.Sleep(time.Minute)
		}
		require.Empty(t, e.ended())
		require.Equal(t, 200, w.logout("alice", "").status, w.logged())
	})
}

// Two deliveries of one token at the same time: both end the same sessions, one
// is answered 200.
func TestO12_ConcurrentDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := logoutWorld(t, setup{})
		token, err := w.op.LogoutToken(oidctest.Logout{Subject: "alice"})
		require.NoError(t, err)
		together := make(chan struct{})
		w2, err := oidc.NewLogin(w.provider, nobody, appURL+"/auth/op", &oidc.Options{
			Client: w.op.Client(), OnLogout: func(ctx context.Context, l oidc.ProviderLogout) error {
				<-together
				return e.onLogout(ctx, l)
			},
		})
		require.NoError(t, err)
		statuses := make(chan int, 8)
		for range cap(statuses) {
			go func() {
				req := httptest.NewRequest(http.MethodPost, appURL+"/auth/op/backchannel", strings.NewReader("logout_token="+token))
				req.Header.Set("Content-Type", formType)
				rec := httptest.NewRecorder()
				w2.ServeHTTP(rec, req)
				statuses <- rec.Code
			}()
		}
		synctest.Wait()
		close(together)
		got := map[int]int{}
		for range cap(statuses) {
			got[<-statuses]++
		}
		require.Equal(t, map[int]int{200: 1, 400: 7}, got)
	})
}

// The jti is remembered for as long as the token would be taken.
func TestO12_ReplayedAtAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := logoutWorld(t, setup{})
		now := time.Now()
		token := w.logoutToken(map[string]any{"exp": now.Add(100 * time.Hour).Unix()})
		require.Equal(t, 200, w.post(formType, "logout_token="+token).status)
		for range 70 {
			time.Sleep(time.Minute)
			require.Equal(t, 400, w.post(formType, "logout_token="+token).status)
			require.Equal(t, 200, w.logout("bob", "").status, "which sweeps what has gone by")
		}
		require.Len(t, e.ended(), 71)
	})
}

// post sends a form without fields from a page of ours.
func (b *browser) post(u string, header ...string) (page, *url.URL) {
	b.w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, u, nil)
	require.NoError(b.w.t, err)
	req.Header.Set("Origin", appURL)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c := *b.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	p := b.read(resp, err)
	to, err := resp.Location()
	if err != nil {
		return p, nil
	}
	return p, to
}

func TestO13_LogoutAtTheProvider(t *testing.T) {
	w, e := logoutWorld(t, setup{op: oidctest.Options{Metadata: map[string]any{"end_session_endpoint": opURL + "/end_session?realm=a%20b&state=old"}}})
	b := w.browser()
	require.Equal(t, 200, b.signIn("/").status)
	raw := string(w.signedIn()[0].IDToken)
	require.NotContains(t, b.get(appURL+"/").header, "Set-Cookie")

	got, to := b.post(w.login.LogoutURL())
	require.Equal(t, 303, got.status, got.body)
	require.Equal(t, 1, e.signedOut)
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	require.Equal(t, "no-referrer", got.header.Get("Referrer-Policy"))
	require.Equal(t, opURL+"/end_session", to.Scheme+"://"+to.Host+to.Path)
	query := to.Query()
	require.Equal(t, raw, query.Get("id_token_hint"))
	require.Equal(t, "app", query.Get("client_id"))
	require.Equal(t, appURL+"/auth/op/logged-out", query.Get("post_logout_redirect_uri"))
	require.NotEmpty(t, query.Get("state"))
	require.NotEqual(t, "old", query.Get("state"))
	require.Equal(t, "a b", query.Get("realm"), "the endpoint's own query stays")
	for name, values := range query {
		require.Len(t, values, 1, name)
	}

	// The provider takes it, tells by the back channel, and sends the user back.
	back := b.get(to.String())
	require.Equal(t, 200, back.status, back.body)
	require.True(t, strings.HasPrefix(back.url, appURL+"/auth/op/logged-out?state="+query.Get("state")), back.url)
	require.Contains(t, back.body, "signed out")
	require.Len(t, e.ended(), 1)
	require.Equal(t, w.signedIn()[0].SID, e.ended()[0].SID)

	// The hint is gone with the sign-out.
	_, to = b.post(w.login.LogoutURL())
	require.False(t, to.Query().Has("id_token_hint"))
	require.Equal(t, "app", to.Query().Get("client_id"))
	require.Equal(t, 200, b.get(to.String()).status)
	require.NotContains(t, w.logged(), raw[:60])
}

func TestO13_LoggedOutPage(t *testing.T) {
	w, e := logoutWorld(t, setup{})
	for _, query := range []string{"", "?state=x", "?state=%3Cscript%3E", "?error=x&state=", "?state=1&state=2"} {
		got := w.browser().get(w.login.LoggedOutURL() + query)
		require.Equal(t, 200, got.status, query)
		require.NotContains(t, got.body, "<script>")
		require.Empty(t, got.header["Set-Cookie"])
		require.Contains(t, got.header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	}
	require.Zero(t, e.signedOut)
	own, _ := logoutWorld(t, setup{options: oidc.Options{SignedOutPage: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "bye") }}})
	require.Equal(t, "bye", own.browser().get(own.login.LoggedOutURL()).body)
}

func TestO13_ProvidersWithoutAnEndpoint(t *testing.T) {
	for name, endpoint := range map[string]any{
		"none": nil, "empty": "", "http": "http://op.example/end", "userinfo": "https://u:p@op.example/end", "relative": "/end", "fragment": opURL + "/end#x",
	} {
		t.Run("O13 "+name, func(t *testing.T) {
			w, e := logoutWorld(t, setup{op: oidctest.Options{Metadata: map[string]any{"end_session_endpoint": endpoint}}})
			b := w.browser()
			require.Equal(t, 200, b.signIn("/").status, "nobody's sign-in hangs on it")
			got, to := b.post(w.login.LogoutURL())
			require.Equal(t, 303, got.status)
			require.Equal(t, w.login.LoggedOutURL(), to.String())
			require.Equal(t, 1, e.signedOut)
		})
	}
}

func TestO13_ProviderDown(t *testing.T) {
	for _, fault := range []oidctest.Fault{oidctest.Down(oidctest.Discovery), oidctest.Hangs(oidctest.Discovery), oidctest.Garbage(oidctest.Discovery)} {
		t.Run("O13 "+string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, e := logoutWorld(t, setup{})
				w.op.Inject(fault)
				began := time.Now()
				got, to := w.browser().post(w.login.LogoutURL())
				require.Equal(t, 303, got.status)
				require.Equal(t, w.login.LoggedOutURL(), to.String())
				require.Equal(t, 1, e.signedOut)
				require.LessOrEqual(t, time.Since(began), 6*time.Second)
				time.Sleep(time.Minute) // for the fetch that nobody waits for
			})
		})
	}
}

func TestO13_SignedOutHereFirst(t *testing.T) {
	w, e := logoutWorld(t, setup{})
	b := w.browser()
	b.signIn("/")
	e.signOutDown = true
	got, to := b.post(w.login.LogoutURL())
	require.Equal(t, 503, got.status)
	require.NotEmpty(t, got.header.Get("Retry-After"))
	require.Nil(t, to, "not to the provider while the session here may live")
	require.Contains(t, got.body, "may still be signed in")
	require.NotContains(t, got.body+w.logged(), "eyJ")
	e.signOutDown = false
	_, to = b.post(w.login.LogoutURL())
	require.NotEmpty(t, to.Query().Get("id_token_hint"), "trying again is as good as the first time")
}

func TestO13_OtherSitesCannotSignOut(t *testing.T) {
	w, e := logoutWorld(t, setup{})
	b := w.browser()
	for name, header := range map[string][]string{
		"another origin":    {"Origin", "https://evil.example"},
		"null":              {"Origin", "null"},
		"a neighbour":       {"Origin", "https://app.example.evil.example"},
		"another scheme":    {"Origin", "http://app.example"},
		"cross-site":        {"Origin", "", "Sec-Fetch-Site", "cross-site"},
		"same site":         {"Origin", "", "Sec-Fetch-Site", "same-site"},
		"its Host is equal": {"Origin", "https://other.example", "Host", "other.example"},
	} {
		t.Run("O13 "+name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodPost, w.login.LogoutURL(), nil)
			for i := 0; i < len(header); i += 2 {
				if header[i] == "Host" {
					req.Host = header[i+1]
				} else if header[i+1] != "" {
					req.Header.Set(header[i], header[i+1])
				}
			}
			rec := httptest.NewRecorder()
			w.login.ServeHTTP(rec, req)
			require.Equal(t, 403, rec.Code)
			require.Empty(t, rec.Header().Get("Location"))
		})
	}
	got, to := b.post(w.login.LogoutURL(), "Sec-Fetch-Site", "same-origin")
	require.Equal(t, 303, got.status)
	require.NotNil(t, to)
	rec := httptest.NewRecorder()
	w.login.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, w.login.LogoutURL(), nil))
	require.Equal(t, 303, rec.Code, "no browser")
	require.Equal(t, 2, e.signedOut)
	for _, method := range []string{"GET", "HEAD", "PUT"} {
		rec := httptest.NewRecorder()
		w.login.ServeHTTP(rec, httptest.NewRequest(method, w.login.LogoutURL(), nil))
		require.Equal(t, 405, rec.Code)
		require.Equal(t, "POST", rec.Header().Get("Allow"))
	}
	require.Equal(t, 2, e.signedOut)

	own, e := logoutWorld(t, setup{options: oidc.Options{CheckOrigin: func(r *http.Request) error {
		if r.Header.Get("Origin") == appURL {
			return errStore
		}
		return nil
	}}})
	got, _ = own.browser().post(own.login.LogoutURL())
	require.Equal(t, 403, got.status, "the host's check decides")
	got, _ = own.browser().post(own.login.LogoutURL(), "Origin", "https://allowed.example")
	require.Equal(t, 303, got.status)
	require.Equal(t, 1, e.signedOut)
}

func hintCookies(header http.Header) (hints []*http.Cookie) {
	for _, c := range (&http.Response{Header: header}).Cookies() {
		if strings.Contains(c.Name, "hint") {
			hints = append(hints, c)
		}
	}
	return hints
}

func TestO13_TheHintCookie(t *testing.T) {
	callback := func(t *testing.T, s setup) (*world, *browser, []*http.Cookie) {
		w, _ := logoutWorld(t, s)
		b := w.browser()
		got, _ := b.hop(b.authorize(b.begin("/")).String())
		return w, b, hintCookies(got.header)
	}
	t.Run("O13 sealed, and for the logout page alone", func(t *testing.T) {
		w, _, cookies := callback(t, setup{})
		require.Len(t, cookies, 1)
		c := cookies[0]
		require.Equal(t, "__Secure-oidc-hint", c.Name)
		require.Equal(t, "/auth/op/logout", c.Path)
		require.True(t, c.Secure && c.HttpOnly && c.SameSite == http.SameSiteLaxMode && c.Domain == "")
		sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
		require.NoError(t, err)
		parts := strings.Split(string(w.signedIn()[0].IDToken), ".")
		require.NotContains(t, string(sealed), parts[1][:20])
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		require.NotContains(t, string(sealed), string(payload[:20]))
	})
	t.Run("O13 by name over http", func(t *testing.T) {
		_, _, cookies := callback(t, setup{base: "http://127.0.0.1:1234/auth/op"})
		require.Equal(t, "oidc-hint", cookies[0].Name)
		require.False(t, cookies[0].Secure)
	})
	t.Run("O13 too large", func(t *testing.T) {
		w, b, cookies := callback(t, setup{op: userWith(map[string]any{"groups": strings.Repeat("g", 3000)})})
		require.Len(t, cookies, 1)
		require.Negative(t, cookies[0].MaxAge, "the one of a sign-in before goes")
		_, to := b.post(w.login.LogoutURL())
		require.False(t, to.Query().Has("id_token_hint"))
		require.Equal(t, "app", to.Query().Get("client_id"))
	})
	t.Run("O13 not when refused", func(t *testing.T) {
		w, _ := logoutWorld(t, setup{})
		w.then = func(http.ResponseWriter, *http.Request, oidc.Profile) error { return errStore }
		got := w.browser().signIn("/")
		require.Equal(t, 503, got.status)
		require.Empty(t, hintCookies(got.header))
		require.NotEmpty(t, got.header["Set-Cookie"], "the flow's cookie is deleted all the same")
	})
	t.Run("O13 not without SignOut", func(t *testing.T) {
		w := newWorld(t, setup{})
		b := w.browser()
		got, _ := b.hop(b.authorize(b.begin("/")).String())
		require.Empty(t, hintCookies(got.header))
		got, _ = b.post(w.login.LogoutURL())
		require.Equal(t, 404, got.status)
		require.Equal(t, 404, b.get(w.login.LoggedOutURL()).status)
		rec := httptest.NewRecorder()
		w.login.ForgetHint(rec)
		require.Empty(t, rec.Header())
	})
	t.Run("O13 tampered, planted, another login's", func(t *testing.T) {
		w, _, cookies := callback(t, setup{})
		send := func(values ...string) *url.URL {
			req := httptest.NewRequest(http.MethodPost, w.login.LogoutURL(), nil)
			for _, v := range values {
				req.AddCookie(&http.Cookie{Name: cookies[0].Name, Value: v})
			}
			rec := httptest.NewRecorder()
			w.login.ServeHTTP(rec, req)
			require.Equal(t, 303, rec.Code)
			require.Len(t, hintCookies(rec.Header()), 1)
			require.Negative(t, hintCookies(rec.Header())[0].MaxAge)
			to, err := rec.Result().Location()
			require.NoError(t, err)
			return to
		}
		good := cookies[0].Value
		require.True(t, send(good).Query().Has("id_token_hint"))
		flipped := []byte(good)
		flipped[len(flipped)/2] ^= 1
		_, _, others := callback(t, setup{}) // another provider secret, so other keys
		for _, bad := range [][]string{{string(flipped)}, {"junk"}, {""}, {others[0].Value}, {good, good}, {others[0].Value, good}} {
			require.False(t, send(bad...).Query().Has("id_token_hint"))
		}
	})
	t.Run("O13 another node with the same keys", func(t *testing.T) {
		keys, err := oidc.ParseSealingKeys("k:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
		require.NoError(t, err)
		w, _, cookies := callback(t, setup{options: oidc.Options{Keys: keys}})
		node, err := oidc.NewLogin(w.provider, nobody, oidc.BaseURL(appURL+"/auth/op"), &oidc.Options{
			Keys: keys, Client: w.op.Client(), SignOut: func(http.ResponseWriter, *http.Request) error { return nil },
		})
		require.NoError(t, err)
		req := httptest.NewRequest(http.MethodPost, node.LogoutURL(), nil)
		req.AddCookie(cookies[0])
		rec := httptest.NewRecorder()
		node.ServeHTTP(rec, req)
		to, err := rec.Result().Location()
		require.NoError(t, err)
		require.Equal(t, string(w.signedIn()[0].IDToken), to.Query().Get("id_token_hint"))
	})
	t.Run("O13 forgotten", func(t *testing.T) {
		w, b, _ := callback(t, setup{})
		w.mux.HandleFunc("POST /signout", func(rw http.ResponseWriter, _ *http.Request) { w.login.ForgetHint(rw) })
		b.post(appURL + "/signout")
		_, to := b.post(w.login.LogoutURL())
		require.False(t, to.Query().Has("id_token_hint"))
	})
}

func TestO13_EndSessionEndpoint(t *testing.T) {
	w, _ := logoutWorld(t, setup{})
	u, err := w.login.EndSessionEndpoint(t.Context())
	require.NoError(t, err)
	require.Equal(t, opURL+"/end_session", u.String())
	w, _ = logoutWorld(t, setup{op: oidctest.Options{Metadata: map[string]any{"end_session_endpoint": nil}}})
	u, err = w.login.EndSessionEndpoint(t.Context())
	require.NoError(t, err)
	require.Nil(t, u)
	w, _ = logoutWorld(t, setup{op: oidctest.Options{Metadata: map[string]any{"end_session_endpoint": "http://op.example/"}}})
	u, err = w.login.EndSessionEndpoint(t.Context())
	require.ErrorContains(t, err, "https")
	require.Nil(t, u)
	w.op.Inject(oidctest.Down(oidctest.Discovery))
	w2, _ := logoutWorld(t, setup{})
	w2.op.Inject(oidctest.Down(oidctest.Discovery))
	_, err = w2.login.EndSessionEndpoint(t.Context())
	require.Error(t, err)
}

// Mount registers what the options ask for, and nothing else.
func TestMountRegistersThePages(t *testing.T) {
	e := &endings{}
	for name, tt := range map[string]struct {
		options oidc.Options
		want    map[string]int // status of a POST
	}{
		"plain":   {oidc.Options{}, map[string]int{"/logout": 404, "/backchannel": 404, "/logged-out": 404}},
		"signout": {oidc.Options{SignOut: e.signOut}, map[string]int{"/logout": 303, "/backchannel": 404, "/logged-out": 405}},
		"both":    {oidc.Options{SignOut: e.signOut, OnLogout: e.onLogout}, map[string]int{"/logout": 303, "/backchannel": 400, "/logged-out": 405}},
	} {
		op, err := oidctest.New(opURL, nil)
		require.NoError(t, err)
		tt.options.Client = op.Client()
		l, err := oidc.NewLogin(oidc.Generic(opURL, op.ClientID(), op.ClientSecret()), nobody, appURL+"/auth/op", &tt.options)
		require.NoError(t, err)
		mux := http.NewServeMux()
		require.NoError(t, l.Mount(mux))
		require.Error(t, l.Mount(mux), "a conflict is an error")
		for path, want := range tt.want {
			rec := httptest.NewRecorder()
			mux.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, appURL+"/auth/op"+path, nil))
			require.Equal(t, want, rec.Code, "%s %s", name, path)
		}
	}
}

// A sid is kept byte for byte or not at all, and comes from the ID token alone.
func TestO12_SIDOfTheProfile(t *testing.T) {
	for name, tt := range map[string]struct {
		sid  any
		want string
	}{
		"plain": {"s-1", "s-1"}, "255": {strings.Repeat("x", 255), strings.Repeat("x", 255)}, "256": {strings.Repeat("x", 256), ""},
		"number": {5, ""}, "null": {nil, ""}, "control": {"a\x01b", ""}, "accents": {"é", "é"},
	} {
		t.Run("O12 "+name, func(t *testing.T) {
			w, _ := logoutWorld(t, setup{op: userWith(map[string]any{"sid": tt.sid})})
			require.Equal(t, 200, w.browser().signIn("/").status, w.logged())
			require.Equal(t, tt.want, w.signedIn()[0].SID)
			encoded, err := json.Marshal(w.signedIn()[0])
			require.NoError(t, err)
			require.NotContains(t, string(encoded), string(w.signedIn()[0].IDToken))
		})
	}
}
