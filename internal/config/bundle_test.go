package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const namesFiles = `
listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
  host    = file("host")
  tls { ca = "ca.pem" }
}
`

// folderOf makes a folder with proxy.hcl and the files that it names.
func folderOf(t *testing.T) (folder string, write func(name, text string)) {
	t.Helper()
	folder = t.TempDir()
	write = func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca, err := os.ReadFile("testdata/good/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	write("proxy.hcl", namesFiles)
	write("host", "one.example\n")
	write("ca.pem", string(ca))
	return folder, write
}

func TestRefreshKeepsTheText(t *testing.T) {
	folder, write := folderOf(t)
	loaded, _, err := Load(filepath.Join(folder, "proxy.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := DecodeBundle(loaded.Encode())
	if err != nil {
		t.Fatal(err)
	}
	write("proxy.hcl", "half a f")
	t.Chdir(t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", "/changed")
	same, _, err := b.Refresh()
	if err != nil {
		t.Fatal(err)
	}
	if same.Digest() != b.Digest() {
		t.Error("the digest changed though no file did")
	}
	write("host", "two.example\n")
	next, c, err := b.Refresh()
	if err != nil {
		t.Fatal(err)
	}
	if next.Digest() == b.Digest() || c.Upstreams[0].Host != "two.example" || c.Path != filepath.Join(folder, "proxy.hcl") {
		t.Errorf("got host %s of %s; want the new one of the same configuration", c.Upstreams[0].Host, c.Path)
	}
	again, err := next.Parse()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, again, comparable); diff != "" {
		t.Errorf("refresh -, parse +:\n%s", diff)
	}
	if old, err := b.Parse(); err != nil || old.Upstreams[0].Host != "one.example" {
		t.Errorf("the bundle that was refreshed: got %v; want it as it was", err)
	}
}

func TestRefreshRefusesABadFile(t *testing.T) {
	folder, write := folderOf(t)
	b, _, err := Load(filepath.Join(folder, "proxy.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	write("ca.pem", "-----BEGIN CERTIFICATE-----\n")
	if err := os.Remove(filepath.Join(folder, "host")); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.Refresh()
	for _, want := range []string{"proxy.hcl:8:", "Cannot read file", "proxy.hcl:9:", "there is no certificate in PEM in it"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %q", err, want)
		}
	}
}

func TestStamps(t *testing.T) {
	folder, write := folderOf(t)
	host, ca := filepath.Join(folder, "host"), filepath.Join(folder, "ca.pem")
	b, _, err := Load(filepath.Join(folder, "proxy.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	stamps := b.Stamps()
	if len(stamps) != 2 || stamps[host] != StampOf(host) || stamps[ca] != StampOf(ca) || stamps[host] == stamps[ca] {
		t.Errorf("got %v; want what %s and %s are", stamps, host, ca)
	}
	decoded, err := DecodeBundle(b.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]Stamp{host: {}, ca: {}}, decoded.Stamps(), cmp.AllowUnexported(Stamp{})); diff != "" {
		t.Errorf("of another process: want -, got +:\n%s", diff)
	}
	before := time.Unix(1e9, 0)
	changes := []struct {
		name string
		do   func() error
	}{
		{"time", func() error { return os.Chtimes(host, before, before) }},
		{"same time and size, other bytes", func() error { write("host", "six.example\n"); return os.Chtimes(host, before, before) }},
		{"mode", func() error { return os.Chmod(host, 0o640) }},
		{"gone", func() error { return os.Rename(host, host+".old") }},
		{"link", func() error { return os.Symlink("ca.pem", host) }},
	}
	seen := map[Stamp]string{stamps[host]: "the first"}
	for _, change := range changes {
		// The clock of a file system may stand still for some milliseconds.
		for deadline := time.Now().Add(time.Second); ; {
			if err := change.do(); err != nil {
				t.Fatal(err)
			}
			same, ok := seen[StampOf(host)]
			if !ok {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: got the stamp of %s; want another", change.name, same)
			}
		}
		seen[StampOf(host)] = change.name
	}
	if StampOf(host) != StampOf(ca) {
		t.Error("a link: got another stamp than that of its file")
	}
}
