package accounts_test

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

func Example() {
	quiet := slog.New(slog.DiscardHandler)
	sessions, err := session.New[struct{}](session.NewMemoryStore(nil), &session.Options{Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
	passwords, err := password.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	sealing, _, err := jwt.GenerateSealingKeys("2026") // in production: jwt.ParseSealingKeys of a secret
	if err != nil {
		log.Fatal(err)
	}
	ring, err := jwt.NewRing(jwt.NewMemoryKeyStore(), sealing, &jwt.RingOptions{Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	service, err := accounts.New(sessions, accounts.Config{
		BaseURL: "https://app.example", Users: accounts.NewMemoryStore(), Passwords: passwords, Ring: ring,
	}, &accounts.Options{Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()

	mux := http.NewServeMux()
	service.Mount(mux)
	signedIn := auth.Require(auth.AuthenticatorFunc(service.Authenticate))
	mux.Handle("GET /orders", signedIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "your orders")
	})))

	r := httptest.NewRequest("POST", "https://app.example/auth/register",
		strings.NewReader(`{"email":"al@example.com","password":"correct horse battery staple"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	cookie := w.Result().Cookies()[0]
	fmt.Println(w.Code, cookie.Name)

	for _, c := range []*http.Cookie{nil, cookie} {
		r = httptest.NewRequest("GET", "https://app.example/orders", nil)
		if c != nil {
			r.AddCookie(c)
		}
		w = httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 201 __Host-session
	// 401 {"type":"unauthenticated","title":"Sign in first","status":401}
	// 200 your orders
}

func ExampleNew_mistakes() {
	_, err := accounts.New[struct{}](nil, accounts.Config{BaseURL: "http://app.example"}, nil)
	fmt.Println(err)
	// Output:
	// accounts: no sessions; make them with session.New
	// accounts: no Config.Users; sqlstore.New makes a store, NewMemoryStore one for tests
	// accounts: no Config.Passwords; make them with password.New
	// accounts: no Config.Ring; make them with jwt.NewRing
	// accounts: Config.BaseURL: "http://app.example": plain http is for loopback only, use https
}
