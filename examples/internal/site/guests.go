package site

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/session"
)

// Guest is what a session carries. A guest is no account: the name is whatever
// was typed, others may bear the same, and who signs out is gone.
type Guest struct{ Name string }

// Name is what a guest is called.
func (s *Site) Name(ctx context.Context, who realtime.Identity) string {
	found, err := s.Sessions.Session(ctx, who.SessionID())
	if err != nil {
		return "somebody" // their session has just ended, and the socket will
	}
	return found.Data().Name
}

// Info is [realtime.Options].Info: others see the name.
func (s *Site) Info(who realtime.Identity) json.RawMessage {
	info, err := json.Marshal(map[string]string{"name": s.Name(context.Background(), who)})
	if err != nil {
		return nil
	}
	return info
}

//go:embed web
var shared embed.FS

// pages serves an example's page to guests, and the sign-in to others.
type pages struct {
	title       string
	templates   *template.Template
	own, shared fs.FS
	sessions    *session.Manager[Guest]
}

func newPages(name string, web fs.FS, sessions *session.Manager[Guest]) (*pages, error) {
	p := &pages{title: strings.ToUpper(name[:1]) + name[1:], sessions: sessions}
	var err error
	if p.templates, err = template.ParseFS(shared, "web/*.html"); err != nil {
		return nil, err
	}
	if p.templates, err = p.templates.ParseFS(web, "web/index.html"); err != nil {
		return nil, err
	}
	if p.own, err = fs.Sub(web, "web"); err != nil {
		return nil, err
	}
	p.shared, err = fs.Sub(shared, "web")
	return p, err
}

func (p *pages) mount(mux *http.ServeMux) {
	mux.Handle("GET /web/", http.StripPrefix("/web", http.FileServerFS(p.own)))
	mux.Handle("GET /site/", http.StripPrefix("/site", http.FileServerFS(p.shared)))
	mux.HandleFunc("GET /{$}", p.page)
	mux.HandleFunc("POST /sign-in", p.signIn)
	mux.HandleFunc("POST /sign-out", p.signOut)
}

func (p *pages) page(w http.ResponseWriter, r *http.Request) {
	who, err := p.sessions.Authenticate(r)
	view := struct{ Title, ID, Name string }{Title: p.title}
	page := "sign-in.html"
	switch {
	case err == nil:
		view.ID, view.Name, page = who.UserID(), who.Data().Name, "index.html"
	case !errors.Is(err, session.ErrNoSession) && !errors.Is(err, session.ErrInvalid):
		http.Error(w, "try again in a moment", session.StatusOf(err))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = p.templates.ExecuteTemplate(w, page, view) // only a client that went away fails it
}

// signIn makes a guest of whoever gives a name. The session manager's handler
// has refused what other sites post.
func (p *pages) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	name := strings.Join(strings.Fields(r.PostFormValue("name")), " ")
	printable := strings.IndexFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
	if name == "" || utf8.RuneCountInString(name) > 24 || !utf8.ValidString(name) || !printable {
		http.Error(w, "a name has 1 to 24 characters", http.StatusBadRequest)
		return
	}
	err := p.sessions.Login(w, r, rand.Text())
	if err == nil {
		err = p.sessions.Update(r.Context(), func(g *Guest) error { g.Name = name; return nil })
	}
	if err != nil {
		http.Error(w, "could not sign in", session.StatusOf(err))
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// signOut ends the session, and with it every window's socket.
func (p *pages) signOut(w http.ResponseWriter, r *http.Request) {
	if err := p.sessions.Logout(w, r); err != nil {
		http.Error(w, "could not sign out", session.StatusOf(err))
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
