package http2

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestH2spec runs the conformance suite of github.com/summerwind/h2spec, if the
// variable H2SPEC names its program.
func TestH2spec(t *testing.T) {
	program := os.Getenv("H2SPEC")
	if program == "" {
		t.Skip("H2SPEC does not name the program")
	}
	l := listen(t)
	newTestServer(t, nil, l, hello)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, args := range [][]string{nil, {"-S"}} {
		cmd := exec.CommandContext(t.Context(), program, append(args, "-h", "127.0.0.1", "-p", port, "-o", "2")...)
		out, err := cmd.CombinedOutput()
		text := string(out)
		if i := strings.Index(text, "Failures:"); i >= 0 {
			text = text[i:]
		} else if lines := strings.Split(strings.TrimSpace(text), "\n"); err == nil {
			text = lines[len(lines)-1]
		}
		t.Logf("h2spec %q: %s", args, text)
		if err != nil {
			t.Errorf("h2spec %q: got %v; want every case to pass", args, err)
		}
	}
}
