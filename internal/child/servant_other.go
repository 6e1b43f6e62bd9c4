//go:build !unix

package child

import "os/exec"

// Servant is nobody here: [Start] starts nothing.
type Servant struct{}

// NewServant returns nobody.
func NewServant(...string) *Servant { return &Servant{} }

// Prepare does nothing.
func (*Servant) Prepare(*exec.Cmd) {}

// Give does nothing.
func (*Servant) Give(...string) error { return nil }
