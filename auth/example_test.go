package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

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

// A browser is sent to the sign-in page; a program gets the 401.
func ExampleSignInPage() {
	page := auth.SignInPage("/login")(auth.Require(authtest.Anonymous())(http.NotFoundHandler()))
	for _, accept := range []string{"text/html", "application/json"} {
		r := httptest.NewRequest("GET", "/orders?page=2", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("Location"))
	}
	// Output:
	// 303 /login?return_to=%2Forders%3Fpage%3D2
	// 401
}

// Who signed in too long ago is asked to do so again before this one request.
func ExampleFresh() {
	caller := authtest.As(authtest.Caller{User: "alice", SignedIn: time.Now().Add(-time.Hour)})
	deleteAccount := auth.Require(caller, auth.Fresh(5*time.Minute))(http.NotFoundHandler())
	w := httptest.NewRecorder()
	deleteAccount.ServeHTTP(w, httptest.NewRequest("DELETE", "/account", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer error="insufficient_user_authentication", error_description="A more recent authentication is required", max_age="300"
}
