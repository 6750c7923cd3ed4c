package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/proxyd/proxyd/internal/config"
)

// The files that the configuration in force names, such as certificates, are
// looked at every two seconds. A change is a reload that nobody has to ask for.
// It begins when two looks in a row have seen the same: a certificate and its key
// are two files, and change one after the other. It reads those files and not the
// configuration's own, which somebody may be editing and has not asked to load.
//
// Whatever comes of it, that state of the files has been tried. There is no other
// attempt before they change again, or somebody asks for a reload.

const (
	lookEvery = 2 * time.Second
	// restLimit is how long changes may follow each other: a file that never rests
	// must not keep others from being loaded.
	restLimit = 30 * time.Second
)

// A watch is what is known about the files that the configuration in force names.
type watch struct {
	tried   map[string]config.Stamp // by path: in force, or found bad since
	last    map[string]config.Stamp // of the last look; nil: it has found nothing new
	since   time.Time               // when the first such look was that did
	due     time.Time               // the next look is; zero: one is under way, or there is nothing to look at
	changed string                  // files that have changed and are to be loaded; "": none
}

func newWatch(stamps map[string]config.Stamp) *watch {
	w := &watch{tried: stamps}
	if len(stamps) > 0 {
		w.due = time.Now().Add(lookEvery)
	}
	return w
}

// watches tells whether the next look is to take place when it is due.
func (s *supervisor) watches() bool { return s.ready && !s.stopping && !s.watch.due.IsZero() }

// advanceWatch looks at the files when that is due. Nobody waits for the look:
// the disk may hang.
func (s *supervisor) advanceWatch(now time.Time) {
	if !s.watches() || now.Before(s.watch.due) {
		return
	}
	w := s.watch
	w.due = time.Time{}
	paths := slices.Collect(maps.Keys(w.tried)) // w is not for other goroutines
	go func() {
		seen := make(map[string]config.Stamp, len(paths))
		for _, path := range paths {
			seen[path] = config.StampOf(path)
		}
		s.post(func() { w.looked(time.Now(), seen) }) // in vain if there is another watch by then
	}()
}

// looked is told what the files are now.
func (w *watch) looked(now time.Time, seen map[string]config.Stamp) {
	w.due = now.Add(lookEvery)
	last := w.last
	w.last, w.changed = nil, ""
	if maps.Equal(seen, w.tried) {
		return
	}
	if last == nil {
		w.since = now
	}
	w.last = seen
	if maps.Equal(seen, last) || now.Sub(w.since) >= restLimit {
		w.changed = w.difference()
	}
}

// difference names the files that are not as they were when they were tried.
func (w *watch) difference() string {
	var paths []string
	for path, stamp := range w.last {
		if stamp != w.tried[path] {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	if len(paths) == 1 {
		return paths[0]
	}
	return fmt.Sprintf("%s and %d more", paths[0], len(paths)-1)
}

// refresh says how to get the configuration in force with the files that have
// changed, and which they are. The disk is read by the function that it returns.
func (s *supervisor) refresh() (load func() (*candidate, error), changed string) {
	w, inForce := s.watch, s.confidence.inForce.bytes
	changed = w.changed
	w.tried, w.last, w.changed = w.last, nil, ""
	return func() (*candidate, error) {
		bundle, err := config.DecodeBundle(inForce)
		if err != nil {
			return nil, err
		}
		return newCandidate(bundle.Refresh())
	}, changed
}

// changes says which files have led to the reload, behind a conjunction; "" if it
// was asked for.
func (r *reload) changes(conjunction string) string {
	if r.changed == "" {
		return ""
	}
	return conjunction + r.changed + " changed"
}
