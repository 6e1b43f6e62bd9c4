package child_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
)

// outcome notes what would become of a test.
type outcome struct {
	testing.TB
	is string
}

func (o *outcome) Helper()      {}
func (o *outcome) Skip(...any)  { o.is = "skipped" }
func (o *outcome) Fatal(...any) { o.is = "failed" }

func TestRequire(t *testing.T) {
	missing := fmt.Errorf("start: %w", child.Missing("no server here"))
	for _, c := range []struct {
		tools string
		err   error
		want  string
	}{
		{"", nil, ""}, {"1", nil, ""},
		{"", missing, "skipped"}, {"1", missing, "failed"},
		{"", errors.New("broken"), "failed"}, {"1", errors.New("broken"), "failed"},
	} {
		t.Setenv("GATEWIRE_REQUIRE_TOOLS", c.tools)
		o := &outcome{TB: t}
		child.Require(o, c.err)
		require.Equal(t, c.want, o.is, "%q, %v", c.tools, c.err)
	}
}
