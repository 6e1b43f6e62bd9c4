// Command echo is a shop made with echo that keeps its sessions with gatewire:
// sign-in by password, a cart, your devices, a stream and a WebSocket.
//
//	go run ./examples/echo
package main

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

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

	e := echo.New()
	e.IPExtractor = echo.ExtractIPDirect() // or what fits the proxies there are
	e.Renderer = &echo.TemplateRenderer{Template: pages}
	e.Use(middleware.RequestLogger(), middleware.Recover())
	e.GET("/", s.home)
	e.GET("/clock", s.clock)
	e.POST("/cart", s.buy)
	e.POST("/login", s.login)
	e.POST("/logout", s.logout)
	e.GET("/realtime", echo.WrapHandler(hub))
	caller := auth.Via(sessions.Authenticate)
	mine := e.Group("/devices", echo.WrapMiddleware(auth.Require(caller)))
	mine.GET("", s.devices)
	mine.POST("/:id/revoke", s.revoke)
	e.POST("/password", s.changePassword, echo.WrapMiddleware(auth.Require(caller, auth.Fresh(5*time.Minute))))

	// Around echo, not e.Use: echo answers the errors of handlers after its
	// middlewares are through. This way all of it passes Handler, which saves the
	// session before the first byte.
	return sessions.Handler(e), stop, nil
}

func mayJoin(context.Context, realtime.Identity, string) (realtime.Grant, error) {
	return realtime.Grant{Publish: true, Presence: true}, nil
}

// failed is an error of package session as one of echo.
func failed(err error) error {
	return echo.NewHTTPError(session.StatusOf(err), "Please try again.").Wrap(err)
}

func (s *shop) home(c *echo.Context) error {
	visit, err := s.sessions.Get(c.Request().Context())
	if err != nil {
		return failed(err)
	}
	return c.Render(http.StatusOK, "home", visit)
}

func (s *shop) buy(c *echo.Context) error {
	item := c.FormValue("item")
	err := s.sessions.Update(c.Request().Context(), func(v *Visit) error { v.Cart = append(v.Cart, item); return nil })
	if err != nil {
		return failed(err)
	}
	return c.Redirect(http.StatusSeeOther, "/")
}

// clock streams until the client goes away. The session is saved, and its
// cookie sent, with the first flush.
func (s *shop) clock(c *echo.Context) error {
	ctx := c.Request().Context()
	if err := s.sessions.Update(ctx, func(v *Visit) error { v.Clocks++; return nil }); err != nil {
		return failed(err)
	}
	c.Response().Header().Set(echo.HeaderContentType, "text/event-stream")
	out := http.NewResponseController(c.Response())
	for {
		_, err := fmt.Fprintf(c.Response(), "data: %s\n\n", time.Now().Format(time.TimeOnly))
		if err != nil || out.Flush() != nil {
			return nil // the client is gone, or the session could not be saved
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// login stands behind a limit on guesses in a service.
func (s *shop) login(c *echo.Context) error {
	ctx, name := c.Request().Context(), c.FormValue("name")
	// Before the hash is read: a password change in between ends this sign-in.
	epoch, err := s.sessions.Epoch(ctx, name)
	if err != nil {
		return failed(err)
	}
	err = s.verify(ctx, name, password.Password(c.FormValue("password")))
	if errors.Is(err, password.ErrMismatch) || errors.Is(err, password.ErrTooLong) {
		return echo.NewHTTPError(http.StatusUnauthorized, "Wrong name or password.")
	}
	if err != nil {
		return failed(err)
	}
	start := session.Start{UserID: name, Epoch: &epoch, UserAgent: c.Request().UserAgent(), IP: c.RealIP()}
	if _, err := s.sessions.Begin(c.Response(), c.Request(), start); err != nil {
		return failed(err)
	}
	return c.Redirect(http.StatusSeeOther, "/")
}

func (s *shop) verify(ctx context.Context, name string, pw password.Password) error {
	hash, known := s.users.Load(name)
	if !known {
		return s.passwords.VerifyMissing(ctx, pw)
	}
	_, err := s.passwords.Verify(ctx, pw, hash.(password.Hash))
	return err
}

func (s *shop) logout(c *echo.Context) error {
	if err := s.sessions.Logout(c.Response(), c.Request()); err != nil {
		return failed(err)
	}
	return c.Redirect(http.StatusSeeOther, "/")
}

func (s *shop) devices(c *echo.Context) error {
	who, _ := auth.From(c.Request().Context())
	list, err := s.sessions.List(c.Request().Context(), who.UserID())
	if err != nil {
		return failed(err)
	}
	return c.Render(http.StatusOK, "devices", list)
}

func (s *shop) revoke(c *echo.Context) error {
	who, _ := auth.From(c.Request().Context())
	found, err := s.sessions.Revoke(c.Request().Context(), who.UserID(), c.Param("id"), session.ReasonRevoked)
	if err != nil {
		return failed(err)
	}
	if !found {
		return echo.ErrNotFound
	}
	return c.Redirect(http.StatusSeeOther, "/devices")
}

// changePassword signs out every other device, and whoever copied the cookie.
func (s *shop) changePassword(c *echo.Context) error {
	ctx, pw := c.Request().Context(), password.Password(c.FormValue("password"))
	who, _ := auth.From(ctx)
	if err := s.passwords.Check(pw, who.UserID()); err != nil {
		return echo.NewHTTPError(http.StatusUnprocessableEntity, err.Error())
	}
	hash, err := s.passwords.Hash(ctx, pw)
	if err != nil {
		return failed(err)
	}
	s.users.Store(who.UserID(), hash)
	if _, err := s.sessions.RevokeOthers(ctx, who.UserID(), who.SessionID(), session.ReasonPasswordChanged); err != nil {
		return failed(err)
	}
	if err := s.sessions.Renew(c.Response(), c.Request()); err != nil {
		return failed(err)
	}
	return c.Redirect(http.StatusSeeOther, "/")
}
