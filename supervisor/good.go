package supervisor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A configuration can be valid and yet make workers crash. If they do soon after
// it came into force, the last one under which they did not comes back, and the
// bad one is refused until the file says something else.
const (
	suspectFor  = time.Minute // after a new configuration, crashes are taken for its doing
	crashWindow = 30 * time.Second
	maxCrashes  = 3 // in crashWindow
)

// trial of configurations. Its fields belong to the supervisor's loop.
type confidence struct {
	since   time.Time   // the one in force is
	inForce *candidate  // its bytes
	quiet   bool        // it has been, long enough to be good
	good    *candidate  // the last good one before it; nil if none is known
	crashes []time.Time // since
	bad     [32]byte    // digest of the one that was taken back
	why     string      // it was; "": none was
	back    bool        // the next reload is to the good one
}

// trust begins anew with the configuration that comes into force.
func (s *supervisor) trust(c *candidate) {
	t := &s.confidence
	if t.inForce != nil && t.inForce.digest == c.digest {
		return
	}
	if t.quiet {
		t.good = t.inForce
	}
	t.since, t.inForce, t.quiet, t.crashes = time.Now(), c, false, nil
}

// advanceTrust finds the configuration in force good once nothing has crashed for
// a while, and keeps it on the disk for a supervisor that comes after us.
func (s *supervisor) advanceTrust(now time.Time) {
	t := &s.confidence
	last := t.since
	if n := len(t.crashes); n > 0 {
		last = t.crashes[n-1]
	}
	if t.quiet || !s.ready || s.reload != nil || now.Sub(last) < s.probation {
		return
	}
	t.quiet = true
	path, data, log := s.goodFile(), t.inForce.bytes, s.log
	go func() { // the disk may be slow
		if err := writeWhole(path, data, 0o600); err != nil {
			log.Warn("last good configuration not kept", "error", err)
		}
	}()
}

func (s *supervisor) goodFile() string { return filepath.Join(s.own.StateDir, "good") }

// recall reads what an earlier supervisor has kept.
func (s *supervisor) recall() {
	data, err := os.ReadFile(s.goodFile())
	if err != nil {
		return
	}
	if c := unpack(data, sha256.Sum256(data)); c != nil && c.digest != s.digest {
		s.confidence.good = c
	}
}

// crashed counts the end of a worker that was not told to end, and goes back to
// the last good configuration if it is one too many.
func (s *supervisor) crashed(w *worker) {
	t := &s.confidence
	now := time.Now()
	t.crashes = append(slices.DeleteFunc(t.crashes, func(c time.Time) bool { return now.Sub(c) > crashWindow }), now)
	if len(t.crashes) < maxCrashes || now.Sub(t.since) > suspectFor || t.good == nil || t.back || s.reload != nil && s.reload.back {
		return
	}
	t.bad, t.why, t.back = s.digest, w.lastExit, true
	s.log.Error("workers crash under the new configuration: back to the last good one", "config", s.number, "how", w.lastExit)
	s.requestReload(nil)
}

// nextCandidate says how to get the configuration of the next reload; the disk is
// read by the function that it returns.
func (s *supervisor) nextCandidate() (load func() (*candidate, error), back bool) {
	t := &s.confidence
	if !t.back {
		path := s.options.Config
		return func() (*candidate, error) { return read(path) }, false
	}
	t.back = false
	good := candidate{config: t.good.config, bytes: t.good.bytes, digest: t.good.digest, stamps: t.good.stamps}
	return func() (*candidate, error) { return &good, nil }, true
}

// distrusts says why c is not to be tried again; nil: it may.
func (s *supervisor) distrusts(c *candidate) error {
	t := &s.confidence
	if t.why == "" || c.digest != t.bad {
		return nil
	}
	return fmt.Errorf("workers crashed under this configuration (%s): refused until the file changes", t.why)
}

// writeWhole puts data into the file at path at once or not at all.
func writeWhole(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
