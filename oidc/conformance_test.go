package oidc_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

func TestO1_HappyCodeFlow(t *testing.T) {
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		w := newWorld(t, setup{op: oidctest.Options{Alg: alg}})
		b := w.browser()
		got := b.signIn("/home?tab=1#top")
		require.Equal(t, http.StatusOK, got.status, got.body+w.logged())
		require.Equal(t, appURL+"/home?tab=1#top", got.url)
		require.Len(t, w.signedIn(), 1)
		p := w.signedIn()[0]
		require.Equal(t, "oidc", p.Provider)
		require.Equal(t, opURL, p.Issuer)
		require.NotEmpty(t, p.Subject)
		require.Equal(t, "alice@example.com", p.Email)
		require.True(t, p.EmailVerified)
		require.False(t, p.EmailAuthoritative, "an unknown provider is no authority for example.com")
		require.Equal(t, "Alice Adams", p.Name)
		require.NotEmpty(t, p.SID)
		require.WithinDuration(t, time.Now(), p.AuthTime, time.Minute)
		require.NotEmpty(t, p.IDToken)
		require.NotEmpty(t, p.Token.AccessToken)
		require.Contains(t, string(p.Claims), `"nonce"`)
		require.Empty(t, b.cookies(), "the flow cookie is gone")
		require.Zero(t, w.op.Asked(oidctest.UserInfo), "the ID token lacked nothing")
	}
}

// every fault of oidctest, and what becomes of a sign-in: the page's status,
// and the reason in the log. Status 200 is a sign-in.
var faultTable = map[oidctest.Fault]struct {
	status int
	reason string
}{
	oidctest.WrongIssuer:     {403, "issued by a different provider"},
	oidctest.MissingIssuer:   {403, "issued by a different provider"},
	oidctest.MissingSubject:  {403, "sub must be"},
	oidctest.EmptySubject:    {403, "sub must be"},
	oidctest.NumberSubject:   {403, "failed to unmarshal claims"},
	oidctest.LongSubject:     {403, "sub must be"},
	oidctest.WrongAudience:   {403, "expected audience"},
	oidctest.MissingAudience: {403, "expected audience"},
	oidctest.ExtraAudience:   {403, "not in TrustedAudiences"},
	oidctest.WrongParty:      {403, "azp is another client"},
	oidctest.MissingIssuedAt: {403, "no iat"},
	oidctest.FutureIssuedAt:  {403, "iat is in the future"},
	oidctest.MissingExpiry:   {403, "no exp"},
	oidctest.TextExpiry:      {403, "exp is not a point in time"},
	oidctest.Expired:         {403, "expired"},
	oidctest.NotYetValid:     {403, "nbf is in the future"},
	oidctest.WrongNonce:      {403, "nonce is not"},
	oidctest.MissingNonce:    {403, "nonce is not"},
	oidctest.WrongTokenHash:  {403, "at_hash"},
	oidctest.LogoutEvents:    {403, "events"},
	oidctest.LogoutType:      {403, "typ is"},
	oidctest.AccessType:      {403, "typ is"},
	oidctest.DuplicateClaim:  {403, "appears twice"},
	oidctest.CriticalHeader:  {403, "crit is not supported"},
	oidctest.StaleAuthTime:   {403, "auth_time is older"},
	oidctest.MissingAuthTime: {403, "no auth_time"},
	oidctest.WrongACR:        {403, "acr is none"},
	oidctest.TextVerified:    {200, ""}, // but not verified: TestO14_OnlyJSONTrueVerifies
	oidctest.MissingVerified: {200, ""},
	oidctest.NoIDToken:       {502, "holds no ID token"},

	oidctest.AlgNone:         {403, "unexpected signature algorithm"},
	oidctest.HMACSecret:      {403, "unexpected signature algorithm"},
	oidctest.HMACPublicKey:   {403, "unexpected signature algorithm"},
	oidctest.BadSignature:    {403, "no key of the provider verifies"},
	oidctest.UnknownKey:      {403, "no key of the provider verifies"},
	oidctest.EncryptionKey:   {502, "no usable key"},
	oidctest.OtherAlgKey:     {403, "no key of the provider verifies"},
	oidctest.NoKeyID:         {200, ""},
	oidctest.UnusableKeys:    {200, ""},
	oidctest.RotateAtSigning: {200, ""},

	oidctest.MetadataWrongIssuer: {502, "calls itself"},
	oidctest.MetadataHTTP:        {502, "token_endpoint must be https"},

	oidctest.AnswerWrongIssuer:   {403, "mix-up"},
	oidctest.AnswerMissingIssuer: {403, "no iss"},
	oidctest.AnswerWrongState:    {400, "state is missing"},
	oidctest.AnswerMissingState:  {400, "state is missing"},
	oidctest.AnswerTwice:         {400, "appears twice"},
	oidctest.AccessDenied:        {403, "access_denied"},
	oidctest.ErrorHTML:           {400, "invalid_request"},
	oidctest.ServerError:         {502, "server_error"},
	oidctest.TemporarilyDown:     {503, "temporarily_unavailable"},

	oidctest.InvalidGrant:  {400, "invalid_grant"},
	oidctest.InvalidClient: {502, "invalid_client"},
	oidctest.TokenTypeMAC:  {502, "is not supported"},

	oidctest.UserInfoWrongSubject:   {403, "userinfo: sub"},
	oidctest.UserInfoMissingSubject: {403, "userinfo: sub"},
	oidctest.UserInfoOtherEmail:     {200, ""},

	oidctest.Down(oidctest.Discovery):      {503, "503 Service Unavailable"},
	oidctest.Fails(oidctest.Discovery):     {503, "500 Internal"},
	oidctest.Garbage(oidctest.Discovery):   {503, "discovery"},
	oidctest.Huge(oidctest.Discovery):      {503, "larger than"},
	oidctest.Hangs(oidctest.Discovery):     {503, "deadline"},
	oidctest.Redirects(oidctest.Discovery): {502, "redirect"},
	oidctest.Down(oidctest.Keys):           {503, "answered 503"},
	oidctest.Fails(oidctest.Keys):          {502, "answered 500"},
	oidctest.Garbage(oidctest.Keys):        {502, "not a JSON Web Key Set"},
	oidctest.Huge(oidctest.Keys):           {502, "larger than"},
	oidctest.Hangs(oidctest.Keys):          {504, "no answer in time"},
	oidctest.Redirects(oidctest.Keys):      {502, "redirect"},
	oidctest.Down(oidctest.Token):          {503, "answered 503"},
	oidctest.Fails(oidctest.Token):         {502, "answered 500"},
	oidctest.Garbage(oidctest.Token):       {502, "cannot parse json"},
	oidctest.Huge(oidctest.Token):          {502, "token: "},
	oidctest.Hangs(oidctest.Token):         {504, "no answer in time"},
	oidctest.Redirects(oidctest.Token):     {502, "redirect"},
	oidctest.Down(oidctest.UserInfo):       {503, "answered 503"},
	oidctest.Fails(oidctest.UserInfo):      {502, "answered 500"},
	oidctest.Garbage(oidctest.UserInfo):    {502, "not a JSON object"},
	oidctest.Huge(oidctest.UserInfo):       {502, "larger than"},
	oidctest.Hangs(oidctest.UserInfo):      {504, "no answer in time"},
	oidctest.Redirects(oidctest.UserInfo):  {502, "redirect"},
}

func TestO15_EveryFaultIsMet(t *testing.T) {
	for _, fault := range oidctest.Faults() {
		t.Run("O15 "+string(fault), func(t *testing.T) {
			want, ok := faultTable[fault]
			require.True(t, ok, "this fault has no expectation")
			synctest.Test(t, func(t *testing.T) {
				s := setup{change: func(p *oidc.Provider) {
					p.MaxAge = time.Hour
					p.ACRValues = []string{"loa2"}
				}}
				s.op.UserInfoOnly = strings.HasPrefix(string(fault), "userinfo-")
				w := newWorld(t, s)
				w.op.Inject(fault)
				began := time.Now()
				got := w.browser().signIn("/home")
				require.Equal(t, want.status, got.status, got.body+w.logged())
				require.LessOrEqual(t, time.Since(began), 15*time.Second)
				require.Equal(t, got.status == 503, got.header.Get("Retry-After") != "")
				if want.status == 200 {
					require.Len(t, w.signedIn(), 1)
					require.Equal(t, appURL+"/home", got.url)
					return
				}
				require.Contains(t, w.logged(), want.reason)
				require.Empty(t, w.signedIn())
				require.NotContains(t, got.body, "<script>alert")
				require.LessOrEqual(t, w.op.Asked(oidctest.Token), 1, "the code is sent once")
				if want.status == 403 || want.status == 400 {
					require.Zero(t, w.op.Asked(oidctest.UserInfo)-userInfoAllowed(fault), "no UserInfo after a bad proof")
				}

				w.op.Clear() // and it heals
				time.Sleep(time.Minute)
				got = w.browser().signIn("/home")
				require.Equal(t, 200, got.status, got.body+w.logged())
				require.Len(t, w.signedIn(), 1)
			})
		})
	}
}

func userInfoAllowed(f oidctest.Fault) int {
	if strings.HasPrefix(string(f), "userinfo-") {
		return 1
	}
	return 0
}

// The names are the OpenID Foundation's modules, without the common prefix.
func TestO1_ConformanceModules(t *testing.T) {
	refused := map[string]oidctest.Fault{
		"invalid-iss": oidctest.WrongIssuer, "missing-sub": oidctest.MissingSubject, "invalid-aud": oidctest.WrongAudience,
		"missing-iat": oidctest.MissingIssuedAt, "idtoken-sig-none": oidctest.AlgNone, "invalid-sig-rs256": oidctest.BadSignature,
		"nonce-invalid": oidctest.WrongNonce,
	}
	for name, fault := range refused {
		for _, mode := range []string{"query", "form_post"} {
			t.Run("O1 oidcc-client-test-"+name+" "+mode, func(t *testing.T) {
				w := newWorld(t, setup{op: oidctest.Options{UserInfoOnly: true}, change: func(p *oidc.Provider) { p.FormPost = mode == "form_post" }})
				w.op.Inject(fault)
				b := w.browser()
				got := b.finish(b.signIn("/"))
				require.Equal(t, 403, got.status, got.body)
				require.Empty(t, w.signedIn())
				require.Zero(t, w.op.Asked(oidctest.UserInfo))
			})
		}
	}
	t.Run("O1 oidcc-client-test-kid-absent-single-jwks", func(t *testing.T) {
		w := newWorld(t, setup{})
		w.op.Inject(oidctest.NoKeyID)
		require.Equal(t, 200, w.browser().signIn("/").status)
	})
	t.Run("O1 oidcc-client-test-kid-absent-multiple-jwks", func(t *testing.T) {
		w := newWorld(t, setup{})
		w.op.AddKey()
		w.op.Inject(oidctest.NoKeyID)
		require.Equal(t, 200, w.browser().signIn("/").status)
	})
	t.Run("O1 oidcc-client-test-userinfo-invalid-sub", func(t *testing.T) {
		w := newWorld(t, setup{op: oidctest.Options{UserInfoOnly: true}})
		w.op.Inject(oidctest.UserInfoWrongSubject)
		require.Equal(t, 403, w.browser().signIn("/").status)
		require.Empty(t, w.signedIn())
	})
	t.Run("O1 oidcc-client-test-scope-userinfo-claims", func(t *testing.T) {
		w := newWorld(t, setup{op: oidctest.Options{UserInfoOnly: true}})
		require.Equal(t, 200, w.browser().signIn("/").status)
		require.Equal(t, 1, w.op.Asked(oidctest.UserInfo))
		require.Equal(t, "alice@example.com", w.signedIn()[0].Email)
		require.True(t, w.signedIn()[0].EmailVerified)
		require.Equal(t, "Alice Adams", w.signedIn()[0].Name)
	})
	for _, auth := range []string{"client_secret_basic", "client_secret_post"} {
		t.Run("O1 oidcc-client-test-"+auth, func(t *testing.T) {
			// Characters that RFC 6749 section 2.3.1 wants form-encoded.
			w := newWorld(t, setup{op: oidctest.Options{TokenAuth: auth, ClientID: "a:b/c d", ClientSecret: "s:%+ &é=0123456789abcdef"}})
			require.Equal(t, 200, w.browser().signIn("/").status, w.logged())
			require.Equal(t, 1, w.op.Asked(oidctest.Token))
		})
	}
	t.Run("O1 public client", func(t *testing.T) {
		w := newWorld(t, setup{op: oidctest.Options{Public: true}})
		require.Equal(t, 200, w.browser().signIn("/").status, w.logged())
	})
	t.Run("O1 token endpoint without a usable method", func(t *testing.T) {
		w := newWorld(t, setup{op: oidctest.Options{Metadata: map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}}})
		require.Equal(t, 502, w.browser().signIn("/").status)
	})
}

func TestO2_KeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		b := w.browser()
		require.Equal(t, 200, b.signIn("/").status)
		for range 3 { // signing-key-rotation: while in use, and again at once
			w.op.Rotate()
			require.Equal(t, 200, b.signIn("/").status, w.logged())
		}
		w.op.Inject(oidctest.RotateAtSigning) // signing-key-rotation-just-before-signing
		require.Equal(t, 200, b.signIn("/").status, w.logged())
		require.Equal(t, 5, w.op.Asked(oidctest.Keys), "one fetch a rotation")
		w.op.Clear()
		require.Equal(t, 200, b.signIn("/").status)
		require.Equal(t, 5, w.op.Asked(oidctest.Keys), "and none without one")
	})
}

func TestO2_UnknownKeyFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		w.op.Inject(oidctest.UnknownKey)
		for range 50 {
			require.Equal(t, 403, w.browser().signIn("/").status)
		}
		require.LessOrEqual(t, w.op.Asked(oidctest.Keys), 3)
		w.op.Clear()
		require.Equal(t, 200, w.browser().signIn("/").status, "known keys are not delayed")
		time.Sleep(31 * time.Second)
		w.op.Rotate()
		require.Equal(t, 200, w.browser().signIn("/").status, "a rotation after the pause is found")
	})
}

func TestO2_LastGoodKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		require.Equal(t, 200, w.browser().signIn("/").status)
		for _, fault := range []oidctest.Fault{
			oidctest.Down(oidctest.Keys), oidctest.Hangs(oidctest.Keys), oidctest.Garbage(oidctest.Keys), oidctest.Huge(oidctest.Keys),
			oidctest.Down(oidctest.Discovery), oidctest.Hangs(oidctest.Discovery),
		} {
			w.op.Inject(fault)
			time.Sleep(2 * time.Hour)
			began := time.Now()
			require.Equal(t, 200, w.browser().signIn("/").status, "%s: %s", fault, w.logged())
			require.LessOrEqual(t, time.Since(began), 5*time.Second, "an old value is not worth a long wait")
			time.Sleep(time.Minute)
			w.op.Clear()
		}
		w.op.Inject(oidctest.Down(oidctest.Keys))
		time.Sleep(25 * time.Hour)
		require.Equal(t, 503, w.browser().signIn("/").status, "but not for ever: a key withdrawn must go")
		w.op.Clear()
		time.Sleep(10 * time.Second)
		require.Equal(t, 200, w.browser().signIn("/").status)
	})
}

func TestO2_RemovedKeyIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{})
		require.Equal(t, 200, w.browser().signIn("/").status)
		before := w.op.Asked(oidctest.Keys)
		time.Sleep(time.Hour + time.Second)
		require.Equal(t, 200, w.browser().signIn("/").status)
		require.Equal(t, before+1, w.op.Asked(oidctest.Keys), "the set is replaced each hour")
	})
}

func TestO2_EndpointsAreHTTPS(t *testing.T) {
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"} {
		// Also on loopback, when the issuer is not there itself.
		for _, bad := range []string{"http://127.0.0.1:9/x", "http://op.example/x", "file:///etc/passwd", "https://u:p@op.example/", "https://op.example/#f"} {
			w := newWorld(t, setup{op: oidctest.Options{Metadata: map[string]any{name: bad}}})
			require.Equal(t, 502, w.browser().signIn("/").status, "%s %s", name, bad)
			require.Contains(t, w.logged(), name)
		}
	}
}
