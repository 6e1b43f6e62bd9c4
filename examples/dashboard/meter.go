package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/gatewire/gatewire/examples/internal/site"
)

// meter counts the bytes that the server's connections carry, both ways, with all
// headers of HTTP and WebSocket, and whom they were for. What TCP/IP adds is not
// counted.
type meter struct {
	mu       sync.Mutex
	accounts map[string]*account // by session
}

// account is what one guest's windows have cost.
type account struct{ Live, Polling traffic }

type traffic struct{ bytes, requests atomic.Int64 }

func (t *traffic) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]int64{"bytes": t.bytes.Load(), "requests": t.requests.Load()})
}

// connKey finds a request's connection in its context.
type connKey struct{}

// newMeter has a site's server count.
func newMeter(s *site.Site) *meter {
	m := &meter{accounts: map[string]*account{}}
	s.Listener = &listener{s.Listener}
	s.Server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	s.Server.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*conn); ok {
			c.state(state)
		}
	}
	s.Sessions.OnEnd(func(session, _, _ string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.accounts, session)
	})
	return m
}

// of is a session's account.
func (m *meter) of(session string) *account {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[session]
	if a == nil {
		a = &account{}
		m.accounts[session] = a
	}
	return a
}

// charge puts the request that is being handled, and its answer, on t. When it is
// an upgrade, so is everything its connection carries from then on.
func (m *meter) charge(r *http.Request, t *traffic) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		t.requests.Add(1)
		c.owner.Store(t)
	}
}

type listener struct{ net.Listener }

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn counts what it carries: up to the end of a request here, for whom that was;
// once upgraded, straight there.
type conn struct {
	net.Conn
	bytes    atomic.Int64 // since the last request
	owner    atomic.Pointer[traffic]
	upgraded atomic.Bool
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.count(n)
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.count(n)
	return n, err
}

func (c *conn) count(n int) {
	if owner := c.owner.Load(); owner != nil && c.upgraded.Load() {
		owner.bytes.Add(int64(n))
		return
	}
	c.bytes.Add(int64(n))
}

// state is told by the server: idle is when an answer is out and the next request
// isn't read yet, but for a byte of it if it followed at once.
func (c *conn) state(state http.ConnState) {
	switch state {
	case http.StateHijacked:
		c.upgraded.Store(true)
		if owner := c.owner.Load(); owner != nil {
			owner.bytes.Add(c.bytes.Swap(0))
		}
	case http.StateIdle, http.StateClosed:
		n := c.bytes.Swap(0)
		if owner := c.owner.Swap(nil); owner != nil {
			owner.bytes.Add(n)
		}
	}
}
