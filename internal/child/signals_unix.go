//go:build unix

package child

import "syscall"

// Signals that servers are sent.
const (
	Terminate = syscall.SIGTERM
	Quit      = syscall.SIGQUIT
	Pause     = syscall.SIGSTOP
	Resume    = syscall.SIGCONT
)
