package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// matchers reads the texts of an argument that selects requests. Each may stand
// in it once, and an empty list, which no request could match, is a mistake.
func matchers[T any](d *decoder, s *section, name string, parse func(text string) (T, error)) []T {
	items := s.items(name)
	if len(items) == 0 {
		if s.has(name) {
			d.at(s.whereOf(name), "Empty list", "No request could match. Leave %q out to match every request.", name)
		}
		return nil
	}
	list, seen := make([]T, 0, len(items)), make(map[string]bool, len(items))
	for _, it := range items {
		v, err := parse(it.text)
		if err != nil {
			d.at(it.at, "Invalid value of "+name, "%v.", err)
			s.invalid = append(s.invalid, name)
			continue
		}
		key := fmt.Sprint(v)
		if seen[key] {
			d.at(it.at, "Duplicate value", "%q is in this list already.", it.text)
			continue
		}
		seen[key] = true
		list = append(list, v)
	}
	return list
}

func parseMethod(text string) (string, error) {
	switch {
	case len(text) > maxName || !isToken(text):
		return "", fmt.Errorf("%q is not a method", text)
	case text != strings.ToUpper(text):
		return "", fmt.Errorf("%q has lower case, and methods are told apart by case: write %q", text, strings.ToUpper(text))
	}
	return text, nil
}

// anyHost is what stands for every host.
const anyHost = "*"

// parseRouteHost returns the form of a host that requests are held against.
func parseRouteHost(text string) (string, error) {
	if text == anyHost {
		return text, nil
	}
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	rest, _ := strings.CutPrefix(text, "*.")
	name := strings.TrimSuffix(strings.ToLower(rest), ".")
	wild := text[:len(text)-len(rest)]
	switch {
	case strings.Contains(text, "/"):
		return "", fmt.Errorf("%q is not a host; paths have an argument of their own", text)
	case strings.Contains(text, ":"):
		return "", fmt.Errorf("%q has a port. Write the host alone; it matches with any port", text)
	case strings.Contains(rest, "*"):
		return "", fmt.Errorf(`%q has a "*" within. It may only stand for all labels before a name, as in "*.example.com"`, text)
	case strings.ContainsFunc(rest, func(r rune) bool { return r >= 0x80 }):
		return "", fmt.Errorf(`%q is not in ASCII. Write it as in DNS, with "xn--"`, text)
	case !isDNSName(name):
		return "", fmt.Errorf("%q is neither a host name nor an IP address", text)
	}
	return wild + name, nil
}

// isDNSName is isHostName for a name without a dot at its end whose labels have
// lengths that they may have in DNS, too.
func isDNSName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return isHostName(name) && len(name) <= 253
}

// pathPattern parses a pattern of paths.
func (d *decoder) pathPattern(text string) (PathPattern, error) {
	var none PathPattern
	if source, ok := strings.CutPrefix(text, "~"); ok {
		re, err := d.regexp(source)
		return PathPattern{PathRegex, source, re}, err
	}
	if len(text) > maxPattern {
		return none, fmt.Errorf("a pattern may have %d bytes", maxPattern)
	}
	if text == "*" {
		text = "/*"
	}
	switch {
	case text == "":
		return none, errors.New(`an empty path matches nothing. Write "/" for the root alone, "/*" for every path`)
	case text[0] == '*' && !strings.HasPrefix(text, "**"):
		return none, fmt.Errorf("%q matches nothing, for paths begin with a slash: write %q for any folder, %q for the root", text, "*"+text, "/"+text)
	case text[0] != '/' && text[0] != '*':
		return none, fmt.Errorf("%q must begin with a slash, as paths do: write %q", text, "/"+text)
	}
	if err := checkNormal(text); err != nil {
		return none, err
	}
	prefix, ok := strings.CutSuffix(text, "*")
	switch glob := strings.ContainsAny(prefix, "*?"); {
	case ok && !glob && strings.HasSuffix(prefix, "/"):
		return PathPattern{Kind: PathPrefix, Text: prefix}, nil
	case ok || glob:
		return PathPattern{Kind: PathGlob, Text: text}, nil
	}
	return PathPattern{Kind: PathExact, Text: text}, nil
}

// checkNormal says why no path in its normal form could match a pattern.
func checkNormal(text string) error {
	for segment := range strings.SplitSeq(strings.TrimPrefix(text, "/"), "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("%q has a segment %q, which no path has when it is matched", text, segment)
		}
	}
	if strings.Contains(text, "//") {
		return fmt.Errorf("%q has two slashes in a row, which are one when a path is matched", text)
	}
	for i := range len(text) - 2 {
		if text[i] != '%' || unhex(text[i+1]) < 0 || unhex(text[i+2]) < 0 {
			continue
		}
		c := byte(unhex(text[i+1])<<4 | unhex(text[i+2]))
		want := string([]byte{c})
		if c == '/' || c == '%' || c < ' ' || c == 0x7f { // as worker/route keeps them
			want = strings.ToUpper(text[i : i+3])
		}
		if text[i:i+3] != want {
			return fmt.Errorf("%q has %q, which no path has when it is matched: write %q", text, text[i:i+3], want)
		}
	}
	return nil
}

// unhex returns the value of a hexadecimal digit, -1 if c is none.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
