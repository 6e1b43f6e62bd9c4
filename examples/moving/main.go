// Command moving is a shop that kept its sessions with alexedwards/scs and now
// keeps them with gatewire: whoever is signed in there stays signed in, with
// their cart. session/MOVING.md tells the rest.
//
//	go run ./examples/moving
package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/gatewire/gatewire/session"
)

// Visit is what a session carries. With scs it was "cart" and "flash".
type Visit struct {
	Cart  []string `json:"cart,omitempty"`
	Flash string   `json:"flash,omitempty"`
}

func main() {
	former := scs.New() // with the store, lifetime and cookie that it had
	sessions, err := session.New[Visit](session.NewMemoryStore(nil), &session.Options{
		Absolute: 24 * time.Hour, Idle: 24 * time.Hour, // as scs has them by default
		Cookie: session.Cookie{Insecure: true, Name: "visit"}, // on https leave Cookie out
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
	log.Print("http://127.0.0.1:8080")
	log.Print(http.ListenAndServe("127.0.0.1:8080", newShop(sessions, former)))
}

type shop struct {
	sessions *session.Manager[Visit]
	former   *scs.SessionManager

	mu     sync.Mutex
	cutoff map[string]time.Time // user: when all their sessions were ended
}

func newShop(sessions *session.Manager[Visit], former *scs.SessionManager) http.Handler {
	s := &shop{sessions: sessions, former: former, cutoff: make(map[string]time.Time)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("POST /cart", s.add)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("POST /logout-everywhere", s.logoutEverywhere)
	// It was former.LoadAndSave(mux). carry goes once former's Lifetime is over.
	return sessions.Handler(s.carry(mux))
}

// carry brings a former session over, at the first request that shows one.
func (s *shop) carry(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie(s.former.Cookie.Name)
		if err == nil {
			if err := s.bring(w, r, cookie.Value); err != nil {
				log.Print("carrying a session over: ", err)
				http.Error(w, "Please try again.", http.StatusServiceUnavailable)
				return
			}
			gone := http.Cookie{Name: s.former.Cookie.Name, Path: s.former.Cookie.Path, Domain: s.former.Cookie.Domain,
				Secure: s.former.Cookie.Secure, HttpOnly: true, MaxAge: -1}
			http.SetCookie(w, &gone)
		}
		next.ServeHTTP(w, r)
	})
}

// bring begins a session here and then ends the former one. When one of the
// steps fails, the next request takes them again. Two requests at once may
// begin two sessions; the one that nobody uses ends by itself.
func (s *shop) bring(w http.ResponseWriter, r *http.Request, token string) error {
	_, err := s.sessions.Authenticate(r)
	if err != nil && !errors.Is(err, session.ErrNoSession) && !errors.Is(err, session.ErrInvalid) {
		return err
	}
	signedIn := err == nil
	old, err := s.former.Load(r.Context(), token)
	if err != nil {
		return err
	}
	userID := s.former.GetString(old, "userID")
	since := s.former.Deadline(old).Add(-s.former.Lifetime)
	// Before endedAt is asked: a sign-out everywhere that comes later makes Begin fail.
	epoch, err := s.sessions.Epoch(r.Context(), userID)
	if err != nil {
		return err
	}
	if userID != "" && !signedIn && since.After(s.endedAt(userID)) {
		cart, _ := s.former.Get(old, "cart").([]string)
		if err := s.sessions.Update(r.Context(), func(v *Visit) error { v.Cart = cart; return nil }); err != nil {
			return err
		}
		ip, _, _ := net.SplitHostPort(r.RemoteAddr)
		// AuthTime: what asks for a recent proof must not take this for one.
		start := session.Start{UserID: userID, AuthTime: since, Epoch: &epoch, UserAgent: r.UserAgent(), IP: ip}
		if _, err := s.sessions.Begin(w, r, start); err != nil {
			return errors.Join(err, s.sessions.Logout(w, r)) // the cart is not for whoever comes next
		}
	}
	// What stayed there could be carried over again, after a sign-out here.
	if err := s.former.Destroy(old); err != nil {
		return errors.Join(err, s.sessions.Logout(w, r))
	}
	return nil
}

func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	who, err := s.sessions.Authenticate(r)
	if err != nil {
		http.Error(w, "Please sign in.", session.StatusOf(err))
		return
	}
	// A flash message, read once. scs has PopString for it.
	err = s.sessions.Update(r.Context(), func(v *Visit) error { v.Flash = ""; return nil })
	if err != nil {
		http.Error(w, "Please try again.", session.StatusOf(err))
		return
	}
	fmt.Fprintf(w, "%s\nHello, %s. In your cart: %s.\n", who.Data().Flash, who.UserID(), strings.Join(who.Data().Cart, ", "))
}

func (s *shop) add(w http.ResponseWriter, r *http.Request) {
	if _, err := s.sessions.Authenticate(r); err != nil {
		http.Error(w, "Please sign in.", session.StatusOf(err))
		return
	}
	item := r.FormValue("item")
	err := s.sessions.Update(r.Context(), func(v *Visit) error {
		v.Cart, v.Flash = append(v.Cart, item), "Added "+item+"."
		return nil
	})
	if err != nil {
		http.Error(w, "Please try again.", session.StatusOf(err))
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *shop) logout(w http.ResponseWriter, r *http.Request) {
	if err := s.sessions.Logout(w, r); err != nil {
		http.Error(w, "Please try again.", session.StatusOf(err))
	}
}

// logoutEverywhere ends also what has not been carried over yet: the note comes
// first, so that nothing is carried over in between.
func (s *shop) logoutEverywhere(w http.ResponseWriter, r *http.Request) {
	who, err := s.sessions.Authenticate(r)
	if err == nil {
		s.mu.Lock()
		s.cutoff[who.UserID()] = time.Now() // in a service, in the row of the user
		s.mu.Unlock()
		_, err = s.sessions.RevokeUser(r.Context(), who.UserID(), session.ReasonSignedOut)
	}
	if err != nil {
		http.Error(w, "Please try again.", session.StatusOf(err))
	}
}

func (s *shop) endedAt(userID string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cutoff[userID]
}
