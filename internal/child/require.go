package child

import (
	"errors"
	"os"
	"testing"
)

// Missing is an error that names a program which tests need and this machine
// lacks.
type Missing string

func (m Missing) Error() string { return string(m) }

// Require fails a test whose server didn't start. For want of the program it is
// skipped, unless GATEWIRE_REQUIRE_TOOLS is set, as under make test.
func Require(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.As(err, new(Missing)) && os.Getenv("GATEWIRE_REQUIRE_TOOLS") == "":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}
