package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/examples/internal/chrome"
	"github.com/gatewire/gatewire/realtime/client"
)

// The module is checked by the TypeScript compiler as it is, its declarations
// against it, and a program of all of its API against the declarations.
func TestClientTypes(t *testing.T) {
	t.Parallel()
	node := chrome.Tool(t, "", "node")
	dir := npmInstall(t, "typescript@5.9.3")
	require.NoError(t, os.CopyFS(dir, client.FS))
	program, err := os.ReadFile("testdata/types.ts")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "types.ts"), program, 0o600))
	tsc := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		args = append([]string{filepath.Join(dir, "node_modules/typescript/bin/tsc"), "--strict", "--target", "es2022", "--module", "es2022",
			"--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable"}, args...)
		cmd := exec.CommandContext(ctx, node, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	// Under another name, so that the declarations don't stand in for what is generated from it.
	source, err := client.FS.ReadFile(client.Name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "module.js"), source, 0o600))
	tsc("--allowJs", "--checkJs", "--noUnusedLocals", "--noImplicitReturns", "--declaration", "--emitDeclarationOnly", "--stripInternal", "--outDir", "generated", "module.js")
	require.NoError(t, os.CopyFS(filepath.Join(dir, "generated"), client.FS)) // it refers to them
	tsc("--noEmit", "--noUnusedLocals", "types.ts")
}
