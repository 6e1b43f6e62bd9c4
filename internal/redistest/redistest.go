// Package redistest starts private Redis servers for tests: in a temporary
// folder, on free ports of loopback. A server ends, and its folder goes, with
// the process that started it, however that ends.
package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gatewire/gatewire/internal/child"
)

// ErrMissing means that this machine has no Redis to start.
var ErrMissing error = child.Missing("redistest: no redis-server here: install it (Debian: apt-get install redis-server)")

// Server is a Redis server. Its methods are for one goroutine.
type Server struct {
	program string
	dir     string
	port    int
	config  []string
	running *child.Process
}

// Start makes a new, empty server that writes every command down before it
// answers (appendfsync always), and waits until it answers. config is added to
// its command line, as "--maxmemory", "10mb".
func Start(config ...string) (_ *Server, err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrMissing
	}
	s := &Server{program: program, config: config}
	if s.dir, err = os.MkdirTemp("", "gatewire-redis"); err != nil {
		return nil, err
	}
	// A cluster's nodes talk on the port 10,000 above.
	if err := child.OnFreePort(55_000, s.runOn); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) runOn(port int) error { s.port = port; return s.Run() }

// Addr is the server's address, as "127.0.0.1:6379".
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the server's address as go-redis and REDIS_URL take it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Run starts the server again, on the same port and data, after Kill or Stop.
func (s *Server) Run() error {
	p, err := child.Start(s.dir, "KILL", nil, append([]string{s.program, "--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--pidfile", filepath.Join(s.dir, "pid"), "--daemonize", "no"}, s.config...)...)
	if err != nil {
		return err
	}
	s.running = p
	if err := p.Await(s.answers); err != nil {
		return errors.Join(fmt.Errorf("redistest: %w", err), s.Kill())
	}
	return nil
}

// answers reports whether the server is ready. Who answers at the port must be
// ours.
func (s *Server) answers() bool {
	out, err := s.Do("INFO", "server")
	if err != nil || !strings.Contains(out, "process_id:"+strconv.Itoa(s.pid())+"\r") {
		return false
	}
	_, err = s.Do("PING")
	return err == nil
}

// Kill ends the server at once, as kill -9 does.
func (s *Server) Kill() error { return s.end(os.Kill) }

// Stop shuts the server down in order.
func (s *Server) Stop() error { return s.end(child.Terminate) }

// Pause keeps the server from answering: connections stay, nothing moves.
func (s *Server) Pause() error { return s.signal(child.Pause) }

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.signal(child.Resume) }

func (s *Server) end(sig os.Signal) error {
	if s.running == nil {
		return nil
	}
	if !s.running.Ended() { // else the number may be somebody else's by now
		_ = s.signal(sig)
		_ = s.signal(child.Resume)
	}
	err := s.running.Wait()
	s.running = nil
	return err
}

func (s *Server) signal(sig os.Signal) error {
	p, err := os.FindProcess(s.pid())
	if err != nil {
		return err
	}
	return p.Signal(sig)
}

func (s *Server) pid() int {
	b, _ := os.ReadFile(filepath.Join(s.dir, "pid"))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 1 {
		return pid
	}
	return 0
}

// Close ends the server and removes its folder.
func (s *Server) Close() error { return errors.Join(s.Kill(), os.RemoveAll(s.dir)) }

// Do sends one command on a connection of its own and returns the answer's
// text; the elements of an array come one a line.
func (s *Server) Do(command ...string) (string, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return "", err
	}
	return answer(bufio.NewReader(c))
}

// answer reads one reply of RESP, version 2.
func answer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("redistest: an empty reply")
	}
	switch kind, rest := line[0], line[1:]; kind {
	case '-':
		return "", errors.New(rest)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return "", err
		}
		b := make([]byte, n+2)
		for read := 0; read < len(b); {
			m, err := r.Read(b[read:])
			if err != nil {
				return "", err
			}
			read += m
		}
		return string(b[:n]), nil
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil {
			return "", err
		}
		var lines []string
		for range n {
			one, err := answer(r)
			if err != nil {
				return "", err
			}
			lines = append(lines, one)
		}
		return strings.Join(lines, "\n"), nil
	default:
		return rest, nil
	}
}
