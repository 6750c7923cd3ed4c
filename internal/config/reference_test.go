package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var kindNames = map[kind]string{
	textKind: "text", pathKind: "path", hostKind: "host", durationKind: "duration", sizeKind: "size", countKind: "count",
	autoKind: "auto", boolKind: "bool", choiceKind: "choice", rateKind: "rate", ratesKind: "rates", listKind: "list", expressionKind: "expression",
	conditionKind: "condition", formatKind: "expression", upstreamKind: "expression", percentKind: "percent",
	networksKind: "networks", fieldKind: "expression", fieldsKind: "fields",
}

// phaseNames are what the reference says of where a variable can be used.
var phaseNames = map[phase]string{matching: "everywhere", routed: "not in `when`", answered: "response", logged: "log"}

// TestReference holds docs/reference.md against the schema: the same arguments
// with the same kinds and defaults, the same variables and functions, and the
// same names that are not supported yet.
func TestReference(t *testing.T) {
	data, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	text, unbuilt, ok := strings.Cut(string(data), "## Not supported yet")
	if !ok {
		t.Fatal("the reference does not say what is not supported yet")
	}

	var built, refused []string
	addBlock(&built, &refused, &schema, "")
	for name, members := range variables {
		for member, place := range members {
			full := name + "." + member
			if place.named {
				full += `["name"]`
			}
			built = append(built, fmt.Sprintf("%s: %s", full, phaseNames[place.since]))
		}
	}
	for name := range functions {
		built = append(built, name+"()")
	}

	compare(t, "built", built, documented(text))
	var named []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(unbuilt, -1) {
		named = append(named, m[1])
	}
	compare(t, "not supported yet", refused, named)
}

// addBlock lists what may stand in b.
func addBlock(built, refused *[]string, b *block, in string) {
	prefix := ""
	if b.name != "" {
		prefix = b.name + "."
	}
	addArgs(built, refused, b.args, prefix, b.name+in)
	*refused = append(*refused, b.unbuilt...)
	if len(b.unbuilt) > 0 {
		*refused = append(*refused, b.name)
	}
	for i := range b.blocks {
		inner := &b.blocks[i]
		where := ""
		if b.name != "" {
			where = ", in " + b.name
		}
		if inner.later {
			*refused = append(*refused, prefix+inner.name)
			continue
		}
		*built = append(*built, "## "+inner.name+where)
		addBlock(built, refused, inner, where)
	}
}

func addArgs(built, refused *[]string, args []arg, prefix, section string) {
	for _, a := range args {
		_, object, _ := strings.Cut(prefix, ".")
		name := object + a.name
		switch {
		case a.later:
			*refused = append(*refused, prefix+a.name)
		case a.kind == objectKind:
			addArgs(built, refused, a.args, prefix+a.name+".", section)
		default:
			*built = append(*built, fmt.Sprintf("%s: %s %s = %s", section, kindNames[a.kind], name, defaultOf(a)))
		}
		*refused = append(*refused, a.unbuilt...)
		if len(a.unbuilt) > 0 {
			*refused = append(*refused, prefix+a.name)
		}
	}
}

func defaultOf(a arg) string {
	switch {
	case a.required:
		return "required"
	case a.kind == autoKind:
		return "`\"auto\"`"
	}
	switch v := a.def.(type) {
	case nil:
		return ""
	case time.Duration:
		return "`" + formatDuration(v) + "`"
	case int64:
		if a.kind == sizeKind {
			return "`" + formatSize(v) + "`"
		}
	}
	return fmt.Sprintf("`%v`", a.def)
}

// documented lists what the tables of the reference name.
func documented(text string) []string {
	var list []string
	section, table := "", ""
	name := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case strings.HasPrefix(line, "#"):
			section, table = strings.TrimLeft(line, "# "), ""
			if section == strings.ToLower(section) && section != "proxy.hcl" {
				list = append(list, "## "+section)
			}
		case strings.HasPrefix(line, "| "):
			first := cells[0]
			if !strings.HasPrefix(first, "`") {
				table = first
				continue
			}
			switch table {
			case "argument":
				list = append(list, fmt.Sprintf("%s: %s %s = %s", section, cells[1], strings.Trim(first, "`"), cells[2]))
			case "variable":
				list = append(list, strings.Trim(first, "`")+": "+cells[1])
			case "function":
				for _, m := range name.FindAllStringSubmatch(first, -1) {
					f, _, _ := strings.Cut(m[1], "(")
					list = append(list, f+"()")
				}
			}
		}
	}
	return list
}

func compare(t *testing.T, what string, schema, docs []string) {
	t.Helper()
	for _, list := range []*[]string{&schema, &docs} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if diff := cmp.Diff(schema, docs); diff != "" {
		t.Errorf("%s: schema -, docs/reference.md +:\n%s", what, diff)
	}
}

// TestReferenceExamples loads the examples of docs/reference.md, each in the
// blocks that it needs around it.
func TestReferenceExamples(t *testing.T) {
	data, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	const listener = "listener \"web\" {\n address = \":80\"\n%s\n}\n"
	const route = "route \"all\" {\n upstream = \"api\"\n%s\n}\n"
	const upstream = "upstream \"%s\" {\n servers = [\"10.0.0.1:80\"]\n%s\n}\n"
	certificate, err := filepath.Abs("testdata/good/site.")
	if err != nil {
		t.Fatal(err)
	}
	canary := fmt.Sprintf(upstream, "canary", "")
	api := fmt.Sprintf(upstream, "api", "")
	all := fmt.Sprintf(listener, fmt.Sprintf(route, ""))
	examples := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(string(data), -1)
	if len(examples) < 8 {
		t.Errorf("got %d examples; want at least 8", len(examples))
	}
	for _, m := range examples {
		text := m[1]
		switch word, _, _ := strings.Cut(text, " "); word {
		case "listener":
		case "route":
			text = fmt.Sprintf(listener, text) + api + canary
		case "request_headers":
			text = fmt.Sprintf(listener, fmt.Sprintf(route, text)) + api
		case "upstream":
			text += all
		case "tls":
			text = strings.NewReplacer("main.", certificate).Replace(fmt.Sprintf(listener, fmt.Sprintf(route, "")+text)) + api
		case "discover", "health":
			text = fmt.Sprintf(upstream, "api", text) + all
		default:
			text += all + api
		}
		if _, _, err := load(t, text); err != nil {
			t.Errorf("%s\n%v", m[1], err)
		}
	}
}
