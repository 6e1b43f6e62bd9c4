//go:build unix

package redistest

import "syscall"

const (
	terminate = syscall.SIGTERM
	kill      = syscall.SIGKILL
	pause     = syscall.SIGSTOP
	resume    = syscall.SIGCONT
)
