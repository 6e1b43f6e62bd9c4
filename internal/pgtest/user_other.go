//go:build !unix

package pgtest

import (
	"os"
	"os/exec"
)

var interrupt, quit os.Signal = os.Interrupt, os.Kill

func secret() string       { return "" }
func asUser(*exec.Cmd)     {}
func give(...string) error { return nil }
