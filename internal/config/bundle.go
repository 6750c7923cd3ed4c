package config

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Bounds of what is read. The first is of the configuration itself, the second
// of each file it names, the third of all of them.
const (
	maxText   = 8 << 20
	maxFile   = 1 << 20
	maxBundle = 64 << 20
)

// A Bundle holds exactly the bytes and environment values that a Config is made
// from. It parses to the same Config in every process. It is immutable.
type Bundle struct {
	data bundleData
	size int  // bytes of text and files
	live bool // what is missing may be read; only while Load runs
}

// bundleData is what Encode writes. Fields are bytes where JSON text could not
// hold them; the keys of the maps are as written in the file, so UTF-8.
type bundleData struct {
	Version  int               `json:"version"`
	Path     []byte            `json:"path"`      // as given
	Folder   []byte            `json:"folder"`    // absolute, of the file
	StateDir []byte            `json:"state_dir"` // the default
	Text     []byte            `json:"text"`
	Files    map[string][]byte `json:"files"`
	Env      map[string][]byte `json:"env"` // nil: not set
}

const bundleVersion = 1

// Load reads the file at path and everything it names. If the configuration is
// not valid, the error is Errors and has all its mistakes.
func Load(path string) (*Bundle, *Config, error) {
	b := &Bundle{live: true, data: bundleData{
		Version:  bundleVersion,
		Path:     []byte(path),
		StateDir: []byte(DefaultStateDir()),
		Files:    map[string][]byte{},
		Env:      map[string][]byte{},
	}}
	m := mistakes{file: path}
	abs, err := filepath.Abs(path)
	if err == nil {
		b.data.Folder = []byte(filepath.Dir(abs))
		b.data.Text, err = readFile(abs, maxText)
	}
	if err != nil {
		m.whole("Cannot read the configuration", "%v.", err)
		return nil, nil, m.err()
	}
	b.size = len(b.data.Text)
	c, err := b.Parse()
	b.live = false
	if err != nil {
		return nil, nil, err
	}
	return b, c, nil
}

// Parse makes the Config of the bundle. It reads nothing but the bundle.
func (b *Bundle) Parse() (*Config, error) { return parse(b) }

// Encode returns the bundle as bytes for DecodeBundle. Equal bundles have equal
// bytes.
func (b *Bundle) Encode() []byte {
	data, err := json.Marshal(b.data)
	if err != nil {
		panic("bug: bundle cannot be encoded: " + err.Error())
	}
	return data
}

// Digest identifies the bundle: it is the SHA-256 of Encode.
func (b *Bundle) Digest() [32]byte { return sha256.Sum256(b.Encode()) }

// DecodeBundle is the inverse of Encode.
func DecodeBundle(data []byte) (*Bundle, error) {
	if len(data) > 2*maxBundle { // base64 and names
		return nil, fmt.Errorf("decode bundle: %d bytes are more than %d", len(data), 2*maxBundle)
	}
	b := &Bundle{}
	if err := json.Unmarshal(data, &b.data); err != nil {
		return nil, fmt.Errorf("decode bundle: %w", err)
	}
	if b.data.Version != bundleVersion {
		return nil, fmt.Errorf("decode bundle: version %d, need %d", b.data.Version, bundleVersion)
	}
	if len(b.data.Text) > maxText {
		return nil, fmt.Errorf("decode bundle: text of %d bytes is larger than %s", len(b.data.Text), formatSize(maxText))
	}
	return b, nil
}

// file returns the content of the file that the configuration calls name.
func (b *Bundle) file(name string) ([]byte, error) {
	if data, ok := b.data.Files[name]; ok {
		return data, nil
	}
	if !b.live {
		return nil, fmt.Errorf("read %s: not in the bundle", name)
	}
	data, err := readFile(b.resolve(name), maxFile)
	if err != nil {
		return nil, err
	}
	if b.size += len(data); b.size > maxBundle {
		return nil, fmt.Errorf("read %s: all files together are larger than %s", name, formatSize(maxBundle))
	}
	b.data.Files[name] = data
	return data, nil
}

// env returns the value of an environment variable, nil if it is not set.
func (b *Bundle) env(name string) []byte {
	value, ok := b.data.Env[name]
	if !ok && b.live {
		if s, set := os.LookupEnv(name); set {
			value = []byte(s)
		}
		b.data.Env[name] = value
	}
	return value
}

// resolve returns the absolute path of a file name in the configuration.
func (b *Bundle) resolve(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(string(b.data.Folder), name)
}

var errNotRegular = errors.New("not a regular file")

// readFile reads a regular file of at most limit bytes. A pipe or device is
// refused: reading it might never end.
func readFile(path string, limit int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w", path, errNotRegular)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, fmt.Errorf("read %s: larger than %s", path, formatSize(int64(limit)))
	}
	return data, nil
}
