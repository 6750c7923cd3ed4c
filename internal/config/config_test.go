package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected diagnostics anew")

// TestBad holds each malformed file against the diagnostics beside it.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil || len(files) < 30 {
		t.Fatalf("got %d files, %v; want at least 30", len(files), err)
	}
	t.Chdir("testdata/bad")
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			b, c, err := Load(name + ".hcl")
			if err == nil || b != nil || c != nil {
				t.Fatalf("got %v, %v, %v; want only an error", b, c, err)
			}
			got := strings.ReplaceAll(err.Error(), folder, "FOLDER") + "\n"
			if *update {
				if err := os.WriteFile(name+".txt", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
