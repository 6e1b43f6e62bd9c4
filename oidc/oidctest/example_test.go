package oidctest_test

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
)

// A test signs in to the program as a browser does, and then finds that a
// provider which misbehaves signs in nobody.
func ExampleNewServer() {
	var t *testing.T // the test's

	op := oidctest.NewServer(t, nil)
	server := httptest.NewUnstartedServer(nil) // has an address before it serves
	origin := "http://" + server.Listener.Addr().String()
	op.AllowRedirect(origin + "/auth/google/callback")

	provider := oidc.Generic(op.Issuer(), op.ClientID(), op.ClientSecret()) // in place of oidc.Google
	server.Config.Handler = newProgram(t, origin, provider)
	server.Start()
	t.Cleanup(server.Close)

	signIn := func() int {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Jar: jar}
		answer, err := browser.Get(origin + "/auth/google/login?return_to=/hello") // follows every redirect
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	if status := signIn(); status != http.StatusOK {
		t.Fatal(status)
	}
	op.Inject(oidctest.WrongNonce)
	if status := signIn(); status != http.StatusForbidden {
		t.Fatal(status)
	}
}

// newProgram stands for the program under test.
func newProgram(t *testing.T, origin string, provider *oidc.Provider) http.Handler {
	mux := http.NewServeMux()
	find := func(_ context.Context, p oidc.Profile) (string, error) { return p.Issuer + "#" + p.Subject, nil }
	login := func(w http.ResponseWriter, _ *http.Request, userID string) error { return nil } // session.Manager.Login
	if err := oidc.Mount(mux, origin+"/auth/google", provider, oidc.Then(find, login)); err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("GET /hello", func(http.ResponseWriter, *http.Request) {})
	return mux
}
