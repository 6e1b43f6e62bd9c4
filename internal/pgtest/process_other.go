//go:build !unix

package pgtest

import (
	"os"
	"os/exec"
)

var interrupt, quit os.Signal = os.Interrupt, os.Kill

func secret() string         { return "" }
func asUser(*exec.Cmd)       {}
func give(...string) error   { return nil }
func (*process) ended() bool { return true }
func (*process) log() string { return "" }
func (*process) wait() error { return nil }

type process struct{}

func startProcess(string, ...string) (*process, error) { return nil, ErrMissing }
