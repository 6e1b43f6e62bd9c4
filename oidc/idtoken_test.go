package oidc_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

// userWith is alice with her ID token's claims changed; null removes nothing
// but says null.
func userWith(claims map[string]any) oidctest.Options {
	return oidctest.Options{Users: []oidctest.User{{Email: "alice@example.com", Name: "Alice", Claims: claims}}}
}

func TestO3_IDTokenClaims(t *testing.T) {
	now := time.Now().Unix()
	for name, tt := range map[string]struct {
		claims map[string]any
		change func(*oidc.Provider)
		reason string // empty: signed in
	}{
		"plain":                      {},
		"aud array of one":           {claims: map[string]any{"aud": []string{"app"}}},
		"aud twice the same":         {claims: map[string]any{"aud": []string{"app", "app"}}, reason: "no azp"},
		"aud empty array":            {claims: map[string]any{"aud": []string{}}, reason: "expected audience"},
		"aud with null":              {claims: map[string]any{"aud": []any{"app", nil}}, reason: "not in TrustedAudiences"},
		"trusted aud with azp":       {claims: map[string]any{"aud": []string{"app", "api"}, "azp": "app"}, change: trustAPI},
		"trusted aud without azp":    {claims: map[string]any{"aud": []string{"app", "api"}}, change: trustAPI, reason: "no azp"},
		"trusted aud, azp another":   {claims: map[string]any{"aud": []string{"app", "api"}, "azp": "api"}, change: trustAPI, reason: "azp is another"},
		"azp a number":               {claims: map[string]any{"azp": 1}, reason: "azp is another"},
		"iss with slash":             {claims: map[string]any{"iss": opURL + "/"}, reason: "issued by a different provider"},
		"iss in another case":        {claims: map[string]any{"iss": "https://OP.example"}, reason: "issued by a different provider"},
		"iss without scheme":         {claims: map[string]any{"iss": "op.example"}, reason: "issued by a different provider"},
		"a case variant is no claim": {claims: map[string]any{"SUB": "mallory"}, reason: ""},
		"sub 255":                    {claims: map[string]any{"sub": strings.Repeat("x", 255)}},
		"sub blank":                  {claims: map[string]any{"sub": "  "}, reason: "sub must be"},
		"sub null":                   {claims: map[string]any{"sub": nil}, reason: "sub must be"},
		"sub with a newline":         {claims: map[string]any{"sub": "a\nb"}, reason: "sub must be"},
		"exp in the skew":            {claims: map[string]any{"exp": now - 30}},
		"exp past the skew":          {claims: map[string]any{"exp": now - 61}, reason: "expired"},
		"exp null":                   {claims: map[string]any{"exp": nil}, reason: "unmarshal claims"},
		"exp zero":                   {claims: map[string]any{"exp": 0}, reason: "exp is not"},
		"exp negative":               {claims: map[string]any{"exp": -5}, reason: "exp is not"},
		"exp fractional":             {claims: map[string]any{"exp": float64(now) + 100.5}},
		"exp 1e300":                  {claims: map[string]any{"exp": 1e300}, reason: "exp is not"},
		"exp true":                   {claims: map[string]any{"exp": true}, reason: "ID token"},
		"iat in the skew":            {claims: map[string]any{"iat": now + 30}},
		"iat past the skew":          {claims: map[string]any{"iat": now + 90}, reason: "iat is in the future"},
		"iat text":                   {claims: map[string]any{"iat": "now"}, reason: "ID token"},
		"nonce null":                 {claims: map[string]any{"nonce": nil}, reason: "nonce is not"},
		"nonce a list":               {claims: map[string]any{"nonce": []string{"x"}}, reason: "ID token"},
		"events null":                {claims: map[string]any{"events": nil}, reason: "logout"},
		"at_hash empty":              {claims: map[string]any{"at_hash": ""}, reason: "at_hash"},
		"acr not asked":              {claims: map[string]any{"acr": "0"}},
		"acr asked":                  {claims: map[string]any{"acr": "b"}, change: func(p *oidc.Provider) { p.ACRValues = []string{"a", "b"} }},
		"acr a list":                 {claims: map[string]any{"acr": []string{"a"}}, change: func(p *oidc.Provider) { p.ACRValues = []string{"a"} }, reason: "acr is none"},
		"auth_time not asked":        {claims: map[string]any{"auth_time": 5}},
		"auth_time old":              {claims: map[string]any{"auth_time": now - 3600}, change: func(p *oidc.Provider) { p.MaxAge = 30 * time.Minute }, reason: "auth_time is older"},
		"auth_time text":             {claims: map[string]any{"auth_time": "x"}, change: func(p *oidc.Provider) { p.MaxAge = time.Hour }, reason: "auth_time"},
	} {
		t.Run("O3 "+name, func(t *testing.T) {
			w := newWorld(t, setup{op: userWith(tt.claims), change: tt.change})
			got := w.browser().signIn("/")
			if tt.reason == "" {
				require.Equal(t, 200, got.status, w.logged())
				require.Len(t, w.signedIn(), 1)
				return
			}
			require.Equal(t, 403, got.status, got.body)
			require.Contains(t, w.logged(), tt.reason)
			require.Empty(t, w.signedIn())
		})
	}
}

func trustAPI(p *oidc.Provider) { p.TrustedAudiences = []string{"api"} }

func TestO14_Google(t *testing.T) {
	for name, tt := range map[string]struct {
		email         string
		claims        map[string]any
		hosted        string
		verified      bool
		authoritative bool
		refused       bool
	}{
		"gmail":                   {email: "alice@gmail.com", verified: true, authoritative: true},
		"gmail in capitals":       {email: "Alice@GMAIL.com", verified: true, authoritative: true},
		"gmail, not verified":     {email: "alice@gmail.com", claims: map[string]any{"email_verified": false}},
		"gmail, text verified":    {email: "alice@gmail.com", claims: map[string]any{"email_verified": "true"}},
		"gmail, verified by one":  {email: "alice@gmail.com", claims: map[string]any{"email_verified": 1}},
		"elsewhere":               {email: "alice@example.com", verified: true},
		"elsewhere, hosted":       {email: "alice@example.com", claims: map[string]any{"hd": "example.com"}, verified: true, authoritative: true},
		"hosted, not verified":    {email: "alice@example.com", claims: map[string]any{"hd": "example.com", "email_verified": false}},
		"hd empty":                {email: "alice@example.com", claims: map[string]any{"hd": ""}, verified: true},
		"hd a number":             {email: "alice@example.com", claims: map[string]any{"hd": 1}, verified: true},
		"gmail look-alike":        {email: "alice@gmail.com.evil.example", verified: true},
		"two at signs":            {email: "evil@evil.example@gmail.com"},
		"newline":                 {email: "evil@evil.example\n@gmail.com"},
		"without scheme":          {email: "alice@gmail.com", claims: map[string]any{"iss": "accounts.google.com"}, verified: true, authoritative: true},
		"domain asked and is":     {hosted: "example.com", email: "a@example.com", claims: map[string]any{"hd": "Example.com"}, verified: true, authoritative: true},
		"domain asked, is not":    {hosted: "example.com", email: "a@example.com", claims: map[string]any{"hd": "evil.com"}, refused: true},
		"domain asked, no claim":  {hosted: "example.com", email: "a@example.com", refused: true},
		"any domain, is":          {hosted: "*", email: "a@example.com", claims: map[string]any{"hd": "example.com"}, verified: true, authoritative: true},
		"any domain, no claim":    {hosted: "*", email: "a@gmail.com", refused: true},
		"domain asked, a literal": {hosted: "example.com", email: "a@example.com", claims: map[string]any{"hd": "*"}, refused: true},
	} {
		t.Run("O14 "+name, func(t *testing.T) {
			w := newWorld(t, setup{
				issuer: googleIssuer,
				op: oidctest.Options{
					TokenAuth: "client_secret_post", Alg: "RS256",
					Users: []oidctest.User{{Subject: "1234567890", Email: tt.email, Name: "A", Claims: tt.claims}},
				},
				change: func(p *oidc.Provider) { p.HostedDomain = tt.hosted },
			})
			b := w.browser()
			require.Equal(t, tt.hosted, b.begin("/").Query().Get("hd"))
			got := b.signIn("/")
			if tt.refused {
				require.Equal(t, 403, got.status)
				require.Contains(t, got.body, "not open to accounts")
				require.Empty(t, w.signedIn())
				return
			}
			require.Equal(t, 200, got.status, w.logged())
			p := w.signedIn()[0]
			require.Equal(t, "google", p.Provider)
			require.Equal(t, googleIssuer, p.Issuer, "one issuer, however it was written: it is half of the key")
			require.Equal(t, "1234567890", p.Subject)
			require.Equal(t, tt.verified, p.EmailVerified)
			require.Equal(t, tt.authoritative, p.EmailAuthoritative)
		})
	}
}

func TestO14_GoogleOffline(t *testing.T) {
	w := newWorld(t, setup{issuer: googleIssuer, op: oidctest.Options{TokenAuth: "client_secret_post"}, change: func(p *oidc.Provider) { p.Offline = true }})
	q := w.browser().begin("/").Query()
	require.Equal(t, "offline", q.Get("access_type"))
	require.Equal(t, "consent", q.Get("prompt"))
	require.NotContains(t, q.Get("scope"), "offline_access", "Google refuses it")

	w = newWorld(t, setup{change: func(p *oidc.Provider) { p.Offline = true }})
	q = w.browser().begin("/").Query()
	require.Contains(t, strings.Fields(q.Get("scope")), "offline_access")
	require.Empty(t, q.Get("access_type"))
}

func TestO14_OnlyJSONTrueVerifies(t *testing.T) {
	for name, value := range map[string]any{"text": "true", "one": 1, "null": nil, "list": []bool{true}, "false": false} {
		for _, userInfo := range []bool{false, true} {
			op := userWith(map[string]any{"email_verified": value})
			op.UserInfoOnly = userInfo
			w := newWorld(t, setup{op: op, change: func(p *oidc.Provider) { p.EmailDomains = []string{"example.com"} }})
			require.Equal(t, 200, w.browser().signIn("/").status, w.logged())
			require.Equal(t, "alice@example.com", w.signedIn()[0].Email)
			require.False(t, w.signedIn()[0].EmailVerified, name)
			require.False(t, w.signedIn()[0].EmailAuthoritative, name)
		}
	}
}

func TestO14_EmailDomains(t *testing.T) {
	for email, want := range map[string]bool{"a@example.com": true, "a@EXAMPLE.com": true, "a@sub.example.com": false, "a@notexample.com": false, "a@x@example.com": false} {
		w := newWorld(t, setup{op: oidctest.Options{Users: []oidctest.User{{Email: email, Name: "A"}}}, change: func(p *oidc.Provider) { p.EmailDomains = []string{"example.com"} }})
		require.Equal(t, 200, w.browser().signIn("/").status)
		require.Equal(t, want, w.signedIn()[0].EmailAuthoritative, email)
	}
}

// A verified address at UserInfo says nothing about another one in the ID token.
func TestO14_VerifiedBelongsToItsAddress(t *testing.T) {
	w := newWorld(t, setup{op: oidctest.Options{Users: []oidctest.User{{Email: "victim@example.com", EmailUnverified: true}}}})
	w.op.Inject(oidctest.UserInfoOtherEmail) // asked for the name, which the ID token lacks
	require.Equal(t, 200, w.browser().signIn("/").status)
	require.Equal(t, 1, w.op.Asked(oidctest.UserInfo))
	require.Equal(t, "victim@example.com", w.signedIn()[0].Email)
	require.False(t, w.signedIn()[0].EmailVerified)
}

func TestO14_UserInfoCompletesTheSameAddress(t *testing.T) {
	w := newWorld(t, setup{})
	w.op.Inject(oidctest.MissingVerified)
	require.Equal(t, 200, w.browser().signIn("/").status)
	require.True(t, w.signedIn()[0].EmailVerified, "UserInfo says it of the same address")
	w.op.Inject(oidctest.UserInfoOtherEmail)
	require.Equal(t, 200, w.browser().signIn("/").status)
	require.Equal(t, "alice@example.com", w.signedIn()[1].Email)
	require.False(t, w.signedIn()[1].EmailVerified, "and here of another one")
}

func TestProfileIsPlain(t *testing.T) {
	for in, want := range map[string]string{
		"https://cdn.example/a.png": "https://cdn.example/a.png", "javascript:alert(1)": "", "http://x.example/a": "",
		"data:image/png;base64,AA": "", "https://u:p@x.example/": "", "//x.example/a": "",
	} {
		w := newWorld(t, setup{op: oidctest.Options{Users: []oidctest.User{{
			Email: "a@example.com", Name: "A\x00\n" + strings.Repeat("é", 500), Picture: in,
			Claims: map[string]any{"given_name": 7, "locale": "de"},
		}}}})
		require.Equal(t, 200, w.browser().signIn("/").status)
		p := w.signedIn()[0]
		require.Equal(t, want, p.Picture, in)
		require.LessOrEqual(t, len(p.Name), 200)
		require.False(t, strings.ContainsFunc(p.Name, unicode.IsControl))
		require.Empty(t, p.GivenName)
		require.Equal(t, "de", p.Locale)
	}
}

func TestO11_ProviderDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op, err := oidctest.New(opURL, nil)
		require.NoError(t, err)
		down := &switchable{RoundTripper: op.Client().Transport, err: http.ErrServerClosed}
		w := newWorld(t, setup{op: oidctest.Options{}})
		// The same world, its provider behind a switch.
		down.RoundTripper = w.op.Client().Transport
		w2 := newWorldWith(t, w.op, down)
		require.ErrorContains(t, w2.login.Ready(t.Context()), "discovery")
		for range 20 {
			got := w2.browser().signIn("/")
			require.Equal(t, 503, got.status)
			require.Regexp(t, `^[1-9]\d?$`, got.header.Get("Retry-After"))
			require.Contains(t, got.body, "reached")
		}
		require.Equal(t, 1, down.asked, "the pause between attempts holds")
		time.Sleep(time.Hour)
		down.err = nil
		require.Equal(t, 200, w2.browser().signIn("/").status, w2.logged())
		require.NoError(t, w2.login.Ready(t.Context()))
	})
}

func TestO11_HealsWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		w.op.Inject(oidctest.Down(oidctest.Discovery))
		for range 60 { // a long outage that users knock at
			require.Equal(t, 503, w.browser().signIn("/").status)
			time.Sleep(5 * time.Second)
		}
		w.op.Clear()
		time.Sleep(10 * time.Second)
		require.Equal(t, 200, w.browser().signIn("/").status)
	})
}

func TestO11_ManyWaitersOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		w.op.Inject(oidctest.Hangs(oidctest.Discovery))
		began := time.Now()
		for range 100 {
			go func() {
				if got := w.browser().signIn("/"); got.status != 503 {
					t.Errorf("%d", got.status)
				}
			}()
		}
		synctest.Wait()
		require.Equal(t, 1, w.op.Asked(oidctest.Discovery))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.WithinDuration(t, began.Add(11*time.Second), time.Now(), time.Second)
		require.Equal(t, 1, w.op.Asked(oidctest.Discovery))
	})
}

func TestO7_ReturnPath(t *testing.T) {
	good := []string{
		"/", "/home", "/a/b?x=1&y=//z#frag", "/@user", "/a:b", "/search?q=https://other.example/", "/caf%C3%A9", "/ä", "/100%25",
		"/a%20b", "/a..b/c.d", "/...", "/?", "/#",
	}
	bad := []string{
		"", "home", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, `\/evil.example`, `/a\b`,
		"/%5cevil.example", "/%5C%5cevil.example", "/%2fevil.example", "/%2F%2fevil.example", "/%252fevil.example", "/%255cevil",
		"/\tevil", "/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example", "/%09/evil.example", "/%0a/evil", "/%00",
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "https://evil.example", "https:/evil.example", "https:evil.example",
		"http:///evil.example", "@evil.example", "//user@evil.example", "//user:pw@evil.example/", "/.//evil.example", "/..//evil.example",
		"/a/..//evil.example", "/./evil", "/../evil", "/%2e/evil", "/%2e%2e%2fevil", "/a//b", "/%", "/%zz", "/\x7f", "/\u0085", "/\xff",
		"/" + "%" + strings.Repeat("25", 10) + "2fevil", "/%252fevil%25%25", "/%25252fevil%25", "/" + strings.Repeat("x", 3000), "evil.example", ".evil.example", ":80/", "?x", "#x",
	}
	for _, s := range good {
		require.Equal(t, s, oidc.ReturnPath(s))
	}
	w := newWorld(t, setup{})
	for _, s := range bad {
		require.Equal(t, "/", oidc.ReturnPath(s), "%q", s)
		got := w.browser().get(appURL + "/auth/op/login?return_to=" + url.QueryEscape(s))
		require.Equal(t, appURL+"/", got.url, "%q", s)
	}
	got := w.browser().get(appURL + "/auth/op/login?return_to=/a&return_to=/b")
	require.Equal(t, appURL+"/", got.url, "two are none")
}

func FuzzO7_ReturnPath(f *testing.F) {
	for _, s := range []string{"/home?x=1#y", "//evil.example", `/\evil`, "/%5cevil", "/%252f%252fevil", "/\t/evil", "javascript:alert(1)", "/.//h", "//u@h", "/ä"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := oidc.ReturnPath(s)
		if got != s && got != "/" {
			t.Fatalf("%q became %q", s, got)
		}
		// What browsers do before they look: drop tabs and newlines, take '\' for '/'.
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.TrimSpace(got))
		if !strings.HasPrefix(seen, "/") || strings.HasPrefix(seen, "//") {
			t.Fatalf("%q is not local", got)
		}
		base, _ := url.Parse("https://app.example/auth/op/callback")
		to, err := base.Parse(got)
		if err != nil || to.Scheme != "https" || to.Host != "app.example" || to.User != nil {
			t.Fatalf("%q leads to %v, %v", got, to, err)
		}
		if decoded, err := url.PathUnescape(to.EscapedPath()); err != nil || strings.HasPrefix(decoded, "//") || strings.ContainsAny(decoded, "\\\r\n\t") {
			t.Fatalf("%q decodes to %q, %v", got, decoded, err)
		}
	})
}

func FuzzO2_KeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"},{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},null,1,"x",[[]]]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""},{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := oidc.ParseKeys(b); err == nil && (n == 0 || n > 100) {
			t.Fatalf("%d keys", n)
		}
	})
}

func FuzzO3_Header(f *testing.F) {
	for _, h := range []string{`{"alg":"RS256"}`, `{"alg":"none"}`, `{"alg":"RS256","alg":"none"}`, `{"alg":"ES256","kid":7}`, `{"crit":[]}`, `[]`, `{}{}`} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(h)) + ".e30.AA")
	}
	f.Fuzz(func(t *testing.T, s string) {
		if oidc.ParseHeader(s) == nil && (strings.Count(s, ".") != 2 || len(s) > 64<<10) {
			t.Fatal("not compact")
		}
	})
}

func FuzzO3_Object(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":1}x`, `{"a":1}}`, `[1]`, `null`, `{"a":{"b":[1,"x"]}}`, "{\"\xff\":1}", `{"a"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := oidc.ParseObject(b)
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatalf("accepted %q: %v", b, err)
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %d members, want %d", b, len(got), len(want))
		}
		for name, value := range want {
			if !bytes.Equal(bytes.TrimSpace(value), bytes.TrimSpace([]byte(got[name]))) {
				t.Fatalf("%q: %s", b, name)
			}
		}
	})
}
