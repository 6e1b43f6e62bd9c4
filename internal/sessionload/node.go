package sessionload

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/gatewire/gatewire/session"
)

// data is what a session carries: how often it was updated.
type data struct{ N int }

// node is one process of several on one store, as far as session goes: a
// manager of its own behind a server of its own.
type node struct {
	sessions *session.Manager[data]
	server   *httptest.Server
	running  atomic.Int64 // requests
}

func (l *Load) newNode(store session.Store, o session.Options) (*node, error) {
	o.Cookie.Insecure = true
	m, err := session.New[data](store, &o)
	if err != nil {
		return nil, err
	}
	n := &node{sessions: m}
	mux := http.NewServeMux()
	for path, f := range map[string]func(http.ResponseWriter, *http.Request) (string, error){
		"/login":   n.login,
		"/me":      n.me,
		"/add":     n.add,
		"/renew":   n.renew,
		"/logout":  n.logout,
		"/others":  n.others,
		"/token":   n.token,
		"/refresh": n.refresh,
		"/revoke":  n.revoke,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			text, err := f(w, r)
			if err != nil {
				http.Error(w, "", session.StatusOf(err))
				return
			}
			_, _ = io.WriteString(w, text)
		})
	}
	served := m.Handler(mux)
	n.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.running.Add(1)
		defer n.running.Add(-1)
		start := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), l.o.Deadline)
		defer cancel()
		served.ServeHTTP(w, r.WithContext(ctx))
		took := time.Since(start)
		l.note(took)
		if took > l.o.Deadline+slack {
			l.violated("%s was handled for %v, with %v to do it in", r.URL.Path, took.Round(time.Millisecond), l.o.Deadline)
		}
	}))
	return n, nil
}

func (n *node) login(w http.ResponseWriter, r *http.Request) (string, error) {
	user := r.URL.Query().Get("user")
	epoch, err := n.sessions.Epoch(r.Context(), user)
	if err != nil {
		return "", err
	}
	s, err := n.sessions.Begin(w, r, session.Start{UserID: user, Epoch: &epoch})
	if err != nil {
		return "", err
	}
	return s.ID(), nil
}

// me answers with the session's id and its number.
func (n *node) me(_ http.ResponseWriter, r *http.Request) (string, error) {
	s, err := n.sessions.Authenticate(r)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(s.ID(), " ", s.Data().N), nil
}

func (n *node) add(_ http.ResponseWriter, r *http.Request) (string, error) {
	if _, err := n.sessions.Authenticate(r); err != nil {
		return "", err
	}
	return "", n.sessions.Update(r.Context(), func(d *data) error {
		d.N++
		return nil
	})
}

func (n *node) renew(w http.ResponseWriter, r *http.Request) (string, error) {
	return "", n.sessions.Renew(w, r)
}

func (n *node) logout(w http.ResponseWriter, r *http.Request) (string, error) {
	return "", n.sessions.Logout(w, r)
}

func (n *node) others(_ http.ResponseWriter, r *http.Request) (string, error) {
	s, err := n.sessions.Authenticate(r)
	if err != nil {
		return "", err
	}
	_, err = n.sessions.RevokeOthers(r.Context(), s.UserID(), s.ID(), session.ReasonRevoked)
	return "", err
}

// token answers with the session's id and its refresh token.
func (n *node) token(_ http.ResponseWriter, r *http.Request) (string, error) {
	t, s, err := n.sessions.BeginToken(r.Context(), session.Start{UserID: r.URL.Query().Get("user")})
	if err != nil {
		return "", err
	}
	return s.ID() + " " + t.Reveal(), nil
}

func (n *node) refresh(_ http.ResponseWriter, r *http.Request) (string, error) {
	token, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	next, s, err := n.sessions.Refresh(r.Context(), string(token))
	if err != nil {
		return "", err
	}
	return s.ID() + " " + next.Reveal(), nil
}

func (n *node) revoke(_ http.ResponseWriter, r *http.Request) (string, error) {
	token, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	return "", n.sessions.EndByRefresh(r.Context(), string(token))
}
