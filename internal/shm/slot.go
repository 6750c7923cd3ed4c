package shm

import "sync/atomic"

// MaxSlots bounds the workers that can exist at once, those that drain included.
const MaxSlots = 64

// A Slot is what one worker tells of itself. Counters has one writer, the worker
// that holds the slot; the next worker in it goes on adding, so totals never
// fall. The sum over all slots is the figure for the proxy.
type Slot struct {
	Pid  atomic.Int64 // of the worker that holds the slot or held it last; 0: none ever did
	Beat atomic.Int64 // Now() of its last beat
	_    [6]uint64    // spare, zero

	Counters [NumCounters]atomic.Uint64
	_        [2048 - 64 - 8*int(NumCounters)]byte // room to append
}

// Slot is worker slot i, 0 <= i < MaxSlots.
func (s *Segment) Slot(i int) *Slot { return &s.layout.slots[i] }

// Occupy makes the slot that of process pid: it beats now, and what is a gauge
// starts from zero, because what its last holder had open died with it.
func (s *Slot) Occupy(pid int) {
	for c := range NumCounters {
		if c.Gauge() {
			s.Counters[c].Store(0)
		}
	}
	s.Beat.Store(Now())
	s.Pid.Store(int64(pid))
}

// A Counter says which of a slot's counters. Its number is part of the layout:
// new ones go to the end.
type Counter int

// The counters of a worker.
const (
	Accepted          Counter = iota // connections accepted from clients
	ActiveConnections                // gauge: connections from clients that are open
	Requests                         // requests whose head was complete
	Responses1xx                     // responses sent to clients, by the class of their status:
	Responses2xx                     // Responses1xx + Counter(status/100-1)
	Responses3xx
	Responses4xx
	Responses5xx
	Limited          // requests refused by a rate limit
	UpstreamErrors   // exchanges that failed at the server: connect, reset, time-out, nonsense
	UpstreamConnects // connections opened to servers
	UpstreamReuses   // requests sent on a connection that had served before
	AcceptPauses     // times that accepting stopped for want of descriptors or of room
	Stalls           // turns of the loop that took longer than 50 ms
	Panics           // exchanges ended by a panic
	LogDropped       // log lines dropped because the writer was behind
	SketchTakes      // takes of a rate limit answered by the sketch, not the exact table
	Retries          // requests sent to another server after one failed

	ConcurrencyLimited // requests refused by a concurrency limit
	DryRunLimited      // requests that a limit with dry_run would have refused
	Pending            // requests that waited because all servers had as many as they may
	PendingRefused     // requests refused because of that
	Ejections          // servers ejected because of their answers
	DiscoverErrors     // queries and reads for servers that failed
	Handshakes         // TLS handshakes done with clients
	HandshakeErrors    // that came to nothing

	NumCounters // not a counter: how many there are
)

var counterNames = [NumCounters]string{
	Accepted:          "proxyd_connections_accepted_total",
	ActiveConnections: "proxyd_connections_active",
	Requests:          "proxyd_requests_total",
	Responses1xx:      "proxyd_responses_1xx_total",
	Responses2xx:      "proxyd_responses_2xx_total",
	Responses3xx:      "proxyd_responses_3xx_total",
	Responses4xx:      "proxyd_responses_4xx_total",
	Responses5xx:      "proxyd_responses_5xx_total",
	Limited:           "proxyd_requests_limited_total",
	UpstreamErrors:    "proxyd_upstream_errors_total",
	UpstreamConnects:  "proxyd_upstream_connects_total",
	UpstreamReuses:    "proxyd_upstream_reuses_total",
	AcceptPauses:      "proxyd_accept_pauses_total",
	Stalls:            "proxyd_loop_stalls_total",
	Panics:            "proxyd_panics_total",
	LogDropped:        "proxyd_log_lines_dropped_total",
	SketchTakes:       "proxyd_limiter_sketch_takes_total",
	Retries:           "proxyd_upstream_retries_total",

	ConcurrencyLimited: "proxyd_requests_concurrency_limited_total",
	DryRunLimited:      "proxyd_requests_dry_run_limited_total",
	Pending:            "proxyd_upstream_pending_total",
	PendingRefused:     "proxyd_upstream_pending_refused_total",
	Ejections:          "proxyd_upstream_ejections_total",
	DiscoverErrors:     "proxyd_discover_errors_total",
	Handshakes:         "proxyd_tls_handshakes_total",
	HandshakeErrors:    "proxyd_tls_handshake_errors_total",
}

// String is the counter's name in metrics, as Prometheus likes them.
func (c Counter) String() string {
	if c < 0 || c >= NumCounters {
		return "proxyd_unknown"
	}
	return counterNames[c]
}

// Gauge reports whether the counter can fall.
func (c Counter) Gauge() bool { return c == ActiveConnections }
