package proxyd_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// modules are the modules that proxyd's own code and tests import. Each saves
// more than it costs, and README.md says what.
var modules = []string{
	"github.com/agext/levenshtein",
	"github.com/alecthomas/kong",
	"github.com/cloudflare/tableflip",
	"github.com/coder/websocket",
	"github.com/coreos/go-systemd/v22",
	"github.com/google/go-cmp",
	"github.com/hashicorp/hcl/v2",
	"github.com/rogpeppe/go-internal",
	"github.com/zclconf/go-cty",
	"github.com/zeebo/xxh3",
	"go.uber.org/goleak",
	"golang.org/x/net",
	"golang.org/x/sys",
}

// tools are the modules of go.mod's tool lines: they check the code and are in
// no binary.
var tools = []string{
	"honnef.co/go/tools",
	"mvdan.cc/gofumpt",
}

func TestDirectModulesAreTheListedOnes(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var direct []string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(strings.TrimPrefix(line, "require "))
		switch {
		case len(words) == 2 && strings.HasPrefix(words[1], "v") && !slices.Contains(tools, words[0]):
			direct = append(direct, words[0]) // an indirect one has a comment behind it
		case len(words) > 0 && (words[0] == "replace" || words[0] == "toolchain"):
			t.Errorf("go.mod: got %q; want no replace, which 'go install' refuses, and any toolchain", words)
		}
	}
	slices.Sort(direct)
	if !slices.Equal(direct, modules) {
		t.Errorf("direct modules of go.mod: got %v; want %v", direct, modules)
	}
}

func TestREADMESaysWhatEachModuleSaves(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Concat(modules, tools) {
		if !bytes.Contains(readme, []byte(m)) {
			t.Errorf("README.md: want a line on what %s saves", m)
		}
	}
}

func TestREADMEShowsTheShippedConfiguration(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile("proxy.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, shipped) {
		t.Error("README.md: want proxy.hcl as it is shipped")
	}
}

// Each package says in doc.go what it owns, and nothing else stands there.
func TestEachPackageHasItsDoc(t *testing.T) {
	for _, p := range packages(t) {
		name := filepath.Join(p.Dir, "doc.go")
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: %v", p.name(), err)
			continue
		}
		doc := strings.TrimSpace(file.Doc.Text())
		if n := strings.Count(doc, "\n") + 1; n < 10 || n > 25 {
			t.Errorf("%s: package comment in doc.go: got %d lines; want 10 to 25", p.name(), n)
		}
		if want := "Package " + file.Name.Name + " "; file.Name.Name != "main" && !strings.HasPrefix(doc, want) {
			t.Errorf("%s: package comment begins %.30q; want %q", p.name(), doc, want)
		}
	}
}

// A file of over 500 lines holds more than one idea, and a function of over 60
// more than one step. Tests may be longer: tables are.
func TestFilesAreShort(t *testing.T) {
	const most = 500
	for name, text := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if n := bytes.Count(text, []byte("\n")); n > most {
			t.Errorf("%s: got %d lines; want at most %d", name, n, most)
		}
	}
}

func TestNoUnfinishedBusiness(t *testing.T) {
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}
	for name, text := range goFiles(t) {
		for i, line := range strings.Split(string(text), "\n") {
			for _, mark := range marks {
				if strings.Contains(line, mark) {
					t.Errorf("%s:%d: got %s; want it done, or an issue", name, i+1, mark)
				}
			}
		}
	}
}

// goFiles returns the text of each Go file of the module by its path.
func goFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		files[name], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
