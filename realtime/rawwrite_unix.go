//go:build unix

package realtime

import (
	"net"
	"syscall"
)

// rawWriter writes to a TCP socket without ever waiting for it.
type rawWriter struct {
	conn syscall.RawConn       // nil: not usable
	call func(fd uintptr) bool // made once: a closure for each write would be garbage for each write
	buf  []byte
	n    int
	err  error
}

// init does nothing for what is no plain socket. The types are exact: a
// connection that merely embeds one may encrypt or count what it writes.
func (w *rawWriter) init(c net.Conn) {
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
	w.conn, w.call = raw, w.writeTo
}

// usable reports whether there is a socket to write to.
func (w *rawWriter) usable() bool { return w.conn != nil }

func (w *rawWriter) writeTo(fd uintptr) bool {
	for {
		w.n, w.err = syscall.Write(int(fd), w.buf)
		if w.err != syscall.EINTR {
			return true // done, whatever came of it: never wait
		}
	}
}

// write writes as much of b as the socket takes now.
func (w *rawWriter) write(b []byte) (n int, err error) {
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
