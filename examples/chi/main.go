// Command chi is a shop made with chi that keeps its sessions with gatewire:
// sign-in by password, a cart, your devices, a stream and a WebSocket.
//
//	go run ./examples/chi
package main

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/session"
)

// Visit is what a session carries, a visitor's too.
type Visit struct {
	Cart   []string `json:"cart,omitempty"`
	Clocks int      `json:"clocks,omitempty"`
}

var pages = template.Must(template.New("home").Parse(`<!doctype html><title>Shop</title>
<p>Hello, {{or .UserID "visitor"}}. Cart: {{range .Data.Cart}}{{.}} {{end}}. <a href="/clock">Clocks</a>: {{.Data.Clocks}}.
<form method="post" action="/cart"><input name="item"><button>Buy</button></form>
{{if .UserID}}<a href="/devices">Your devices</a>
<form method="post" action="/password"><input name="password" type="password"><button>Change password</button></form>
<form method="post" action="/logout"><button>Sign out</button></form>
{{else}}<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Sign in</button></form>{{end}}
{{define "devices"}}<!doctype html><title>Your devices</title>
{{range .}}<form method="post" action="/devices/{{.ID}}/revoke">{{.UserAgent}}, {{.IP}} <button>Sign out</button></form>{{end}}{{end}}`))

func main() {
	const addr = "127.0.0.1:8080"
	handler, stop, err := newShop("http://"+addr, session.NewMemoryStore(nil))
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	server := &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	log.Print("http://", addr, ": sign in as ada with ", firstPassword)
	log.Print(server.ListenAndServe())
}

const firstPassword = "correct horse battery"

type shop struct {
	sessions  *session.Manager[Visit]
	passwords *password.Hasher
	users     sync.Map // name: password.Hash; in a service, the user table
}

func newShop(origin string, store session.Store) (http.Handler, func(), error) {
	sessions, err := session.New[Visit](store, &session.Options{
		TrustedOrigins: []string{origin},
		Cookie:         session.Cookie{Insecure: true}, // on https leave Cookie out
	})
	if err != nil {
		return nil, nil, err
	}
	hub, err := realtime.New(origin, realtime.Via(sessions.Authenticate), sessions, realtime.Rules{"room:": mayJoin}, nil)
	if err != nil {
		return nil, nil, errors.Join(err, sessions.Close())
	}
	stop := func() { _, _ = hub.Close(), sessions.Close() }
	s := &shop{sessions: sessions}
	if s.passwords, err = password.New(nil); err != nil {
		stop()
		return nil, nil, err
	}
	for _, name := range []string{"ada", "bob"} {
		hash, err := s.passwords.Hash(context.Background(), firstPassword)
		if err != nil {
			stop()
			return nil, nil, err
		}
		s.users.Store(name, hash)
	}

	r := chi.NewRouter()
	r.Use(middleware.Logger, middleware.Recoverer)
	r.Get("/", s.home)
	r.Get("/clock", s.clock)
	r.Post("/cart", s.buy)
	r.Post("/login", s.login)
	r.Post("/logout", s.logout)
	r.Handle("/realtime", hub)
	caller := auth.Via(sessions.Authenticate)
	r.Group(func(r chi.Router) {
		r.Use(auth.Require(caller))
		r.Get("/devices", s.devices)
		r.Post("/devices/{id}/revoke", s.revoke)
	})
	r.With(auth.Require(caller, auth.Fresh(5*time.Minute))).Post("/password", s.changePassword)

	// Around the router, not r.Use: whatever the router and its middlewares
	// write then passes Handler, which saves the session before the first byte.
	return sessions.Handler(r), stop, nil
}

func mayJoin(context.Context, realtime.Identity, string) (realtime.Grant, error) {
	return realtime.Grant{Publish: true, Presence: true}, nil
}

// fail answers with the status that an error of package session means.
func fail(w http.ResponseWriter, err error) {
	http.Error(w, "Please try again.", session.StatusOf(err))
}

func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	visit, err := s.sessions.Get(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	_ = pages.ExecuteTemplate(w, "home", visit)
}

func (s *shop) buy(w http.ResponseWriter, r *http.Request) {
	item := r.PostFormValue("item")
	err := s.sessions.Update(r.Context(), func(v *Visit) error { v.Cart = append(v.Cart, item); return nil })
	if err != nil {
		fail(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// clock streams until the client goes away. The session is saved, and its
// cookie sent, with the first flush.
func (s *shop) clock(w http.ResponseWriter, r *http.Request) {
	if err := s.sessions.Update(r.Context(), func(v *Visit) error { v.Clocks++; return nil }); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for {
		_, err := fmt.Fprintf(w, "data: %s\n\n", time.Now().Format(time.TimeOnly))
		if err != nil || out.Flush() != nil {
			return // the client is gone, or the session could not be saved
		}
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
			return
		}
	}
}

// login stands behind a limit on guesses in a service.
func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	// Before the hash is read: a password change in between ends this sign-in.
	epoch, err := s.sessions.Epoch(r.Context(), name)
	if err != nil {
		fail(w, err)
		return
	}
	err = s.verify(r.Context(), name, password.Password(r.PostFormValue("password")))
	if errors.Is(err, password.ErrMismatch) || errors.Is(err, password.ErrTooLong) {
		http.Error(w, "Wrong name or password.", http.StatusUnauthorized)
		return
	}
	if err == nil {
		ip, _, _ := net.SplitHostPort(r.RemoteAddr)
		_, err = s.sessions.Begin(w, r, session.Start{UserID: name, Epoch: &epoch, UserAgent: r.UserAgent(), IP: ip})
	}
	if err != nil {
		fail(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *shop) verify(ctx context.Context, name string, pw password.Password) error {
	hash, known := s.users.Load(name)
	if !known {
		return s.passwords.VerifyMissing(ctx, pw)
	}
	_, err := s.passwords.Verify(ctx, pw, hash.(password.Hash))
	return err
}

func (s *shop) logout(w http.ResponseWriter, r *http.Request) {
	if err := s.sessions.Logout(w, r); err != nil {
		fail(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *shop) devices(w http.ResponseWriter, r *http.Request) {
	who, _ := auth.From(r.Context())
	list, err := s.sessions.List(r.Context(), who.UserID())
	if err != nil {
		fail(w, err)
		return
	}
	_ = pages.ExecuteTemplate(w, "devices", list)
}

func (s *shop) revoke(w http.ResponseWriter, r *http.Request) {
	who, _ := auth.From(r.Context())
	found, err := s.sessions.Revoke(r.Context(), who.UserID(), chi.URLParam(r, "id"), session.ReasonRevoked)
	switch {
	case err != nil:
		fail(w, err)
	case !found:
		http.NotFound(w, r)
	default:
		http.Redirect(w, r, "/devices", http.StatusSeeOther)
	}
}

// changePassword signs out every other device, and whoever copied the cookie.
func (s *shop) changePassword(w http.ResponseWriter, r *http.Request) {
	who, _ := auth.From(r.Context())
	pw := password.Password(r.PostFormValue("password"))
	if err := s.passwords.Check(pw, who.UserID()); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	hash, err := s.passwords.Hash(r.Context(), pw)
	if err == nil {
		s.users.Store(who.UserID(), hash)
		_, err = s.sessions.RevokeOthers(r.Context(), who.UserID(), who.SessionID(), session.ReasonPasswordChanged)
	}
	if err == nil {
		err = s.sessions.Renew(w, r)
	}
	if err != nil {
		fail(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
