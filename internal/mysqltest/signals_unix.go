//go:build unix

package mysqltest

import "syscall"

const (
	terminate = syscall.SIGTERM
	pause     = syscall.SIGSTOP
	resume    = syscall.SIGCONT
)
