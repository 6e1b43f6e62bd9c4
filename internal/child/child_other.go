//go:build !unix

package child

import "os/exec"

// Start returns [ErrUnsupported].
func Start(string, string, func(*exec.Cmd), ...string) (*Process, error) {
	return nil, ErrUnsupported
}
