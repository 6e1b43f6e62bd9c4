package realtimetest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/coder/websocket"
)

// Server is a net/http server whose connections are in memory, for tests of a
// host application: its mux, with a hub on it. In a bubble of testing/synctest
// pings, tokens that expire, revocations and drains then take no time. Its
// methods may be called concurrently.
type Server struct {
	http  http.Server
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup

	mu   sync.Mutex
	open map[*pipe]struct{} // ends of clients
}

// Serve serves h. In a bubble, call it there, and Close before the bubble ends.
// The hub and the session manager are made and closed there, too.
func Serve(h http.Handler) *Server {
	s := &Server{conns: make(chan net.Conn), done: make(chan struct{}), open: map[*pipe]struct{}{}}
	s.http.Handler = h
	s.wg.Go(func() { _ = s.http.Serve((*listener)(s)) })
	return s
}

// Close breaks the connections that are left and ends the server. It does not
// close the hub. Further calls do nothing.
func (s *Server) Close() {
	_ = s.http.Close()
	_ = (*listener)(s).Close()
	s.mu.Lock()
	for p := range s.open {
		p.cut()
	}
	s.open = nil
	s.mu.Unlock()
	s.wg.Wait()
}

// DialContext opens a connection, whatever the address: for an http.Transport,
// or another WebSocket library.
func (s *Server) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	p, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Addresses of documentation (RFC 5737).
var (
	serverAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}
	clientAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
)

func (s *Server) dial(ctx context.Context) (*pipe, error) {
	here, there := newPipe(clientAddr, serverAddr)
	s.mu.Lock()
	if s.open == nil {
		s.mu.Unlock()
		return nil, errServerClosed
	}
	s.open[here] = struct{}{}
	s.mu.Unlock()
	here.closed = func() { s.forget(here) }
	select {
	case s.conns <- there:
		return here, nil
	case <-s.done:
		s.forget(here)
		return nil, errServerClosed
	case <-ctx.Done():
		s.forget(here)
		return nil, ctx.Err()
	}
}

var errServerClosed = errors.New("realtimetest: the server is closed")

// Client returns a client for ordinary requests, as a sign-in: each goes to this
// server, whatever its URL says, https or not. It keeps no cookies.
func (s *Server) Client() *http.Client { return &http.Client{Transport: s.transport(s.DialContext)} }

// transport leaves no connection behind: its goroutines would outlive a bubble.
func (s *Server) transport(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: dial, DialTLSContext: dial}
}

// Dial opens a socket at a path. The header is that of the handshake: a Cookie,
// an Authorization, an Origin, or nil. A handshake that is answered with another
// status than 101 is a [*HandshakeError]. The first thing to do with the client is
// [Client.Connect].
func (s *Server) Dial(ctx context.Context, path string, header http.Header) (*Client, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	var p *pipe
	tr := s.transport(func(ctx context.Context, _, _ string) (_ net.Conn, err error) {
		p, err = s.dial(ctx)
		return p, err
	})
	ws, r, err := websocket.Dial(ctx, "ws://app.example"+path, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, HTTPHeader: header, Subprotocols: []string{"centrifuge-json"},
	})
	if err != nil {
		if r != nil && r.StatusCode != http.StatusSwitchingProtocols {
			return nil, &HandshakeError{Status: r.StatusCode}
		}
		return nil, err
	}
	ws.SetReadLimit(-1)
	c := &Client{ws: ws, pipe: p, changed: make(chan struct{}), replies: map[uint32]reply{}}
	go c.read()
	return c, nil
}

func (s *Server) forget(p *pipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, p)
}

// listener is a Server as its HTTP server sees it.
type listener Server

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return serverAddr }
