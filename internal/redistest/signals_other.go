//go:build !unix

package redistest

import "os"

var terminate, kill, pause, resume os.Signal = os.Interrupt, os.Kill, os.Kill, os.Kill
