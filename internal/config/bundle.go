package config

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
	data   bundleData
	stamps map[string]Stamp // of files that this process has read, by path
	size   int              // bytes of text and files
	live   bool             // what is missing may be read; only while fill runs
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
	b := &Bundle{data: bundleData{
		Version:  bundleVersion,
		Path:     []byte(path),
		StateDir: []byte(DefaultStateDir()),
		Env:      map[string][]byte{},
	}}
	m := mistakes{file: path}
	abs, err := filepath.Abs(path)
	if err == nil {
		b.data.Folder = []byte(filepath.Dir(abs))
		b.data.Text, _, err = readFile(abs, maxText)
	}
	if err != nil {
		m.whole("Cannot read the configuration", "%v.", err)
		return nil, nil, m.err()
	}
	return b.fill()
}

// Refresh reads the files that b names as they are now, and makes of them a
// bundle with the text and the environment that b has: what the configuration's
// own file says by now does not count. If that is not valid, the error is Errors.
func (b *Bundle) Refresh() (*Bundle, *Config, error) {
	next := &Bundle{data: b.data}
	next.data.Env = map[string][]byte{}
	maps.Copy(next.data.Env, b.data.Env)
	return next.fill()
}

// fill reads everything that the text of b names.
func (b *Bundle) fill() (*Bundle, *Config, error) {
	b.data.Files, b.stamps = map[string][]byte{}, map[string]Stamp{}
	b.size, b.live = len(b.data.Text), true
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
	path := b.resolve(name)
	data, stamp, err := readFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	if b.size += len(data); b.size > maxBundle {
		return nil, fmt.Errorf("read %s: all files together are larger than %s", name, formatSize(maxBundle))
	}
	b.data.Files[name], b.stamps[path] = data, stamp
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

// readFile reads a regular file of at most limit bytes, and its stamp before
// that: a change while it is read shows in the next one. A pipe or device is
// refused: reading it might never end.
func readFile(path string, limit int) ([]byte, Stamp, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, Stamp{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Stamp{}, err
	}
	if !info.Mode().IsRegular() {
		return nil, Stamp{}, fmt.Errorf("read %s: %w", path, errNotRegular)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, Stamp{}, err
	}
	if len(data) > limit {
		return nil, Stamp{}, fmt.Errorf("read %s: larger than %s", path, formatSize(int64(limit)))
	}
	return data, stamp(info), nil
}
