// Command quickstart is a service with "Log in with Google" and a WebSocket
// endpoint behind the same sign-in: what README.md shows, as a whole program.
//
//	GOOGLE_CLIENT_ID=… GOOGLE_CLIENT_SECRET=… ORIGIN=https://app.example go run ./examples/quickstart
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	google := oidc.Google(os.Getenv("GOOGLE_CLIENT_ID"), os.Getenv("GOOGLE_CLIENT_SECRET"))
	if err := serve(ctx, listener, os.Getenv("ORIGIN"), google); err != nil {
		log.Fatal(err)
	}
}

// serve is the whole service behind origin, as https://app.example, until ctx
// ends.
func serve(ctx context.Context, listener net.Listener, origin string, provider *oidc.Provider) error {
	mux := http.NewServeMux()
	users := &users{}
	sessions, err := session.New[struct{}](session.NewMemoryStore(nil), &session.Options{
		TrustedOrigins: []string{origin},
		Cookie:         session.Cookie{Insecure: strings.HasPrefix(origin, "http://")},
	})
	if err != nil {
		return err
	}
	defer sessions.Close()

	// Log in with Google, at /auth/google/login.
	err = oidc.Mount(mux, origin+"/auth/google", provider, oidc.Then(users.ByIdentity, sessions.Login))
	if err != nil {
		return err
	}

	// A WebSocket endpoint behind that sign-in.
	hub, err := realtime.New(origin, realtime.Via(sessions.Authenticate), sessions, realtime.Rules{"room:": mayJoin}, nil)
	if err != nil {
		return err
	}
	defer hub.Close()
	mux.Handle("/realtime", hub)

	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		who, err := sessions.Authenticate(r)
		if err != nil {
			http.Redirect(w, r, "/auth/google/login", http.StatusSeeOther)
			return
		}
		fmt.Fprintf(w, "Hello, %s.\n", users.Name(who.UserID()))
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Logout(w, r); err != nil {
			http.Error(w, "could not sign out", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})

	server := &http.Server{Handler: sessions.Handler(mux), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// mayJoin is the one gate of a channel: asked for messages, history, presence.
func mayJoin(_ context.Context, _ realtime.Identity, _ string) (realtime.Grant, error) {
	return realtime.Grant{Publish: true, Presence: true}, nil
}

// users stands for the user table that a service already has.
type users struct {
	mu    sync.Mutex
	names map[string]string
}

// ByIdentity finds the user behind a verified profile, or makes one. The key
// is the issuer and the subject, never the email address.
func (u *users) ByIdentity(_ context.Context, p oidc.Profile) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	id := p.Issuer + "#" + p.Subject
	if u.names == nil {
		u.names = map[string]string{}
	}
	u.names[id] = p.Name
	return id, nil
}

// Name returns what the provider calls the user.
func (u *users) Name(id string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.names[id]
}
