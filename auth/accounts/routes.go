package accounts

import (
	"net/http"
	"slices"

	"github.com/gatewire/gatewire/auth"
)

// Mount registers every route on mux:
//
//	POST   /auth/register, /auth/login, /auth/logout, /auth/logout/all, /auth/password
//	GET    /auth/me, /auth/sessions
//	DELETE /auth/sessions/{id}
//	POST   /auth/session/token, /auth/token, /auth/revoke
//	GET    /auth/{provider}/login, /auth/{provider}/callback (POST too), for each provider
//	POST   /auth/{provider}/logout, /auth/{provider}/backchannel
//	GET    /auth/{provider}/logged-out
//	GET    /.well-known/jwks.json
//
// and OPTIONS of the first eleven when there are allowed origins. The routes need
// nothing around them; a session.Manager's Handler may be.
func (s *Service) Mount(mux *http.ServeMux) {
	handle := func(method, path string, h http.Handler) {
		mux.Handle(method+" "+path, h)
		if len(s.allowed) > 0 {
			mux.HandleFunc("OPTIONS "+path, s.preflight)
		}
	}
	handle("POST", "/auth/register", s.route(s.register))
	handle("POST", "/auth/login", s.route(s.login))
	handle("POST", "/auth/logout", s.route(s.logout))
	handle("POST", "/auth/logout/all", s.route(s.guard(s.logoutAll)))
	handle("GET", "/auth/me", s.route(s.guard(s.me)))
	handle("GET", "/auth/sessions", s.route(s.guard(s.listSessions)))
	handle("DELETE", "/auth/sessions/{id}", s.route(s.guard(s.endSession)))
	handle("POST", "/auth/password", s.route(s.guard(s.changePassword)))
	handle("POST", "/auth/session/token", s.route(s.guard(s.sessionToken)))
	handle("POST", "/auth/token", s.oauth(s.token))
	handle("POST", "/auth/revoke", s.oauth(s.revoke))
	// What follows is for pages to go to, not to fetch.
	for _, login := range s.logins {
		mux.Handle("GET "+login.Path()+"/login", login)
		mux.Handle("GET "+login.Path()+"/callback", login)
		// form_post: the provider's origin sends it, and state guards it.
		mux.Handle("POST "+login.Path()+"/callback", login)
		mux.Handle("POST "+login.Path()+"/logout", s.route(func(w http.ResponseWriter, r *http.Request) error {
			login.ServeHTTP(w, r)
			return nil
		}))
		mux.Handle("GET "+login.Path()+"/logged-out", login)
		// The provider's server sends it, and its signature guards it.
		mux.Handle("POST "+login.Path()+"/backchannel", login)
	}
	mux.Handle("GET /.well-known/jwks.json", s.ring.Handler())
}

// Handler serves the routes of [Service.Mount].
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	s.Mount(mux)
	return mux
}

// endpoint is a handler that leaves errors to whoever called it. When it returns
// one it has written nothing.
type endpoint func(w http.ResponseWriter, r *http.Request) error

// route is what all endpoints have in common.
func (s *Service) route(h endpoint) http.Handler { return s.serve(h, s.fail) }

// oauth is route with the errors of RFC 6749.
func (s *Service) oauth(h endpoint) http.Handler { return s.serve(h, s.failOAuth) }

func (s *Service) serve(h endpoint, fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		s.allowOrigin(w, r)
		err := s.origins.Check(r)
		if err == nil {
			err = h(w, r)
		}
		if err != nil {
			fail(w, r, err)
		}
	})
}

// guard lets through who is signed in.
func (s *Service) guard(h func(http.ResponseWriter, *http.Request, auth.Identity) error) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := s.Authenticate(r)
		if err != nil {
			return s.refuse(w, r, err)
		}
		return h(w, r, who)
	}
}

// refuse answers an error of Authenticate; what could not be told is returned.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, err error) error {
	if auth.ErrorCode(err) == auth.CodeUnavailable {
		return err
	}
	auth.Refuse(w, r, err)
	return nil
}

// allowOrigin lets pages of the allowed origins read the answer.
func (s *Service) allowOrigin(w http.ResponseWriter, r *http.Request) (allowed bool) {
	if len(s.allowed) == 0 {
		return false
	}
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !slices.Contains(s.allowed, origin) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Allow-Credentials", "true")
	w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
	return true
}

// preflight answers what a browser asks before a cross-origin request.
func (s *Service) preflight(w http.ResponseWriter, r *http.Request) {
	if s.allowOrigin(w, r) {
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		w.Header().Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}
