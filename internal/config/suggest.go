package config

import (
	"fmt"
	"slices"

	"github.com/agext/levenshtein"
)

// nearest returns the candidate that given is most likely a misspelling of, ""
// if none is near.
func nearest(given string, candidates []string) string {
	const near = 3 // edits, as in hcl's own suggestions
	best, distance := "", near
	for _, c := range candidates {
		if len(given) > len(c)+near || len(c) > len(given)+near {
			continue // cannot be near; keeps a very long name from costing time
		}
		if n := levenshtein.Distance(given, c, nil); n < distance && n < len(c) {
			best, distance = c, n
		}
	}
	return best
}

// didYouMean returns a sentence that names the nearest candidate, with a blank
// before it, or "".
func didYouMean(given string, candidates []string) string {
	if name := nearest(given, candidates); name != "" {
		return fmt.Sprintf(" Did you mean %q?", name)
	}
	return ""
}

// nearestKey is didYouMean for the keys of m. There are no suggestions for a
// file with so many names that looking for them takes long.
func nearestKey[V any](given string, m map[string]V) string {
	if len(m) > 1000 {
		return ""
	}
	return didYouMean(given, keys(m))
}

// keys returns the keys of m in order.
func keys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
