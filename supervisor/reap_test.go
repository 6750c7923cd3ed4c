package supervisor

import "testing"

func TestIsZombieOf(t *testing.T) {
	tests := []struct {
		stat string
		want bool
	}{
		{"12 (sh) Z 7 1 1 0 -1", true},
		{"12 (sh) S 7 1 1 0 -1", false},
		{"12 (sh) Z 71 1 1 0 -1", false},
		{"12 (a) b) Z 7 1 1", true},
		{"", false},
	}
	for _, tt := range tests {
		if got := isZombieOf([]byte(tt.stat), 7); got != tt.want {
			t.Errorf("%q: got %v; want %v", tt.stat, got, tt.want)
		}
	}
}
