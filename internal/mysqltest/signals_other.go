//go:build !unix

package mysqltest

import "os"

var terminate = os.Interrupt
