//go:build unix

package child

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// Servant is who a server runs as. Where this process is root that is another
// user, since database servers refuse to run as root.
type Servant struct{ credential *syscall.Credential }

// NewServant chooses the first of the users that this system has.
func NewServant(names ...string) *Servant {
	if os.Geteuid() != 0 {
		return &Servant{}
	}
	for _, name := range names {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
			gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
			if errors.Join(err1, err2) == nil {
				return &Servant{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
			}
		}
	}
	return &Servant{}
}

// Prepare makes cmd run as the servant, with nothing of this process's
// environment but the path.
func (s *Servant) Prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.credential}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}

// Give makes the files the servant's.
func (s *Servant) Give(names ...string) error {
	if s.credential == nil {
		return nil
	}
	for _, name := range names {
		if err := os.Chown(name, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
			return err
		}
	}
	return nil
}
