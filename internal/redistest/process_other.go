//go:build !unix

package redistest

import "os"

var terminate, kill, pause, resume os.Signal = os.Interrupt, os.Kill, os.Kill, os.Kill

func (*process) ended() bool { return true }
func (*process) log() string { return "" }
func (*process) wait() error { return nil }

type process struct{}

func startProcess(string, ...string) (*process, error) { return nil, ErrMissing }
