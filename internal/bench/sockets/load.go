//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load is the load generator: all its sockets on one thread.
type load struct {
	epoll   int
	busy    bool // asks without waiting, on a core of its own
	events  []unix.EpollEvent
	buf     []byte
	control int // orders go out, answers come in
	acks    int
	inbox   []byte

	addr     unix.SockaddrInet4
	name     string // host and port
	secure   bool
	commands bool
	socks    []*sock // by descriptor
	all      []*sock
	broken   error

	// fan-out
	got      [4096]int // sockets that have message n, at n modulo its length
	complete uint64    // messages that everybody has
	size, at int       // of each message in a frame, and where its JSON begins in it
	ackDue   bool
	delays   []int64 // until the last socket had each message, or a reply came

	// request and reply
	request, reply []byte
	replies        int

	ready int // sockets that have come as far as they were to
	until state

	idle, total time.Duration // of time, without events and in all

	// lazy leaves the processors to the server: it looks once a millisecond, and
	// reads nothing before everybody has something.
	lazy    bool
	late    []*sock
	arrived int64 // when it saw that; zero: when it is read
}

type state uint8

const (
	upgrading state = iota
	connecting
	connected
	subscribing
	joined
	closed
)

// sock is one client.
type sock struct {
	fd    int
	state state
	next  uint64 // the message it must get next
	part  []byte // of a frame
	tls   *tls.Conn
	sent  int64
	end   int64  // when the close came
	code  uint16 // of the close
}

func newLoad(busy bool, control, acks int) (*load, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &load{epoll: ep, busy: busy, control: control, acks: acks, events: make([]unix.EpollEvent, 8192), buf: make([]byte, 256<<10)}
	if err := unix.SetNonblock(control, true); err != nil {
		return nil, err
	}
	return l, l.watch(control)
}

func (l *load) watch(fd int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)})
}

// look is turn for a lazy generator.
func (l *load) look() error {
	time.Sleep(time.Millisecond)
	n, err := unix.EpollWait(l.epoll, l.events, 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	for i := range max(n, 0) {
		fd := int(l.events[i].Fd)
		if fd == l.control {
			if err := l.readControl(); err != nil {
				return err
			}
		} else if s := l.socks[fd]; s != nil {
			l.late = append(l.late, s)
		}
	}
	if len(l.late) < len(l.all) {
		return nil
	}
	l.arrived = now()
	for _, s := range l.late {
		if err := l.readSock(s); err != nil {
			return err
		}
	}
	l.late, l.arrived = l.late[:0], 0
	return nil
}

// turn handles what has happened.
func (l *load) turn() error {
	if l.lazy {
		return l.look()
	}
	start := now()
	var n int
	var err error
	if l.busy {
		// On a core of its own nobody is kept from running by a call that the
		// scheduler doesn't know of.
		r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), 0, 0, 0)
		if n = int(r); errno != 0 {
			n, err = 0, errno
		}
	} else {
		n, err = unix.EpollWait(l.epoll, l.events, 100)
	}
	if err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	woken := now()
	for i := range max(n, 0) {
		fd := int(l.events[i].Fd)
		if fd == l.control {
			err = l.readControl()
		} else if s := l.socks[fd]; s != nil {
			err = l.readSock(s)
		}
		if err != nil {
			return err
		}
	}
	end := now()
	// Waiting is idle, and asking in vain; what a wait that brings something
	// takes is the generator's work, as the system call is.
	switch {
	case n <= 0:
		l.idle += time.Duration(end - start)
	case !l.busy:
		l.idle += time.Duration(woken - start)
	}
	l.total += time.Duration(end - start)
	return nil
}

func (l *load) readControl() error {
	for {
		n, err := unix.Read(l.control, l.buf)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the server is gone")
		}
		l.inbox = append(l.inbox, l.buf[:n]...)
	}
}

// ask gives an order and works until it is answered.
func (l *load) ask(o order) (answer, error) {
	l.idle, l.total = 0, 0
	b, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	if _, err := unix.Write(l.control, append(b, '\n')); err != nil {
		return answer{}, err
	}
	return l.hear(2 * time.Minute)
}

// hear works until the server says something.
func (l *load) hear(patience time.Duration) (a answer, err error) {
	for end := time.Now().Add(patience); ; {
		if i := bytes.IndexByte(l.inbox, '\n'); i >= 0 {
			line := l.inbox[:i]
			l.inbox = l.inbox[i+1:]
			if err := json.Unmarshal(line, &a); err != nil {
				return a, err
			}
			if a.Error != "" {
				return a, errors.New(a.Error)
			}
			return a, nil
		}
		if err := l.turn(); err != nil {
			return a, err
		}
		if time.Now().After(end) {
			return a, errors.New("the server doesn't answer")
		}
	}
}

// work works until done says so.
func (l *load) work(patience time.Duration, done func() bool) error {
	for end := time.Now().Add(patience); !done(); {
		if err := l.turn(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return errors.New("some clients have not come as far as they should")
		}
	}
	return nil
}

func (l *load) read(s *sock, b []byte) (int, error) {
	if s.tls != nil {
		return s.tls.Read(b)
	}
	r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

func again(err error) bool {
	var t interface{ Temporary() bool }
	return err == unix.EAGAIN || err == unix.EINTR || errors.As(err, &t) && t.Temporary() //nolint:errorlint // errno
}

func (l *load) readSock(s *sock) error {
	for {
		n, err := l.read(s, l.buf)
		if err != nil && again(err) {
			return nil
		}
		if err != nil || n == 0 {
			l.forget(s)
			if s.state == closed {
				return nil
			}
			return fmt.Errorf("a server has cut a connection: %w", err)
		}
		b := l.buf[:n]
		if len(s.part) > 0 {
			s.part = append(s.part, b...)
			b = s.part
		}
		rest, err := l.take(s, b)
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			if s.part != nil {
				s.part = s.part[:0]
			}
		} else {
			s.part = append([]byte(nil), rest...)
		}
		if l.ackDue {
			if err := l.ack(); err != nil {
				return err
			}
		}
		if n < len(l.buf) && s.tls == nil { // what comes from now on is another event
			return nil
		}
	}
}

// ack tells the server what everybody has.
func (l *load) ack() error {
	l.ackDue = false
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], l.complete-1)
	_, err := unix.Write(l.acks, b[:])
	return err
}

// take handles what was read, and returns what isn't whole yet.
func (l *load) take(s *sock, b []byte) (rest []byte, err error) {
	if s.state == upgrading {
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 {
			return b, nil
		}
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) {
			return nil, fmt.Errorf("handshake: %.100q", b)
		}
		b = b[i+4:]
		if l.commands {
			s.state = connecting
			if err := l.write(s, connectCommand); err != nil {
				return nil, err
			}
		} else {
			l.arrive(s, connected)
		}
	}
	for len(b) > 0 {
		opcode, body, next, whole, err := nextFrame(b)
		if err != nil || !whole {
			return b, err
		}
		if err := l.frame(s, opcode, body); err != nil {
			return nil, err
		}
		b = next
	}
	return nil, nil
}

// arrive notes how far a socket has come.
func (l *load) arrive(s *sock, to state) {
	s.state = to
	if to == l.until {
		l.ready++
	}
}

var (
	connectCommand   = maskedFrame([]byte(`{"id":1,"connect":{}}`))
	subscribeCommand = maskedFrame([]byte(`{"id":2,"subscribe":{"channel":"` + channel + `"}}`))
)

// frame handles one frame.
func (l *load) frame(s *sock, opcode byte, body []byte) error {
	switch {
	case opcode == 8:
		s.end, s.state = now(), closed
		if len(body) >= 2 {
			s.code = binary.BigEndian.Uint16(body)
		}
		return nil
	case opcode != 1 && opcode != 2:
		return errFrame
	case string(body) == "{}":
		return nil
	case s.state == connecting && bytes.Contains(body, []byte(`"connect":{`)):
		l.arrive(s, connected)
		return nil
	case s.state == subscribing && bytes.Contains(body, []byte(`"subscribe":{`)):
		l.arrive(s, joined)
		return nil
	case s.state != joined && s.state != connected:
		return fmt.Errorf("unexpected: %.200q", body)
	case l.request != nil:
		if !bytes.Equal(body, l.reply) {
			return fmt.Errorf("a reply that answers something else: %.200q", body)
		}
		l.replies++
		t := now()
		l.delays = append(l.delays, t-s.sent)
		s.sent = t
		return l.write(s, l.request)
	}
	return l.messages(s, body)
}

// messages counts the messages in a frame, one a line, each of the same size,
// and refuses any but the next.
func (l *load) messages(s *sock, body []byte) error {
	if l.size == 0 {
		line, _, _ := bytes.Cut(body, []byte{'\n'})
		l.size, l.at = len(line), bytes.Index(line, []byte(`{"n":`))
		if l.at < 0 {
			return fmt.Errorf("no message: %.200q", body)
		}
	}
	if (len(body)+1)%(l.size+1) != 0 {
		return fmt.Errorf("a frame of %d bytes for messages of %d: %.300q", len(body), l.size, body)
	}
	for ; len(body) >= l.size; body = body[min(l.size+1, len(body)):] {
		m := body[l.at:]
		n := digits(m[numberAt:numberAt+10]) - numberBase
		if n != s.next {
			return fmt.Errorf("message %d where %d was due: lost or doubled", n, s.next)
		}
		s.next++
		slot := &l.got[n%uint64(len(l.got))]
		if *slot++; *slot == len(l.all) {
			*slot = 0
			l.complete, l.ackDue = n+1, true
			at := l.arrived
			if at == 0 {
				at = now()
			}
			l.delays = append(l.delays, at-int64(digits(m[timeAt:timeAt+19])-timeBase))
		}
	}
	return nil
}

func (l *load) write(s *sock, b []byte) error {
	var err error
	if s.tls != nil {
		_, err = s.tls.Write(b)
	} else {
		_, err = unix.Write(s.fd, b)
	}
	return err
}

func (l *load) forget(s *sock) {
	if l.socks[s.fd] != nil {
		l.socks[s.fd] = nil
		_ = unix.Close(s.fd)
	}
}

// dial opens a socket from an address of its own and sends the handshake.
func (l *load) dial(cookie string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// Ports run out at some 28,000 from one address.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	from := unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + len(l.all)%16)}}
	if err := unix.Bind(fd, &from); err != nil {
		return err
	}
	if err := unix.Connect(fd, &l.addr); err != nil {
		return err
	}
	s := &sock{fd: fd, next: l.complete}
	for fd >= len(l.socks) {
		l.socks = append(l.socks, make([]*sock, max(fd, 1024))...)
	}
	l.socks[fd] = s
	l.all = append(l.all, s)
	if l.secure {
		raw := &rawConn{fd: fd}
		s.tls = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // a server of our own
		if err := s.tls.Handshake(); err != nil {
			return err
		}
		raw.polled = true
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	request := "GET /realtime HTTP/1.1\r\nHost: " + l.name + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: " + cookie + "\r\n\r\n"
	if err := l.write(s, []byte(request)); err != nil {
		return err
	}
	return l.watch(fd)
}

// connect opens a client for each cookie, so many at a time, and returns once
// the server has let all in.
func (l *load) connect(cookies []string, together int) error {
	l.until, l.ready = connected, 0
	started := 0
	return l.work(2*time.Minute, func() bool {
		for started < len(cookies) && started-l.ready < together && l.broken == nil {
			l.broken = l.dial(cookies[started])
			started++
		}
		return l.ready == len(cookies) || l.broken != nil
	})
}

// subscribe brings all clients into the channel. Where the peer has none, they
// are in it.
func (l *load) subscribe() error {
	if l.broken != nil {
		return l.broken
	}
	l.until, l.ready = joined, 0
	for i, s := range l.all {
		if !l.commands {
			l.arrive(s, joined)
			continue
		}
		s.state = subscribing
		if err := l.write(s, subscribeCommand); err != nil {
			return err
		}
		if err := l.work(time.Minute, func() bool { return i+1-l.ready < 64 }); err != nil {
			return err
		}
	}
	return l.work(time.Minute, func() bool { return l.ready == len(l.all) })
}

// echo begins to have one request under way on each connection.
func (l *load) echo() error {
	data := payload(0)
	l.request, l.reply = maskedFrame(data), data
	if l.commands {
		l.request = maskedFrame(slices.Concat([]byte(`{"id":3,"rpc":{"method":"echo","data":`), data, []byte(`}}`)))
		l.reply = slices.Concat([]byte(`{"id":3,"rpc":{"data":`), data, []byte(`}}`))
	}
	for _, s := range l.all {
		s.sent = now()
		if err := l.write(s, l.request); err != nil {
			return err
		}
	}
	return nil
}

// workFor works for so long.
func (l *load) workFor(long time.Duration) error {
	end := time.Now().Add(long)
	return l.work(2*long+time.Minute, func() bool { return time.Now().After(end) })
}

// hangUp closes all sockets.
func (l *load) hangUp() {
	for _, s := range l.all {
		l.forget(s)
	}
	l.all = nil
}

// greet hears where the server is, and how its clients speak.
func (l *load) greet() error {
	a, err := l.hear(20 * time.Second)
	if err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return err
	}
	l.addr = unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	l.name, l.commands = a.Addr, a.Commands
	return nil
}

// rawConn is a socket as TLS wants it. Once it is polled, a read that finds
// nothing is an error that passes, and TLS can be asked again.
type rawConn struct {
	net.Conn // nil: nothing else is used
	fd       int
	polled   bool
}

type nothingYet struct{}

func (nothingYet) Error() string   { return "nothing to read yet" }
func (nothingYet) Temporary() bool { return true }
func (nothingYet) Timeout() bool   { return true }

func (c *rawConn) Read(b []byte) (int, error) {
	for {
		switch n, err := unix.Read(c.fd, b); {
		case err == unix.EAGAIN:
			return 0, nothingYet{}
		case err == unix.EINTR:
		case err == nil && n == 0:
			return 0, net.ErrClosed
		default:
			return n, err
		}
	}
}

func (c *rawConn) Write(b []byte) (int, error)      { return unix.Write(c.fd, b) }
func (c *rawConn) Close() error                     { return nil }
func (c *rawConn) SetDeadline(time.Time) error      { return nil }
func (c *rawConn) SetReadDeadline(time.Time) error  { return nil }
func (c *rawConn) SetWriteDeadline(time.Time) error { return nil }
