// Package mysqltest starts a private MariaDB server for tests: in a temporary
// folder, on a free port of loopback, with a password of its own. The server
// ends, and its folder goes, with the process that started it, however that
// ends.
package mysqltest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatewire/gatewire/internal/child"
)

// ErrMissing means that this machine has no MariaDB to start.
var ErrMissing error = child.Missing("mysqltest: no MariaDB here: install it (Debian: apt-get install mariadb-server), or set MYSQL_URL to a server where tests may make databases, as user:password@tcp(host:3306)/")

const owner = "gatewire"

// servant is a function so that nobody is looked up where no test needs it.
var servant = sync.OnceValue(func() *child.Servant { return child.NewServant("mysql", "nobody") })

// Server is a MariaDB server. Its methods are for one goroutine.
type Server struct {
	program  string
	dir      string // of this server: data, socket, log of errors
	port     int
	password string
	running  *child.Process
}

// Start makes a new, empty server and waits until it answers.
func Start() (_ *Server, err error) {
	install, program := find("mariadb-install-db", "mysql_install_db"), find("mariadbd", "mysqld")
	if install == "" || program == "" {
		return nil, ErrMissing
	}
	s := &Server{program: program, password: rand.Text()}
	if s.dir, err = os.MkdirTemp("", "gatewire-mysql"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	// Root is let in by the socket alone, and only where the system says so.
	init := "CREATE USER IF NOT EXISTS " + owner + "@'127.0.0.1' IDENTIFIED BY '" + s.password + "';\n" +
		"GRANT ALL PRIVILEGES ON *.* TO " + owner + "@'127.0.0.1' WITH GRANT OPTION;\n" +
		"CREATE DATABASE IF NOT EXISTS " + owner + ";\n"
	if err := os.WriteFile(s.init(), []byte(init), 0o600); err != nil {
		return nil, err
	}
	if err := servant().Give(s.dir, s.init()); err != nil {
		return nil, err
	}
	cmd := exec.Command(install, "--no-defaults", "--datadir="+s.data(), "--auth-root-authentication-method=socket", "--skip-test-db", "--skip-name-resolve")
	cmd.Dir = s.dir
	servant().Prepare(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mysqltest: %s: %w\n%s", install, err, out)
	}
	if err := child.OnFreePort(0, s.runOn); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) runOn(port int) error { s.port = port; return s.Run() }

func (s *Server) data() string    { return filepath.Join(s.dir, "data") }
func (s *Server) init() string    { return filepath.Join(s.dir, "init.sql") }
func (s *Server) pidFile() string { return filepath.Join(s.dir, "pid") }

// Addr is where the server listens, as "127.0.0.1:3306".
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// DSN is a data source name of the server's owner, for github.com/go-sql-driver/mysql.
func (s *Server) DSN() string { return s.Via(s.Addr()) }

// Via is DSN for who reaches the server at another address.
func (s *Server) Via(addr string) string {
	return owner + ":" + s.password + "@tcp(" + addr + ")/" + owner
}

// Run starts the server again, on the same port and data, after Stop or Kill.
func (s *Server) Run() error {
	// What these tests kill is the server, never the machine: what a commit has
	// handed to the system is not lost, so it need not have reached the disk.
	p, err := child.Start(s.dir, "KILL", servant().Prepare, s.program, "--no-defaults", "--datadir="+s.data(), "--init-file="+s.init(),
		"--socket="+filepath.Join(s.dir, "socket"), "--pid-file="+s.pidFile(), "--tmpdir="+s.dir, "--bind-address=127.0.0.1",
		"--port="+strconv.Itoa(s.port), "--skip-name-resolve", "--skip-log-bin", "--max-connections=300", "--default-time-zone=+00:00",
		"--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=fsync", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M",
		"--key-buffer-size=1M", "--aria-pagecache-buffer-size=8M")
	if err != nil {
		return err
	}
	s.running = p
	if err := p.Await(s.greets); err != nil {
		return errors.Join(fmt.Errorf("mysqltest: %w", err), s.Kill())
	}
	return nil
}

// greets reports whether the server lets clients in: it listens earlier than
// that.
func (s *Server) greets() bool {
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(child.Patience))
	var packet [5]byte // a header of four bytes, then the version of the protocol
	_, err = io.ReadFull(c, packet[:])
	return err == nil && packet[4] == 10
}

// Stop shuts the server down in order; connections are cut.
func (s *Server) Stop() error { return s.end(child.Terminate) }

// Kill ends the server at once, as kill -9 does: the next Run has to recover from
// its log.
func (s *Server) Kill() error { return s.end(os.Kill) }

// Pause keeps the server from doing anything: connections stay, nothing moves.
func (s *Server) Pause() error { return s.signal(child.Pause) }

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.signal(child.Resume) }

func (s *Server) signal(sig os.Signal) error {
	if s.running == nil || s.running.Ended() { // the number may be somebody else's by now
		return errors.New("mysqltest: the server does not run")
	}
	b, err := os.ReadFile(s.pidFile())
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 2 {
		return fmt.Errorf("mysqltest: no process %q", b)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Signal(sig)
}

func (s *Server) end(sig os.Signal) error {
	if s.running == nil {
		return nil
	}
	_ = s.signal(sig)
	_ = s.Resume() // a paused one hears nothing
	err := s.running.Wait()
	s.running = nil
	_ = os.Remove(s.pidFile()) // which a killed server leaves
	return err
}

// Close ends the server and removes its folder.
func (s *Server) Close() error {
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
}

// find returns the first of the programs that is on the path or where systems
// keep what an administrator runs, "" for none.
func find(names ...string) string {
	for _, name := range names {
		for _, place := range []string{"", "/usr/sbin/", "/usr/bin/"} {
			if found, err := exec.LookPath(place + name); err == nil {
				return found
			}
		}
	}
	return ""
}
