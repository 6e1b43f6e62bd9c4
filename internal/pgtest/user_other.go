//go:build !unix

package pgtest

import (
	"os"
	"os/exec"
)

var interrupt, quit, kill, pause, resume os.Signal = os.Interrupt, os.Kill, os.Kill, os.Kill, os.Kill

func secret() string       { return "" }
func asUser(*exec.Cmd)     {}
func give(...string) error { return nil }
