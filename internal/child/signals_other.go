//go:build !unix

package child

import "os"

// Signals that servers are sent, where there are any.
var Terminate, Quit, Pause, Resume os.Signal = os.Interrupt, os.Kill, os.Kill, os.Kill
