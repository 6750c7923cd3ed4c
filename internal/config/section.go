package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// A section is a block that has been held against the schema: its values are
// checked one by one, but not yet against each other.
type section struct {
	spec    *block
	label   string
	at      hcl.Range // of the label, else of the type
	values  map[string]setting
	invalid []string              // arguments whose values have been reported
	blocks  map[string][]*section // by type
}

// A setting is the value of an argument, and where it stands.
type setting struct {
	value any
	at    hcl.Range
}

// one returns the first block of the given type in s, nil if there is none.
func (s *section) one(name string) *section {
	if list := s.blocks[name]; len(list) > 0 {
		return list[0]
	}
	return nil
}

func (s *section) has(name string) bool { _, ok := s.values[name]; return ok }

// failed reports whether an argument is set, but not to a valid value.
func (s *section) failed(name string) bool { return slices.Contains(s.invalid, name) }

// whereOf returns the place of an argument's value, or of the section.
func (s *section) whereOf(name string) hcl.Range {
	if v, ok := s.values[name]; ok {
		return v.at
	}
	return s.at
}

// get returns the value of an argument or its default, the zero value if it has
// neither. The name of an object's argument is "object.name".
func get[T any](s *section, name string) T {
	var value any
	if v, ok := s.values[name]; ok {
		value = v.value
	} else {
		args := s.spec.args
		for part := range strings.SplitSeq(name, ".") {
			i := slices.IndexFunc(args, func(a arg) bool { return a.name == part })
			if i < 0 {
				panic(fmt.Sprintf("bug: schema has no %s in %s", name, s.spec.name))
			}
			value, args = args[i].def, args[i].args
		}
	}
	v, _ := value.(T)
	return v
}

func (s *section) text(name string) string            { return get[string](s, name) }
func (s *section) flag(name string) bool              { return get[bool](s, name) }
func (s *section) number(name string) int64           { return get[int64](s, name) }
func (s *section) items(name string) []item           { return get[[]item](s, name) }
func (s *section) duration(name string) time.Duration { return get[time.Duration](s, name) }
