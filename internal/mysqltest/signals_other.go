//go:build !unix

package mysqltest

import "os"

var terminate, pause, resume os.Signal = os.Interrupt, os.Kill, os.Kill
