//go:build unix

package pgtest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	interrupt = syscall.SIGINT  // to the server: fast shutdown
	quit      = syscall.SIGQUIT // to the server: immediate shutdown
)

func secret() string { return rand.Text() }

// servant is who the server runs as where this process is root, which
// PostgreSQL refuses.
var servant = sync.OnceValue(func() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
			gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
			if errors.Join(err1, err2) == nil {
				return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			}
		}
	}
	return nil
})

func asUser(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: servant()}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}

// give makes the files the servant's.
func give(names ...string) error {
	c := servant()
	if c == nil {
		return nil
	}
	for _, name := range names {
		if err := os.Chown(name, int(c.Uid), int(c.Gid)); err != nil {
			return err
		}
	}
	return nil
}

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
(read -r _; : >"$dir/orphaned"; kill -QUIT $server) <&3 >/dev/null 2>&1 & watch=$!
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
	asUser(p.cmd)
	p.cmd.ExtraFiles = []*os.File{r} // descriptor 3
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("pgtest: %w", err)
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
		return fmt.Errorf("pgtest: the server does not end:\n%s", p.log())
	}
}
