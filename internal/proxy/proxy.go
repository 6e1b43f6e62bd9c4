// Package proxy is a TCP proxy for tests, between a client and its server: it
// counts what goes through, slows it down, lets it vanish, and cuts connections
// in the middle of an answer.
package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy passes on connections to one server. Its methods may be called
// concurrently.
type Proxy struct {
	listener net.Listener
	target   string
	tap      func() io.Writer
	running  sync.WaitGroup

	turns, cuts atomic.Int64

	mu     sync.Mutex
	links  map[*link]bool
	closed bool
	delay  time.Duration
	cut    int // one answer in so many; 0: none
	until  int // the next cut
	vanish bool
}

// link is one connection. What comes out of it counts as an answer when the
// client was the last to send.
type link struct {
	client, server net.Conn
	tap            io.Writer

	mu     sync.Mutex
	asked  bool // the client was the last to send
	fading bool // nothing passes any more, in either direction
}

// New listens on a free port of loopback and passes on to target, "host:port".
// tap, where not nil, makes a writer for each connection, which gets what the
// client sends.
func New(target string, tap func() io.Writer) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, tap: tap, links: map[*link]bool{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where clients connect to, as "127.0.0.1:5432".
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Turns is how often so far the direction has changed from the server to a
// client's next question: the round trips that clients waited for.
func (p *Proxy) Turns() int { return int(p.turns.Load()) }

// Cuts is how many answers were cut off so far.
func (p *Proxy) Cuts() int { return int(p.cuts.Load()) }

// Delay holds up whatever passes from now on, for so long each time and in each
// direction. 0 ends that.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut ends one connection in n answers, in the middle of the answer: the server
// has done what it was asked to, and the client does not get to know. 0 ends that.
func (p *Proxy) Cut(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.until = n, n
}

// Vanish lets everything vanish, in both directions, without an end of any
// connection. After Vanish(false) new connections work; those from before stay as
// they are, as after a network that has forgotten them.
func (p *Proxy) Vanish(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vanish = on
	if on {
		for l := range p.links {
			l.fade()
		}
	}
}

// Close ends all connections.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.close()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // too many open files, say
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, server: server, tap: io.Discard}
	if p.tap != nil {
		l.tap = p.tap()
	}
	p.mu.Lock()
	p.links[l] = true
	l.fading = p.vanish
	if p.closed {
		l.close()
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, client, server, true) })
	both.Go(func() { p.pump(l, server, client, false) })
	both.Wait()
}

// pump passes on one direction until either side ends.
func (p *Proxy) pump(l *link, from, to net.Conn, question bool) {
	defer l.close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !p.pass(l, to, b[:n], question) {
			return
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) pass(l *link, to net.Conn, b []byte, question bool) bool {
	l.mu.Lock()
	first := l.asked != question
	l.asked = question
	fading := l.fading
	l.mu.Unlock()
	if question && first {
		p.turns.Add(1)
	}
	if question {
		_, _ = l.tap.Write(b)
	}
	if fading {
		return true
	}
	p.mu.Lock()
	delay, cut := p.delay, false
	if p.cut > 0 && !question && first {
		if p.until--; p.until <= 0 {
			cut, p.until = true, p.cut
		}
	}
	p.mu.Unlock()
	if cut {
		p.cuts.Add(1)
		_, _ = to.Write(b[:len(b)/2])
		return false
	}
	time.Sleep(delay)
	_, err := to.Write(b)
	return err == nil
}

func (l *link) fade() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fading = true
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}
