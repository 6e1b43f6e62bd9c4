// Command gin is a shop made with gin that keeps its sessions with gatewire:
// sign-in by password, a cart, your devices, a stream and a WebSocket.
//
//	go run ./examples/gin
package main

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

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

	engine := gin.Default()
	if err := engine.SetTrustedProxies(nil); err != nil { // or those there are
		stop()
		return nil, nil, err
	}
	engine.SetHTMLTemplate(pages)
	engine.GET("/", s.home)
	engine.GET("/clock", s.clock)
	engine.POST("/cart", s.buy)
	engine.POST("/login", s.login)
	engine.POST("/logout", s.logout)
	engine.GET("/realtime", gin.WrapH(hub))
	caller := auth.Via(sessions.Authenticate)
	mine := engine.Group("/devices", guard(auth.Require(caller)))
	mine.GET("", s.devices)
	mine.POST("/:id/revoke", s.revoke)
	engine.POST("/password", guard(auth.Require(caller, auth.Fresh(5*time.Minute))), s.changePassword)

	// Around the engine, not engine.Use: gin writes the status of an answer
	// without a body after its middlewares are through. This way all of it passes
	// Handler, which saves the session before the first byte.
	return sessions.Handler(engine), stop, nil
}

// guard makes a middleware of gin of one that passes its ResponseWriter on as
// it is, as those of package auth do.
func guard(m func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		m(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r // its context says who is calling
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}

func mayJoin(context.Context, realtime.Identity, string) (realtime.Grant, error) {
	return realtime.Grant{Publish: true, Presence: true}, nil
}

// fail answers with the status that an error of package session means.
func fail(c *gin.Context, err error) {
	c.String(session.StatusOf(err), "Please try again.")
}

func (s *shop) home(c *gin.Context) {
	visit, err := s.sessions.Get(c.Request.Context())
	if err != nil {
		fail(c, err)
		return
	}
	c.HTML(http.StatusOK, "home", visit)
}

func (s *shop) buy(c *gin.Context) {
	item := c.PostForm("item")
	err := s.sessions.Update(c.Request.Context(), func(v *Visit) error { v.Cart = append(v.Cart, item); return nil })
	if err != nil {
		fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/")
}

// clock streams until the client goes away. The session is saved, and its
// cookie sent, with the first flush.
func (s *shop) clock(c *gin.Context) {
	if err := s.sessions.Update(c.Request.Context(), func(v *Visit) error { v.Clocks++; return nil }); err != nil {
		fail(c, err)
		return
	}
	c.Header("Content-Type", "text/event-stream")
	first := true
	c.Stream(func(w io.Writer) bool {
		if !first {
			select {
			case <-time.After(time.Second):
			case <-c.Request.Context().Done():
				return false
			}
		}
		first = false
		_, err := fmt.Fprintf(w, "data: %s\n\n", time.Now().Format(time.TimeOnly))
		return err == nil // else the client is gone, or the session could not be saved
	})
}

// login stands behind a limit on guesses in a service.
func (s *shop) login(c *gin.Context) {
	ctx, name := c.Request.Context(), c.PostForm("name")
	// Before the hash is read: a password change in between ends this sign-in.
	epoch, err := s.sessions.Epoch(ctx, name)
	if err != nil {
		fail(c, err)
		return
	}
	err = s.verify(ctx, name, password.Password(c.PostForm("password")))
	if errors.Is(err, password.ErrMismatch) || errors.Is(err, password.ErrTooLong) {
		c.String(http.StatusUnauthorized, "Wrong name or password.")
		return
	}
	if err == nil {
		start := session.Start{UserID: name, Epoch: &epoch, UserAgent: c.Request.UserAgent(), IP: c.ClientIP()}
		_, err = s.sessions.Begin(c.Writer, c.Request, start)
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/")
}

func (s *shop) verify(ctx context.Context, name string, pw password.Password) error {
	hash, known := s.users.Load(name)
	if !known {
		return s.passwords.VerifyMissing(ctx, pw)
	}
	_, err := s.passwords.Verify(ctx, pw, hash.(password.Hash))
	return err
}

func (s *shop) logout(c *gin.Context) {
	if err := s.sessions.Logout(c.Writer, c.Request); err != nil {
		fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/")
}

func (s *shop) devices(c *gin.Context) {
	who, _ := auth.From(c.Request.Context())
	list, err := s.sessions.List(c.Request.Context(), who.UserID())
	if err != nil {
		fail(c, err)
		return
	}
	c.HTML(http.StatusOK, "devices", list)
}

func (s *shop) revoke(c *gin.Context) {
	who, _ := auth.From(c.Request.Context())
	found, err := s.sessions.Revoke(c.Request.Context(), who.UserID(), c.Param("id"), session.ReasonRevoked)
	switch {
	case err != nil:
		fail(c, err)
	case !found:
		c.String(http.StatusNotFound, "No such device.")
	default:
		c.Redirect(http.StatusSeeOther, "/devices")
	}
}

// changePassword signs out every other device, and whoever copied the cookie.
func (s *shop) changePassword(c *gin.Context) {
	ctx, pw := c.Request.Context(), password.Password(c.PostForm("password"))
	who, _ := auth.From(ctx)
	if err := s.passwords.Check(pw, who.UserID()); err != nil {
		c.String(http.StatusUnprocessableEntity, "%s", err)
		return
	}
	hash, err := s.passwords.Hash(ctx, pw)
	if err == nil {
		s.users.Store(who.UserID(), hash)
		_, err = s.sessions.RevokeOthers(ctx, who.UserID(), who.SessionID(), session.ReasonPasswordChanged)
	}
	if err == nil {
		err = s.sessions.Renew(c.Writer, c.Request)
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/")
}
