// Package child starts the servers that tests need. A server, and its folder,
// go with the process that started it, however that ends.
package child

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os/exec"
	"sync"
	"time"
)

// Patience is how long a server may take to start or to end.
const Patience = 60 * time.Second

// ErrUnsupported means that this system is not like Unix.
var ErrUnsupported = errors.New("child: servers for tests are started on Unix alone")

// Process is a server, under a shell that ends it when the pipe to the shell
// closes, as it does when this process is killed. Its methods may be called
// concurrently.
type Process struct {
	cmd  *exec.Cmd
	pipe io.Closer
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// Write keeps what the server prints.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// Log is what the server has printed.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// Ended reports whether the server has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Await waits until the server is ready.
func (p *Process) Await(ready func() bool) error {
	for start := time.Now(); time.Since(start) < Patience; time.Sleep(20 * time.Millisecond) {
		if p.Ended() {
			return errors.New("the server ended at its start:\n" + p.Log())
		}
		if ready() {
			return nil
		}
	}
	return errors.New("the server does not get ready")
}

// Wait waits for an end that was asked for.
func (p *Process) Wait() error {
	defer p.pipe.Close()
	select {
	case <-p.done:
		return nil
	case <-time.After(Patience):
		return errors.New("child: the server does not end:\n" + p.Log())
	}
}

// OnFreePort calls run with a port of loopback that nothing listens on, below
// limit (0: any). Another process may be faster than a server to use it: run
// gets three tries, each with a port of its own.
func OnFreePort(limit int, run func(port int) error) error {
	var port int
	var err error
	for range 3 {
		if port, err = freePort(limit); err != nil {
			return err
		}
		if err = run(port); err == nil {
			return nil
		}
	}
	return err
}

func freePort(limit int) (int, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return 0, err
		}
		if limit == 0 || port < limit {
			return port, nil
		}
	}
	return 0, errors.New("child: no free port below the limit")
}
