package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
)

// turn is how often a Discoverer looks at the segment. Looking costs a few loads
// per source, and is how a worker hears of what another has learned without a
// descriptor between them.
const turn = 100 * time.Millisecond

// A Source is a place that tells of servers: a File or a DNS. What String
// returns names it to operators, and in the segment: an answer outlives changes
// of whatever is not in it.
type Source interface {
	fmt.Stringer

	open() (asker, error)

	// origin is who answers. If it changes, the source is asked anew at once.
	origin() string
}

// Settings say where the servers of one upstream are found.
type Settings struct {
	Upstream string
	Sources  []Source
	Static   []lb.Spec // these are servers as well, whatever the sources say
	Slot     int       // of this worker
	Log      *slog.Logger
	Errors   *atomic.Uint64 // counts queries and reads that failed; nil: not counted

	// Changed is called from Run with all servers, whenever they are others than
	// before. It owns neither the slice nor Run's goroutine.
	Changed func(servers []lb.Spec)
}

// A Discoverer finds the servers of one upstream in one worker.
type Discoverer struct {
	settings Settings
	feeds    []*feed
	servers  atomic.Pointer[[]lb.Spec]
	queries  sync.WaitGroup
	ended    chan struct{} // a query has: its answer is in the segment
}

// New returns a Discoverer that knows what the segment knows. Its sources are
// asked once Run runs. It does not own seg, which must outlive it.
func New(seg *shm.Segment, s Settings) (*Discoverer, error) {
	d := &Discoverer{settings: s, ended: make(chan struct{}, 1)}
	names := make(map[string]bool)
	for _, source := range s.Sources {
		f, err := newFeed(seg, s, source)
		if err == nil && names[source.String()] {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("upstream %s: discover %v: %w", s.Upstream, source, err)
		}
		names[source.String()] = true
		d.feeds = append(d.feeds, f)
	}
	d.gather()
	return d, nil
}

// Servers returns all servers: those of Settings.Static, then those of each
// source, each address once. It may be called from any goroutine. The caller must
// not change the slice.
func (d *Discoverer) Servers() []lb.Spec { return *d.servers.Load() }

// Run keeps Servers up to date until ctx is done. It returns when all its
// goroutines are gone: queries under way are cut off.
func (d *Discoverer) Run(ctx context.Context) {
	defer d.queries.Wait()
	ticker := time.NewTicker(turn)
	defer ticker.Stop()
	for {
		d.turn(ctx, shm.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-d.ended:
		}
	}
}

func (d *Discoverer) turn(ctx context.Context, now int64) {
	changed := false
	for _, f := range d.feeds {
		// The look comes last: what the last holder of the lease has learned, or
		// the query that has just ended, is not to be asked again.
		idle := !f.busy.Load()
		holds := lb.Hold(f.roster.lease(), d.settings.Slot, term)
		if f.look() {
			changed = true
		}
		if !idle || !holds || !f.due(now) {
			continue
		}
		f.busy.Store(true)
		head, rec := f.head, f.rec
		d.queries.Go(func() {
			f.query(ctx, head, rec)
			f.busy.Store(false)
			select {
			case d.ended <- struct{}{}:
			default:
			}
		})
	}
	if changed && d.gather() {
		d.settings.Changed(d.Servers())
	}
}

// gather makes Servers of what the feeds have, and reports whether it changed.
func (d *Discoverer) gather() bool {
	servers := slices.Clone(d.settings.Static)
	known := make(map[string]bool, len(servers))
	for _, s := range servers {
		known[s.Address] = true
	}
	for _, f := range d.feeds {
		for _, s := range f.rec.servers {
			if spec := s.spec(); !known[spec.Address] {
				known[spec.Address] = true
				servers = append(servers, spec)
			}
		}
	}
	old := d.servers.Swap(&servers)
	return old == nil || !slices.Equal(*old, servers)
}

// Status is how one source does.
type Status struct {
	Name     string // "dns app.example:8080", "dns _http._tcp.app.example", "file /etc/app.servers"
	Servers  []lb.Spec
	Answered time.Time // when it last told of Servers; zero: never
	Error    string    // what is wrong since; empty: nothing
	Next     time.Time // when it is asked next; zero: at once
}

// Status returns how each source does, in the order of Settings.Sources. It is
// read from the segment, and so the same in all workers. It may be called from
// any goroutine.
func (d *Discoverer) Status() []Status {
	list := make([]Status, 0, len(d.feeds))
	for _, f := range d.feeds {
		_, rec := f.roster.load()
		s := Status{Name: f.source.String(), Answered: wall(rec.answered), Error: rec.fault, Next: wall(rec.next)}
		for _, server := range rec.servers {
			s.Servers = append(s.Servers, server.spec())
		}
		list = append(list, s)
	}
	return list
}

// wall is a time of shm.Now as people know it.
func wall(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(t - shm.Now()))
}
