package config

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func TestGlance(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                 true,
		manyRoutes(3000):                   true,
		"a = [1, -1, !b] # it's \"\n":      true,
		"a = \"50%\" // }\nb = \"$5\\\"\"": true,
		`a = "x${b("}")}${c}y"`:            true,
		"a {":                              false,
		"a }":                              false,
		"a = [}":                           false,
		"a = \"\n\"":                       false,
		"a = <<EOT\nEOT\n":                 false,
		"/* { */":                          false,
		"a = b::c()":                       false,
		`a = "%{ if b }%{ endif }"`:        false,
		strings.Repeat("(", maxDepth):      false,
		"a = " + strings.Repeat("!", maxDepth) + "b":                               false,
		"a = \"" + strings.Repeat("${b}", maxPieces) + "\"":                        false,
		"a = " + strings.Repeat("9", maxDigits+1):                                  false,
		strings.Repeat("a = -b\n", maxDepth):                                       true,
		"a = {" + strings.Repeat("b = -c, ", maxDepth) + "}":                       true,
		"a = \"" + strings.Repeat("-", maxDepth) + strings.Repeat("{", 999) + "\"": true,
	} {
		if got := glance([]byte(text)); got != want {
			t.Errorf("%.40q: got %v; want %v", text, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "a = -b\n": 5, "x-y.z": 1, "----": 4, "é  \"10.0.0.1:80\"": 6, "[[": 2,
	} {
		if got := words([]byte(text)); got != want {
			t.Errorf("%q: got %d; want %d", text, got, want)
		}
	}
}

// FuzzGlance holds that what passes glance would pass survey too.
func FuzzGlance(f *testing.F) {
	for _, text := range []string{
		manyRoutes(2), `a = "x${b("}")}${c}%y$"`, "a = \"$\"\nb = \"%\" # \"", `a = "\${b}" "$\"{"`, "a = b[*] ? -1 : !c\n", "a = 'x\n// y\n", "\xcf\"!", "0000.",
	} {
		f.Add([]byte(text), uint8(1))
	}
	f.Fuzz(func(t *testing.T, text []byte, times uint8) {
		text = []byte(strings.Repeat(string(text), int(times)))
		if !glance(text) {
			return
		}
		tokens, _ := hclsyntax.LexConfig(text, "fuzz.hcl", hcl.InitialPos)
		m := mistakes{src: text}
		if !m.survey(tokens) {
			t.Fatalf("survey refuses %q: %v", text, m.err())
		}
	})
}
