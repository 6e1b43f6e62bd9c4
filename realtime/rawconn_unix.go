//go:build unix

package realtime

import (
	"net"
	"syscall"
)

// rawConn writes to a TCP socket without ever waiting for it, and waits for it to
// be readable without a stack for what is to be done then.
type rawConn struct {
	conn syscall.RawConn       // nil: not usable
	call func(fd uintptr) bool // made once: a closure for each write would be garbage for each write
	buf  []byte
	n    int
	err  error

	fill  func(fd uintptr) bool // made once, likewise
	inbox [inboxSize]byte
	held  int // bytes in it
}

// init does nothing for what is no plain socket. The types are exact: a
// connection that merely embeds one may encrypt or count what it writes.
func (w *rawConn) init(c net.Conn) {
	var sc syscall.Conn
	switch c := c.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	w.conn, w.call, w.fill = raw, w.writeTo, w.readFrom
}

// usable reports whether there is a socket to write to.
func (w *rawConn) usable() bool { return w.conn != nil }

func (w *rawConn) writeTo(fd uintptr) bool {
	for {
		w.n, w.err = syscall.Write(int(fd), w.buf)
		if w.err != syscall.EINTR {
			return true // done, whatever came of it: never wait
		}
	}
}

// write writes as much of b as the socket takes now.
func (w *rawConn) write(b []byte) (n int, err error) {
	w.buf = b
	err = w.conn.Write(w.call)
	w.buf = nil
	if err != nil {
		return 0, err
	}
	if w.err == syscall.EAGAIN {
		return 0, nil
	}
	return max(w.n, 0), w.err
}

// wait waits until the peer has sent something, and returns it. It is good until
// the next call. Nothing means that reading brings an error.
func (w *rawConn) wait() []byte {
	w.held = 0
	_ = w.conn.Read(w.fill)
	return w.inbox[:w.held]
}

func (w *rawConn) readFrom(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), w.inbox[:])
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		w.held = max(n, 0)
		return true
	}
}
