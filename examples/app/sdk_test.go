package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// npmInstall installs packages, by exact version, into a folder of the test.
// Where that fails, as without a network, the test is skipped like for a tool
// that is not installed.
func npmInstall(t *testing.T, packages ...string) (dir string) {
	t.Helper()
	npm := tool(t, "", "npm")
	dir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	args := append([]string{"install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir}, packages...)
	out, err := exec.CommandContext(ctx, npm, args...).CombinedOutput()
	if err != nil && os.Getenv("GATEWIRE_REQUIRE_TOOLS") != "1" {
		t.Skipf("npm install: %v", err)
	}
	require.NoError(t, err, "npm install:\n%s", out)
	return dir
}

// Centrifuge's official JavaScript SDK, as it is published, works with the hub.
func TestR17_JavaScriptSDK(t *testing.T) {
	node := tool(t, "", "node")
	dir := npmInstall(t, "centrifuge@5.8.0", "ws@8.23.0")
	script, err := os.ReadFile("testdata/sdk.mjs")
	require.NoError(t, err)
	name := filepath.Join(dir, "sdk.mjs") // beside its modules
	require.NoError(t, os.WriteFile(name, script, 0o600))

	app := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, name, app.url).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	require.Equal(t, 11, strings.Count(string(out), "ok "), "%s", out)
}
