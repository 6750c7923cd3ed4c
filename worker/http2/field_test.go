package http2

import (
	"strings"
	"testing"
)

// Each byte counts, wherever in a value it stands.
func TestValidValue(t *testing.T) {
	for c := range 256 {
		want := c >= ' ' && c != 0x7f || c == '\t'
		for n := range 20 {
			for i := range n {
				v := strings.Repeat("x", i) + string([]byte{byte(c)}) + strings.Repeat("\xff", n-i-1)
				edge := (c == ' ' || c == '\t') && (i == 0 || i == n-1)
				if got := validValue(v); got != (want && !edge) {
					t.Fatalf("%q: got %t; want %t", v, got, want && !edge)
				}
			}
		}
	}
}

func TestValidName(t *testing.T) {
	for c := range 256 {
		name := "a" + string([]byte{byte(c)})
		want := strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~", byte(c)) >= 0
		if got := validName(name); got != want {
			t.Errorf("name %q: got %t; want %t", name, got, want)
		}
		upper := c >= 'A' && c <= 'Z'
		if got := validMethod(name); got != (want || upper) {
			t.Errorf("method %q: got %t; want %t", name, got, want || upper)
		}
	}
}
