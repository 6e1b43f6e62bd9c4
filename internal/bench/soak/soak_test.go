package main

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-load" {
		main()
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// A short run of everything that the long one does.
func TestSoak(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), options{For: 12 * time.Second, Every: time.Second, Clients: 60, Rate: 100}, &out, os.Args[0], "-load")
	t.Log(out.String())
	require.NoError(t, err)
}
