package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatewire/gatewire/session"
)

// Sign in, see who is calling, sign out.
func Example() {
	type Data struct{ Visits int }
	sessions, err := session.New[Data](session.NewMemoryStore(nil), &session.Options{
		TrustedOrigins: []string{"https://app.example"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sessions.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		epoch, err := sessions.Epoch(r.Context(), "user-1")
		// … the password is verified in between, so that a new one makes Begin fail:
		if err == nil {
			_, err = sessions.Begin(w, r, session.Start{UserID: "user-1", Epoch: &epoch, UserAgent: r.UserAgent()})
		}
		if err != nil {
			http.Error(w, "try again", session.StatusOf(err))
		}
	})
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		s, err := sessions.Authenticate(r)
		if err != nil {
			http.Error(w, "sign in", session.StatusOf(err))
			return
		}
		fmt.Fprint(w, s.UserID())
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Logout(w, r); err != nil {
			http.Error(w, "try again", session.StatusOf(err))
		}
	})
	handler := sessions.Handler(mux)

	cookie := ""
	for _, route := range []string{"GET /me", "POST /login", "GET /me", "POST /logout", "GET /me"} {
		var method, path string
		fmt.Sscan(route, &method, &path)
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if c := w.Result().Cookies(); len(c) > 0 && c[0].MaxAge >= 0 {
			cookie = c[0].Name + "=" + c[0].Value
		}
		fmt.Println(route, w.Code)
	}
	// Output:
	// GET /me 401
	// POST /login 200
	// GET /me 200
	// POST /logout 200
	// GET /me 401
}

// Data is changed by a function, which runs again when another request of the
// same visitor was faster.
func ExampleManager_Update() {
	type Data struct{ Cart []string }
	sessions, _ := session.New[Data](session.NewMemoryStore(nil), nil)
	defer sessions.Close()

	handler := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := sessions.Update(r.Context(), func(d *Data) error {
			d.Cart = append(d.Cart, r.FormValue("item"))
			return nil
		})
		if err != nil {
			http.Error(w, "try again", session.StatusOf(err))
			return
		}
		s, _ := sessions.Get(r.Context())
		fmt.Println(s.Data().Cart)
	}))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/?item=tea", nil))
	r := httptest.NewRequest("GET", "/?item=milk", nil)
	r.AddCookie(w.Result().Cookies()[0])
	handler.ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// [tea]
	// [tea milk]
}

// A refresh token works once; using it again later means that it was copied.
func ExampleManager_Refresh() {
	ctx := context.Background()
	sessions, _ := session.New[struct{}](session.NewMemoryStore(nil), nil)
	defer sessions.Close()

	first, s, _ := sessions.BeginToken(ctx, session.Start{UserID: "user-1"})
	second, _, _ := sessions.Refresh(ctx, first.Reveal())
	_, _, err := sessions.Refresh(ctx, second.Reveal())
	fmt.Println("the second, once:", err)

	_, _, err = sessions.Refresh(ctx, first.Reveal()) // by whoever copied it
	fmt.Println("the first again:", errors.Is(err, session.ErrRefreshInvalid))
	alive, _ := sessions.Alive(ctx, s.ID())
	fmt.Println("alive:", alive)
	// Output:
	// the second, once: <nil>
	// the first again: true
	// alive: false
}

// A password change ends the user's other sessions and keeps this one, with a
// new secret.
func ExampleManager_RevokeOthers() {
	sessions, _ := session.New[struct{}](session.NewMemoryStore(nil), nil)
	defer sessions.Close()
	sessions.OnEnd(func(_, userID, reason string) { fmt.Println(userID+":", reason) })

	changePassword := func(w http.ResponseWriter, r *http.Request) {
		s, err := sessions.Authenticate(r)
		if err != nil {
			http.Error(w, "sign in", session.StatusOf(err))
			return
		}
		// … store the new password, then:
		if err := sessions.Renew(w, r); err != nil {
			http.Error(w, "try again", session.StatusOf(err))
			return
		}
		n, err := sessions.RevokeOthers(r.Context(), s.UserID(), s.ID(), session.ReasonPasswordChanged)
		fmt.Println("ended:", n, err)
	}

	w := httptest.NewRecorder()
	_ = sessions.Login(w, httptest.NewRequest("POST", "/login", nil), "user-1")
	_, _, _ = sessions.BeginToken(context.Background(), session.Start{UserID: "user-1"}) // the phone
	r := httptest.NewRequest("POST", "/password", nil)
	r.AddCookie(w.Result().Cookies()[0])
	sessions.Handler(http.HandlerFunc(changePassword)).ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// user-1: password changed
	// ended: 1 <nil>
}
