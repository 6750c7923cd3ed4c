package proxyd_test

import (
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/proxyd/proxyd"

// arrows says which of our packages each of them imports, tests aside. A new
// arrow is a design decision and is made here, in the commit that needs it.
//
// What it keeps true: supervisor and worker meet in internal/ only, lb and
// limiter know neither each other nor the configuration, worker/loop and
// worker/http1 stand alone, and nothing imports cmd.
var arrows = map[string][]string{
	module:             {},
	"cmd/proxyd":       {"supervisor", "supervisor/admin", "worker", "internal/config", "internal/handoff"},
	"cmd/proxyd/e2e":   {},
	"cmd/proxybench":   {},
	"supervisor":       {"supervisor/admin", "supervisor/sysd", "internal/config", "internal/handoff", "internal/shm"},
	"supervisor/admin": {"internal/handoff"},
	"supervisor/sysd":  {},
	"worker": {
		"worker/accesslog", "worker/http1", "worker/http2", "worker/loop", "worker/proxyproto", "worker/route", "worker/tlsconn",
		"lb", "lb/discover", "lb/probe", "limiter", "internal/config", "internal/handoff", "internal/shm",
	},
	"worker/accesslog":  {},
	"worker/http1":      {"internal/ipaddr"},
	"worker/http2":      {"worker/http1"},
	"worker/loop":       {},
	"worker/proxyproto": {"internal/ipaddr"},
	"worker/route":      {},
	"worker/tlsconn":    {"internal/shm", "worker/loop"},
	"lb":                {"internal/shm", "lb/reason"},
	"lb/discover":       {"internal/shm", "lb"},
	"lb/probe":          {"lb/reason"},
	"lb/reason":         {},
	"limiter":           {"internal/shm"},
	"internal/config":   {"internal/ipaddr"},
	"internal/ipaddr":   {},
	"internal/handoff":  {},
	"internal/shm":      {},
}

// importers says which of our packages may import a package from elsewhere,
// tests aside; a name ending in / stands for all below it, and an empty list for
// tests only. What is not listed is for everyone if it is of the standard
// library, and for no one if it is of a module.
var importers = map[string][]string{
	"unsafe":                            {"internal/shm", "worker/loop", "cmd/proxybench"},
	"github.com/agext/levenshtein":      {"internal/config", "cmd/proxyd"},
	"github.com/alecthomas/kong":        {"cmd/proxyd"},
	"github.com/cloudflare/tableflip":   {"supervisor"},
	"github.com/coder/websocket":        {},
	"github.com/coreos/go-systemd/v22/": {"supervisor/sysd"},
	"github.com/hashicorp/hcl/v2":       {"internal/config"},
	"github.com/hashicorp/hcl/v2/":      {"internal/config"},
	"github.com/zclconf/go-cty/":        {"internal/config"},
	"github.com/zeebo/xxh3":             {"internal/shm"},
	"golang.org/x/sys/unix":             {"cmd/proxyd", "cmd/proxybench", "supervisor", "supervisor/", "worker", "worker/", "lb", "internal/"},
	"github.com/rogpeppe/go-internal/":  {},
	"github.com/google/go-cmp/":         {},
	"go.uber.org/goleak":                {},
	"golang.org/x/net/dns/dnsmessage":   {"lb/discover"},
	"golang.org/x/net/http2/hpack":      {"worker/http2"},
	"net/http":                          {"cmd/proxyd", "supervisor/admin", "lb/probe"},
	"net/http/httputil":                 {},
}

// A goPackage is what 'go list -json' tells of one.
type goPackage struct {
	ImportPath   string // of the root: module
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// packages lists the module's packages.
func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,GoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderrOf(err))
	}
	var list []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			t.Fatalf("go list: %v", err)
		}
		list = append(list, p)
	}
	if len(list) < 3 {
		t.Fatalf("go list: got %d packages; want the whole module", len(list))
	}
	return list
}

func stderrOf(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Stderr
	}
	return nil
}

func TestPackagesImportWhatTheTableSays(t *testing.T) {
	for _, p := range packages(t) {
		want, listed := arrows[p.name()]
		if !listed {
			t.Errorf("%s: is not in the table of arrows", p.name())
			continue
		}
		var got []string
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module+"/"); ok {
				got = append(got, ours)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) { // go list sorts
			t.Errorf("%s: imports of ours: got %q; want %q", p.name(), got, want)
		}
	}
}

// Tests may reach further, but not so far that one half of the house becomes
// needed to test the other.
func TestTestsKeepSupervisorAndWorkerApart(t *testing.T) {
	for _, p := range packages(t) {
		half := strings.Split(p.name(), "/")[0]
		other := map[string]string{"supervisor": "worker", "worker": "supervisor", "lb": "limiter", "limiter": "lb"}[half]
		for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
			ours, ok := strings.CutPrefix(i, module+"/")
			if ok && other != "" && (ours == other || strings.HasPrefix(ours, other+"/")) {
				t.Errorf("%s: a test imports %s; want %s and %s apart", p.name(), ours, half, other)
			}
		}
	}
}

func TestEachLibraryHasItsImporters(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			allowed, found := importersOf(i)
			isModule := strings.Contains(strings.Split(i, "/")[0], ".") && !strings.HasPrefix(i, module)
			switch {
			case isModule && !found:
				t.Errorf("%s: imports %s, which no line of importers allows", p.name(), i)
			case found && !slices.ContainsFunc(allowed, func(a string) bool { return matches(a, p.name()) }):
				t.Errorf("%s: imports %s; want it only in %v", p.name(), i, allowed)
			}
		}
	}
}

func importersOf(imported string) (allowed []string, found bool) {
	for pattern, names := range importers {
		if matches(pattern, imported) {
			return names, true
		}
	}
	return nil, false
}

// matches reports whether name is pattern, or below it if pattern ends in /.
func matches(pattern, name string) bool {
	return name == pattern || strings.HasSuffix(pattern, "/") && strings.HasPrefix(name, pattern)
}

func TestNoPackageIsNamedForNothing(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "types", "pkg", "misc", "base", "shared"}
	for _, p := range packages(t) {
		if slices.Contains(vague, path.Base(p.name())) {
			t.Errorf("%s: want a folder named for the noun it holds", p.name())
		}
	}
}
