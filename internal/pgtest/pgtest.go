// Package pgtest starts a private PostgreSQL server for tests: in a temporary
// folder, on a free port of loopback, with a password of its own. The server
// ends, and its folder goes, with the process that started it, however that
// ends.
package pgtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gatewire/gatewire/internal/child"
)

// ErrMissing means that this machine has no PostgreSQL to start.
var ErrMissing error = child.Missing("pgtest: no PostgreSQL here: install it (Debian: apt-get install postgresql), or set POSTGRES_URL to a database that tests may write to")

const owner = "gatewire"

// servant is a function so that nobody is looked up where no test needs it.
var servant = sync.OnceValue(func() *child.Servant { return child.NewServant("postgres", "nobody") })

// Server is a PostgreSQL server. Its methods are for one goroutine.
type Server struct {
	bin      string // folder of the programs
	dir      string // of this server: data, and the socket
	port     int
	password string
	config   []string
	running  *child.Process
}

// Start makes a new, empty server and waits until it answers. Each of config is
// a setting of it, as "fsync=on".
func Start(config ...string) (_ *Server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, password: rand.Text(), config: config}
	if s.dir, err = os.MkdirTemp("", "gatewire-pg"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	pw := filepath.Join(s.dir, "password")
	if err := os.WriteFile(pw, []byte(s.password+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := servant().Give(s.dir, pw); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(bin, "initdb"), "--pgdata="+s.data(), "--username="+owner, "--auth=scram-sha-256", "--pwfile="+pw,
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir = s.dir
	servant().Prepare(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pgtest: initdb: %w\n%s", err, out)
	}
	if err := child.OnFreePort(0, s.runOn); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) runOn(port int) error { s.port = port; return s.Run() }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Addr is where the server listens, as "127.0.0.1:5432".
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is a connection string of the server's owner.
func (s *Server) URL() string { return s.Via(s.Addr()) }

// Via is URL for who reaches the server at another address.
func (s *Server) Via(addr string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(owner, s.password), Host: addr, Path: "/postgres", RawQuery: "sslmode=disable"}
	return u.String()
}

// Run starts the server again, on the same port and data, after Stop, Crash or Kill.
func (s *Server) Run() error {
	// What these tests kill is the server, never the machine: without fsync,
	// nothing that was written is lost all the same.
	command := []string{filepath.Join(s.bin, "postgres"), "-D", s.data(), "-k", s.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)}
	for _, setting := range append([]string{"fsync=off", "max_connections=200", "shared_buffers=32MB", "timezone=UTC"}, s.config...) {
		command = append(command, "-c", setting) // of two, the last counts
	}
	p, err := child.Start(s.dir, "QUIT", servant().Prepare, command...)
	if err != nil {
		return err
	}
	s.running = p
	if err := p.Await(s.ready); err != nil {
		return errors.Join(fmt.Errorf("pgtest: %w", err), s.Crash())
	}
	return nil
}

// ready reports whether connections are let in: the last line of this file says
// so then.
func (s *Server) ready() bool {
	b, err := os.ReadFile(s.pidFile())
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return err == nil && len(lines) == 8 && strings.TrimSpace(lines[7]) == "ready"
}

// Stop shuts the server down in order; connections are cut.
func (s *Server) Stop() error { return s.end(os.Interrupt) }

// Crash ends the server at once: the next Run has to recover from its log.
func (s *Server) Crash() error { return s.end(child.Quit) }

// Kill ends all processes of the server at once, as kill -9 does. No client is
// told.
func (s *Server) Kill() error {
	if s.running == nil {
		return nil
	}
	if err := errors.Join(s.Pause(), s.signalAll(os.Kill)); err != nil {
		return err
	}
	err := s.running.Wait()
	s.running = nil
	// Run takes what stands in this file for the new server's.
	return errors.Join(err, os.Remove(s.pidFile()))
}

// Pause keeps all processes of the server from doing anything: connections
// stay, nothing moves. It needs /proc.
func (s *Server) Pause() error {
	// One may start another before it is stopped itself.
	for range 3 {
		if err := s.signalAll(child.Pause); err != nil {
			return err
		}
	}
	return nil
}

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.signalAll(child.Resume) }

// signalAll sends sig to the server's first process and those it has started.
func (s *Server) signalAll(sig os.Signal) error {
	first := s.pid()
	if first == 0 {
		return errors.New("pgtest: the server does not run")
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return errors.New("pgtest: no /proc to find the server's processes in")
	}
	pids := []int{first}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// "12 (its name) S 3 …": the last is who started it.
		_, rest, _ := strings.Cut(string(b[max(strings.LastIndexByte(string(b), ')'), 0):]), " ")
		fields := strings.Fields(rest)
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(first) {
			pids = append(pids, pid)
		}
	}
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Signal(sig)
		}
	}
	return nil
}

func (s *Server) pidFile() string { return filepath.Join(s.data(), "postmaster.pid") }

func (s *Server) pid() int {
	b, _ := os.ReadFile(s.pidFile())
	first, _, _ := strings.Cut(string(b), "\n")
	if pid, err := strconv.Atoi(first); err == nil && pid > 1 {
		return pid
	}
	return 0
}

func (s *Server) end(sig os.Signal) error {
	if s.running == nil {
		return nil
	}
	if !s.running.Ended() { // else the number may be somebody else's by now
		if pid := s.pid(); pid > 0 {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Signal(sig)
				_ = s.Resume() // a paused one hears nothing
			}
		}
	}
	err := s.running.Wait()
	s.running = nil
	return err
}

// Close ends the server and removes its folder.
func (s *Server) Close() error {
	return errors.Join(s.Crash(), os.RemoveAll(s.dir))
}

// programs finds the folder of initdb and postgres: on the path, or where
// Debian keeps them, the newest version first.
func programs() (string, error) {
	var dirs []string
	if name, err := exec.LookPath("initdb"); err == nil {
		if name, err = filepath.EvalSymlinks(name); err == nil {
			dirs = append(dirs, filepath.Dir(name))
		}
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(installed, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range append(dirs, installed...) {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", ErrMissing
}

func version(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

func executable(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
