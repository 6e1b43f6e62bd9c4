// Package house holds the rules of the house: who may import whom, and which
// third-party modules the core may require. They are what lets a user take
// one package without the others.
package house_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/gatewire/gatewire"

// allowed lists, for each package that ships, which of our packages its code
// may import. A package that is not here may not exist.
var allowed = map[string][]string{
	"":                           {},
	"password":                   {"password/internal/nfc"},
	"password/internal/nfc":      {},
	"session":                    {"internal/origin"},
	"session/sessiontest":        {"session"},
	"session/sqlstore":           {"session", "internal/sqldb"},
	"session/redisstore":         {"session"},
	"jwt":                        {"internal/seal"},
	"jwt/jwttest":                {"jwt"},
	"oidc":                       {"internal/origin", "internal/seal"},
	"oidc/oidctest":              {},
	"realtime":                   {"internal/origin"},
	"realtime/client":            {},
	"realtime/realtimetest":      {"realtime"},
	"realtime/redisbroker":       {"realtime"},
	"auth":                       {},
	"auth/authtest":              {"auth"},
	"auth/accounts":              {"auth", "password", "session", "jwt", "oidc", "internal/origin", "internal/seal"},
	"auth/accounts/sqlstore":     {"auth/accounts", "password", "session", "jwt", "internal/sqldb"},
	"auth/accounts/accountstest": {"auth/accounts", "password", "session"},
	"internal/seal":              {},
	"internal/child":             {},
	"internal/pgtest":            {"internal/child"},
	"internal/mysqltest":         {"internal/child"},
	"internal/redistest":         {"internal/child"},
	"internal/sqldb":             {},
	"internal/origin":            {},
	"internal/proxy":             {},
	"internal/sessionload":       {"session"},
	"internal/liar":              {"session"},
	"internal/house":             {},
}

// modules lists the third-party modules that the root may require directly.
// testify serves tests alone.
var modules = []string{
	"github.com/coder/websocket",
	"github.com/coreos/go-oidc/v3",
	"github.com/lestrrat-go/jwx/v3",
	"golang.org/x/crypto",
	"golang.org/x/oauth2",
	"github.com/stretchr/testify",
}

// adapters lists the published modules below the root, and what each may require
// directly besides the root and testify. A client of Redis or NATS is in the
// module graph of who uses the adapter, and of nobody else.
var adapters = map[string][]string{
	"session/redisstore":   {"github.com/redis/go-redis/v9"},
	"realtime/redisbroker": {"github.com/redis/go-redis/v9"},
}

// usedBy lists which third-party modules each package's code may import.
var usedBy = map[string][]string{
	"password":              {"golang.org/x/crypto"},
	"jwt":                   {"github.com/lestrrat-go/jwx/v3"},
	"oidc":                  {"github.com/coreos/go-oidc/v3", "golang.org/x/oauth2", "github.com/lestrrat-go/jwx/v3"},
	"session/redisstore":    {"github.com/redis/go-redis/v9"},
	"realtime":              {"github.com/coder/websocket"},
	"realtime/realtimetest": {"github.com/coder/websocket"},
	"realtime/redisbroker":  {"github.com/redis/go-redis/v9"},
}

type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	require.NoError(t, err)
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		require.NoError(t, err)
		pkgs = append(pkgs, p)
	}
}

// own returns the path below the module, and whether it is ours.
func own(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// outsiders are modules of their own that are never tagged and that nothing
// imports.
var outsiders = []string{"examples", "internal/bench", "internal/integration"}

func outside(rel string) bool {
	return slices.ContainsFunc(outsiders, func(dir string) bool { return rel == dir || strings.HasPrefix(rel, dir+"/") })
}

// adapterOf returns the adapter a package is in, "" for none.
func adapterOf(rel string) string {
	for dir := range adapters {
		if rel == dir || strings.HasPrefix(rel, dir+"/") {
			return dir
		}
	}
	return ""
}

func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

func TestWhoMayImportWhom(t *testing.T) {
	seen := 0
	for _, p := range list(t) {
		rel, ok := own(p.ImportPath)
		if !ok || outside(rel) {
			continue
		}
		seen++
		may, known := allowed[rel]
		require.True(t, known, "%s is not in the table of the house", p.ImportPath)
		for _, imp := range p.Imports {
			if to, ours := own(imp); ours {
				require.Contains(t, may, to, "%s may not import %s", p.ImportPath, imp)
				continue
			}
			if standard(imp) {
				continue
			}
			ok := slices.ContainsFunc(usedBy[rel], func(m string) bool { return imp == m || strings.HasPrefix(imp, m+"/") })
			ok = ok || strings.HasSuffix(path.Base(rel), "test") && strings.HasPrefix(imp, "github.com/stretchr/testify/")
			require.True(t, ok, "%s may not import %s", p.ImportPath, imp)
		}
		if rel == "auth" {
			for _, imp := range slices.Concat(p.Imports, p.TestImports) {
				require.True(t, standard(imp), "auth is standard library only, and imports %s", imp)
			}
		}
		// A test of the core that imports an adapter or a driver would put it
		// into every user's module graph. An adapter's own tests import it.
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			if to, ours := own(imp); ours {
				require.False(t, outside(to), "the tests of %s import %s", p.ImportPath, imp)
				if adapter := adapterOf(to); adapter != "" {
					require.Equal(t, adapter, adapterOf(rel), "the tests of %s import %s", p.ImportPath, imp)
				}
			}
		}
	}
	require.Greater(t, seen, 6, "go list has shown too little")
}

// modFile is what `go mod edit -json` shows of a go.mod.
type modFile struct {
	Module  struct{ Path string }
	Require []struct {
		Path     string
		Indirect bool
	}
	Replace []struct{ Old, New struct{ Path string } }
}

func modOf(t *testing.T, dir string) (mod modFile) {
	t.Helper()
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = filepath.Join("../..", filepath.FromSlash(dir))
	out, err := cmd.Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, &mod))
	require.NotEmpty(t, mod.Require)
	return mod
}

func TestTheRootRequiresOnlyWhatIsAllowed(t *testing.T) {
	mod := modOf(t, ".")
	for _, r := range mod.Require {
		if !r.Indirect {
			require.Contains(t, modules, r.Path, "the root may not require it")
		}
	}
	require.Empty(t, mod.Replace, "a replace in the root is ignored for its users")
}

func TestAdaptersRequireOnlyWhatIsAllowed(t *testing.T) {
	for dir, may := range adapters {
		mod := modOf(t, dir)
		require.Equal(t, module+"/"+dir, mod.Module.Path, "%s is no module of its own", dir)
		for _, r := range mod.Require {
			if !r.Indirect {
				require.Contains(t, append([]string{module, "github.com/stretchr/testify"}, may...), r.Path, "%s may not require it", dir)
			}
		}
		for _, r := range mod.Replace {
			require.Equal(t, module, r.Old.Path, "%s may replace the root alone", dir)
			require.Equal(t, strings.Repeat("../", strings.Count(dir, "/")+1), r.New.Path, dir)
		}
	}
}
