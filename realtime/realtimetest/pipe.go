package realtimetest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeRoom is how many bytes wait in one direction of a connection, as in a
// socket's buffers. Whoever writes more waits for the reader.
const pipeRoom = 64 << 10

// pipe is one end of a connection in memory. Waiting on it counts as durably
// blocked in a synctest bubble, which waiting on a socket does not.
type pipe struct {
	in, out       *stream
	local, remote net.Addr
	closed        func() // may be nil
}

func newPipe(client, server net.Addr) (here, there *pipe) {
	up, down := newStream(), newStream()
	return &pipe{in: down, out: up, local: client, remote: server}, &pipe{in: up, out: down, local: server, remote: client}
}

func (p *pipe) Read(b []byte) (int, error)  { return p.in.read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.out.write(b) }
func (p *pipe) LocalAddr() net.Addr         { return p.local }
func (p *pipe) RemoteAddr() net.Addr        { return p.remote }

// Close lets the other end read what is on its way, and then an end.
func (p *pipe) Close() error {
	p.out.set(func(s *stream) { s.writerGone = true })
	p.in.set(func(s *stream) { s.readerGone, s.buf = true, nil })
	if p.closed != nil {
		p.closed()
	}
	return nil
}

// cut breaks the connection: neither end gets what is on its way.
func (p *pipe) cut() {
	for _, s := range []*stream{p.in, p.out} {
		s.set(func(s *stream) { s.broken, s.buf = true, nil })
	}
}

func (p *pipe) SetDeadline(t time.Time) error {
	_ = p.SetReadDeadline(t)
	return p.SetWriteDeadline(t)
}

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.in.deadline(&p.in.readBy, t)
	return nil
}

func (p *pipe) SetWriteDeadline(t time.Time) error {
	p.out.deadline(&p.out.writeBy, t)
	return nil
}

// stream is one direction of a pipe.
type stream struct {
	mu         sync.Mutex
	moved      sync.Cond // of mu
	buf        []byte
	writerGone bool
	readerGone bool
	broken     bool
	readBy     limit
	writeBy    limit
}

// limit is a deadline of a [net.Conn].
type limit struct {
	timer *time.Timer
	past  bool
}

func newStream() *stream {
	s := &stream{}
	s.moved.L = &s.mu
	return s
}

func (s *stream) set(f func(*stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
	s.moved.Broadcast()
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readerGone:
			return 0, net.ErrClosed
		case s.broken:
			return 0, syscall.ECONNRESET
		case s.readBy.past:
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(s.buf) > 0:
			n := copy(b, s.buf)
			if s.buf = s.buf[n:]; len(s.buf) == 0 {
				s.buf = nil
			}
			s.moved.Broadcast()
			return n, nil
		case s.writerGone:
			return 0, io.EOF
		}
		s.moved.Wait()
	}
}

func (s *stream) write(b []byte) (written int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.writerGone:
			return written, net.ErrClosed
		case s.broken:
			return written, syscall.ECONNRESET
		case s.readerGone:
			return written, syscall.EPIPE
		case s.writeBy.past:
			return written, os.ErrDeadlineExceeded
		}
		n := min(len(b), pipeRoom-len(s.buf))
		s.buf = append(s.buf, b[:n]...)
		b, written = b[n:], written+n
		if n > 0 {
			s.moved.Broadcast()
		}
		if len(b) == 0 {
			return written, nil
		}
		s.moved.Wait()
	}
}

// deadline sets one of the stream's limits to t; the zero time lifts it.
func (s *stream) deadline(l *limit, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer, l.past = nil, false
	if t.IsZero() {
		return
	}
	if d := time.Until(t); d > 0 {
		var timer *time.Timer
		timer = time.AfterFunc(d, func() {
			s.set(func(*stream) { l.past = l.past || l.timer == timer })
		})
		l.timer = timer // the function waits for the lock that is held here
		return
	}
	l.past = true
	s.moved.Broadcast()
}
