//go:build unix

package redistest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	terminate = syscall.SIGTERM
	kill      = syscall.SIGKILL
	pause     = syscall.SIGSTOP
	resume    = syscall.SIGCONT
)

// process is a server under a shell that ends it when the pipe to the shell's
// standard input closes: that happens also when this process is killed. The
// folder goes then too; an ordinary end leaves it.
type process struct {
	cmd  *exec.Cmd
	pipe io.Closer
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

const keeper = `dir=$1; shift
"$@" & server=$!
(read -r _; : >"$dir/orphaned"; kill -KILL $server; kill -CONT $server) <&3 >/dev/null 2>&1 & watch=$!
wait $server
[ ! -e "$dir/orphaned" ] || rm -rf "$dir"
kill $watch`

func startProcess(dir string, command ...string) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &process{pipe: w, done: make(chan struct{})}
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", keeper, "sh", dir}, command...)...)
	p.cmd.Dir = dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.ExtraFiles = []*os.File{r} // descriptor 3
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("redistest: %w", err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait waits for an end that was asked for.
func (p *process) wait() error {
	defer p.pipe.Close()
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("redistest: the server does not end:\n%s", p.log())
	}
}
