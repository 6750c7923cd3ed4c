package main

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "write docs/cli.md anew where it differs")

// docs/cli.md shows what --help prints, as blocks that begin with the command.
// The rest of it is prose and kept by hand.
func TestHelpIsAsDocumented(t *testing.T) {
	const file = "../../docs/cli.md"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```\n\\$ proxyd((?: [a-z]+)*) --help\n.*?^```$")
	documented := make(map[string]bool)
	fresh := block.ReplaceAllStringFunc(string(doc), func(old string) string {
		command := strings.TrimSpace(block.FindStringSubmatch(old)[1])
		documented[command] = true
		text := strings.TrimRight(help(t, command), "\n")
		return "```\n$ " + strings.Join(strings.Fields("proxyd "+command+" --help"), " ") + "\n" + text + "\n```"
	})
	for _, command := range append(commandNames(), "") {
		if !documented[command] {
			t.Errorf("docs/cli.md: no block with the help of %q", command)
		}
	}
	if fresh == string(doc) {
		return
	}
	if !*update {
		t.Fatalf("docs/cli.md: not what --help prints; go test ./cmd/proxyd -run %s -update writes it", t.Name())
	}
	if err := os.WriteFile(file, []byte(fresh), 0o644); err != nil {
		t.Fatal(err)
	}
}

// commandNames lists the commands that are for people.
func commandNames() []string {
	var names []string
	var walk func(nodes []*kong.Node, before string)
	walk = func(nodes []*kong.Node, before string) {
		for _, node := range nodes {
			if !node.Hidden {
				names = append(names, before+node.Name)
				walk(node.Children, before+node.Name+" ")
			}
		}
	}
	walk(newParser().Model.Children, "")
	return names
}

// help returns what the help of a command prints for root, "" being proxyd's own.
func help(t *testing.T, command string) string {
	t.Helper()
	t.Setenv("COLUMNS", "80")
	var out bytes.Buffer
	parser := newParser(
		kong.Writers(&out, &out),
		kong.Exit(func(int) {}),
		kong.Vars{"state_dir": "/run/proxyd"},
	)
	_, _ = parser.Parse(append(strings.Fields(command), "--help")) // what follows the help is not asked for
	return out.String()
}
