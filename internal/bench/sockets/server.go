//go:build linux

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatewire/gatewire/session"
)

// server is a peer with what measures it, in its own process.
type server struct {
	peer     *peer
	sessions *manager
	cookies  []*http.Cookie
	listener *listener
	acks     net.Conn // eight bytes each: the last message that everybody has
	cores    []int

	ackBuf  [4096]byte
	ackHave int
	sent    uint64 // messages so far
	acked   uint64

	profile *os.File
}

// listener keeps what it accepted, as it is: servers look at the type.
type listener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

// serve runs the server of one peer until orders end.
func serve(name string, secure bool, orders, acks net.Conn) error {
	p := peers[name]
	if p == nil {
		return fmt.Errorf("no peer %q", name)
	}
	m, err := session.New[struct{}](session.NewMemoryStore(nil), &session.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	s := &server{sessions: m, acks: acks}
	if s.cores, err = affinity(); err != nil {
		return err
	}
	if s.peer, err = p(m); err != nil {
		return err
	}
	defer s.peer.close()
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if secure {
		config, err := selfSigned()
		if err != nil {
			return err
		}
		inner = tls.NewListener(inner, config)
	}
	s.listener = &listener{Listener: inner}
	web := &http.Server{Handler: s.peer.handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = web.Serve(s.listener) }()
	defer func() {
		_ = web.Close()
		for _, c := range s.listener.conns {
			_ = c.Close()
		}
	}()

	in, out := bufio.NewScanner(orders), json.NewEncoder(orders)
	if err := out.Encode(answer{Addr: inner.Addr().String(), Commands: s.peer.commands}); err != nil {
		return err
	}
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		a, err := s.obey(o)
		if err != nil {
			a.Error = fmt.Sprintf("%s: %v", o.Do, err)
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
	return in.Err()
}

func (s *server) obey(o order) (a answer, err error) {
	switch o.Do {
	case "sign in":
		a.Cookies, err = s.signIn(o.N)
	case "send":
		send := s.peer.publish
		if o.Floor {
			send = s.floor
		}
		if o.Every > 0 {
			a.Spent, err = s.paced(send, o.Every, o.N)
		} else {
			a.Spent, err = s.window(send, uint64(max(o.Window, 1)), o.Warm, o.For)
		}
	case "held":
		if a.Held, err = s.held(); err == nil && o.File != "" {
			err = heapTo(o.File)
		}
	case "spent":
		a.Spent = s.spent()
	case "sign out":
		a.Begun, err = s.signOut(o.N, o.Every)
	case "profile":
		err = s.profileTo(o.File)
	default:
		err = errors.New("no such order")
	}
	return a, err
}

// signIn makes n users with a session each, and returns their cookies.
func (s *server) signIn(n int) ([]string, error) {
	list := make([]string, 0, n)
	for range n {
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "https://app.example/login", nil)
		if err := s.sessions.Login(w, r, "user-"+strconv.Itoa(len(s.cookies))); err != nil {
			return nil, err
		}
		c := w.Result().Cookies()[0]
		s.cookies = append(s.cookies, c)
		list = append(list, c.Name+"="+c.Value)
	}
	return list, nil
}

// signOut signs n users out, one each time every has passed, and returns when
// each began.
func (s *server) signOut(n int, every time.Duration) ([]int64, error) {
	begun := make([]int64, n)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := range n {
		<-ticker.C
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "https://app.example/logout", nil)
		r.AddCookie(s.cookies[i])
		begun[i] = now()
		if err := s.sessions.Logout(w, r); err != nil {
			return nil, err
		}
	}
	return begun, nil
}

// floor writes the frame the peer would send to each socket, one after another.
func (s *server) floor(data []byte) error {
	frame := s.peer.frame(data)
	for _, c := range s.listener.conns {
		if _, err := c.Write(frame); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) send(send func([]byte) error) error {
	s.sent++
	return send(payload(s.sent - 1))
}

// await waits until no more than window messages are under way.
func (s *server) await(window uint64) error {
	for s.sent-s.acked > window {
		if err := s.acks.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		n, err := s.acks.Read(s.ackBuf[s.ackHave:])
		if err != nil {
			return fmt.Errorf("%d of %d messages have arrived everywhere: %w", s.acked, s.sent, err)
		}
		s.ackHave += n
		whole := s.ackHave &^ 7
		if whole == 0 {
			continue
		}
		s.acked = binary.LittleEndian.Uint64(s.ackBuf[whole-8:]) + 1
		s.ackHave = copy(s.ackBuf[:], s.ackBuf[whole:s.ackHave])
	}
	return nil
}

// clearDeadlines removes those that a peer has left on the sockets.
func (s *server) clearDeadlines() {
	for _, c := range s.listener.conns {
		_ = c.SetWriteDeadline(time.Time{})
	}
}

// window sends with a number of messages under way, and counts those that have
// arrived everywhere.
func (s *server) window(send func([]byte) error, window uint64, warm, long time.Duration) (spent, error) {
	s.clearDeadlines()
	run := func(long time.Duration) error {
		for end := time.Now().Add(long); time.Now().Before(end); {
			if err := s.await(window - 1); err != nil {
				return err
			}
			for s.sent-s.acked < window {
				if err := s.send(send); err != nil {
					return err
				}
			}
		}
		return s.await(window - 1)
	}
	if err := run(warm); err != nil {
		return spent{}, err
	}
	before, first := s.meter(), s.acked
	if err := run(long); err != nil {
		return spent{}, err
	}
	d := s.meter().since(before)
	d.Messages = int(s.acked - first)
	return d, s.await(0)
}

// paced sends n messages at a steady pace.
func (s *server) paced(send func([]byte) error, every time.Duration, n int) (spent, error) {
	s.clearDeadlines()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	before := s.meter()
	for range n {
		<-ticker.C
		if err := s.send(send); err != nil {
			return spent{}, err
		}
		if err := s.await(0); err != nil {
			return spent{}, err
		}
	}
	d := s.meter().since(before)
	d.Messages = n
	return d, nil
}

// meter is what a process has used at one moment.
type meter struct {
	at             time.Time
	cpu, busy      float64
	cores          int
	mallocs, bytes uint64
}

func (s *server) meter() meter {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return meter{time.Now(), cpuTime(), busyTime(s.cores), len(s.cores), mem.Mallocs, mem.TotalAlloc}
}

func (m meter) since(b meter) spent {
	seconds, cpu := m.at.Sub(b.at).Seconds(), m.cpu-b.cpu
	return spent{
		Seconds: seconds,
		CPU:     cpu,
		Foreign: max(0, (m.busy-b.busy-cpu)/(seconds*float64(m.cores))),
		Mallocs: m.mallocs - b.mallocs,
		Bytes:   m.bytes - b.bytes,
	}
}

// spent is the absolute state of the meter: the generator subtracts.
func (s *server) spent() spent {
	m := s.meter()
	return spent{CPU: m.cpu, Mallocs: m.mallocs, Bytes: m.bytes}
}

func (s *server) held() (held, error) {
	for range 2 { // finalizers of the first free what the second finds
		runtime.GC()
		time.Sleep(50 * time.Millisecond)
	}
	debug.FreeOSMemory()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return held{}, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		return held{}, err
	}
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	return held{
		RSS: pages * os.Getpagesize(), Heap: int(mem.HeapInuse), Stack: int(mem.StackInuse),
		Goroutines: runtime.NumGoroutine(), Conns: len(s.listener.conns),
	}, nil
}

// profileTo writes a CPU profile to file from now on; "" ends it.
func (s *server) profileTo(file string) (err error) {
	if file == "" {
		pprof.StopCPUProfile()
		return s.profile.Close()
	}
	if s.profile, err = os.Create(file); err != nil {
		return err
	}
	return pprof.StartCPUProfile(s.profile)
}

func heapTo(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
}

// cpuTime is what this process has used of processors, in seconds.
func cpuTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// busyTime is for how long cores have not been idle, in seconds, whoever used
// them.
func busyTime(cores []int) float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	ticks := 0
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu") {
			continue
		}
		for _, core := range cores {
			if fields[0] == "cpu"+strconv.Itoa(core) {
				for i, field := range fields[1:9] {
					if n, err := strconv.Atoi(field); err == nil && i != 3 && i != 4 { // idle and waiting
						ticks += n
					}
				}
			}
		}
	}
	return float64(ticks) / 100 // USER_HZ
}

// affinity are the cores this process may use.
func affinity() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var cores []int
	for i := range 1024 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores, nil
}

func selfSigned() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{"http/1.1"},
		MinVersion:   tls.VersionTLS12,
	}, nil
}

// serverMain is the program as a server: orders on file 3, acks on file 4.
func serverMain(name string, secure bool) error {
	var conns [2]net.Conn
	for i := range conns {
		f := os.NewFile(uintptr(3+i), "socket")
		c, err := net.FileConn(f)
		if err != nil {
			return err
		}
		_ = f.Close()
		conns[i] = c
	}
	return serve(name, secure, conns[0], conns[1])
}
