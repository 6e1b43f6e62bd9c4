package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/auth/authtest"
)

func ExampleRequire() {
	// In a program: auth.OneOf(auth.Via(sessions.Authenticate), auth.Via(verifier.Authenticate))
	caller := authtest.As(authtest.Caller{User: "alice", Scopes: []string{"orders:read"}})

	mux := http.NewServeMux()
	mux.Handle("GET /orders", auth.Require(caller)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := auth.From(r.Context())
		fmt.Fprintln(w, "orders of", who.UserID())
	})))
	mux.Handle("POST /orders", auth.Require(caller, auth.Scope("orders:write"))(http.NotFoundHandler()))

	for _, method := range []string{"GET", "POST"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, "/orders", nil))
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
	}
	// Output:
	// 200  orders of alice
	//
	// 403 Bearer error="insufficient_scope", scope="orders:write" {"type":"insufficient-scope","title":"A scope is missing","status":403}
}

func ExampleOneOf() {
	cookie := authtest.As(authtest.Caller{User: "alice", Session: "s1"})
	token := authtest.As(authtest.Caller{User: "mallory", Session: "s2"})
	_, err := auth.OneOf(cookie, token).Authenticate(httptest.NewRequest("GET", "/", nil))
	fmt.Println(auth.ErrorCode(err), "-", err)
	// Output: invalid_token - auth: the request's credentials name different users or sessions
}
