//go:build unix

package pgtest

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
)

const (
	interrupt = syscall.SIGINT  // to the server: fast shutdown
	quit      = syscall.SIGQUIT // to the server: immediate shutdown
	kill      = syscall.SIGKILL
	pause     = syscall.SIGSTOP
	resume    = syscall.SIGCONT
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
