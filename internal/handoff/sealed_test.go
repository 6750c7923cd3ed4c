package handoff

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSealedBytesCannotChange(t *testing.T) {
	f, err := Seal("test", []byte("bundle"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("write: got no error; want one")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("truncate: got no error; want one")
	}
	for range 2 { // all workers share the offset
		if b, err := Unseal(f); err != nil || string(b) != "bundle" {
			t.Errorf("Unseal: got %q, %v; want bundle", b, err)
		}
	}
}

func TestUnsealWantsSeals(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Unseal(f); err == nil {
		t.Error("Unseal of an ordinary file: got no error; want one")
	}
}
