//go:build unix

package child

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// The folder goes only when this process has died: an ordinary end leaves it.
// What the shell itself has to say, as "Killed", would then end it too: nobody
// reads it any more.
const keeper = `dir=$1; signal=$2; shift 2
"$@" & server=$!
exec >/dev/null 2>&1
(read -r _; : >"$dir/orphaned"; kill -$signal $server; kill -CONT $server) <&3 & watch=$!
wait $server
[ ! -e "$dir/orphaned" ] || rm -rf "$dir"
kill $watch`

// Start runs a command in dir, which is its own. signal, as "KILL", is what ends
// it when this process dies. prepare may change what is run; nil for nothing.
func Start(dir, signal string, prepare func(*exec.Cmd), command ...string) (*Process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &Process{pipe: w, done: make(chan struct{})}
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", keeper, "sh", dir, signal}, command...)...)
	p.cmd.Dir = dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.ExtraFiles = []*os.File{r} // descriptor 3
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = 5 * time.Second
	if prepare != nil {
		prepare(p.cmd)
	}
	if err := p.cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("child: %w", err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}
