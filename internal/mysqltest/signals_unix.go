//go:build unix

package mysqltest

import "syscall"

const terminate = syscall.SIGTERM
