package worker

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/accesslog"
	"github.com/proxyd/proxyd/worker/loop"
	"github.com/proxyd/proxyd/worker/tlsconn"
)

// Descriptors that the supervisor hands over at the start.
const (
	controlFD = 3
	segmentFD = 4
)

// imfFixdate is the form of a Date field (RFC 9110 section 5.6.7).
const imfFixdate = "Mon, 02 Jan 2006 15:04:05 GMT"

// reserved is how many descriptors are kept for other things than connections.
const reserved = 64

// A worker is the state of the process. Its fields belong to the loop, except
// where they are fixed before it runs.
type worker struct {
	slot   int
	loop   *loop.Loop
	log    *slog.Logger
	shared *shm.Slot // counters, for all to see

	sockets    map[string]int // listening sockets handed over, by name
	listeners  map[string]*listener
	logFiles   map[string]*accesslog.File // handed over, by name
	logs       []*accessLog               // in force
	clients    int                        // open connections from clients
	maxClients int
	full       bool // paused because of maxClients
	permits    int  // how many more may be wide: see widen

	tickets  *tlsconn.Tickets
	sessions *tlsconn.Sessions
	gate     *tlsconn.Gate

	http2Clients map[*http2Client]struct{}

	exchanges freelist[*exchange]
	requests  freelist[*request]
	strands   freelist[*serverConn] // streams of links
	roomy     []*mux                // that may have something to give back: see trimConns
	buffers   freelist[[]byte]
	hands     freelist[[]byte] // for bodies that may be sent again

	epoch int64 // when the loop's time began, in ns since 1970; see keepTime

	dateLine []byte
	dateAt   int64 // loop time until which dateLine is right

	published loop.Stats // what publish has added to the counters so far

	reading  map[*exchange]struct{} // that wait for the rest of a head
	leavers  []*uprooted            // half heads on their way to another worker
	moving   bool                   // draining, and connections go to other workers
	draining bool
	finished func() // called once when draining and nothing is left
}

// Main runs a worker in the slot and generation that the supervisor gave it, and
// returns the exit code of the process.
func Main(slot int, generation uint32) int {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE) // of the terminal's whole group: the supervisor says what to do
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0)))              // the loop, and one for all that must not wait for it
	if err := run(slot, generation); err != nil {
		fmt.Fprintf(os.Stderr, "level=ERROR msg=\"worker ends\" worker=%d error=%q\n", slot, err)
		return 1
	}
	return 0
}

func run(slot int, generation uint32) error {
	if slot < 0 || slot >= shm.MaxSlots {
		return fmt.Errorf("slot %d: there are %d", slot, shm.MaxSlots)
	}
	if err := audit(); err != nil {
		return err
	}
	syscall.CloseOnExec(controlFD)
	syscall.CloseOnExec(segmentFD)
	channel, err := handoff.NewConn(os.NewFile(controlFD, "control"))
	if err != nil {
		return err
	}
	seg, err := shm.Open(os.NewFile(segmentFD, "shm"))
	if err != nil {
		return err
	}
	shared := seg.Slot(slot)
	shared.Occupy(os.Getpid())
	log, events := newLog(os.Stderr, shared)
	defer events.flush()

	l, err := loop.New()
	if err != nil {
		return err
	}
	w := &worker{
		slot: slot, loop: l, log: log.With("worker", slot), shared: shared,
		sockets: make(map[string]int), listeners: make(map[string]*listener), logFiles: make(map[string]*accesslog.File),
		reading:      make(map[*exchange]struct{}),
		http2Clients: make(map[*http2Client]struct{}),
		maxClients:   connectionLimit(), permits: permits(),
	}
	if err := w.openTLS(seg); err != nil {
		return err
	}
	c := &control{w: w, generation: generation, seg: seg}
	c.channel.Store(channel)
	if _, c.owner, err = channel.Peer(); err != nil {
		return err
	}
	stopWatch := watchStalls(l, w.log)
	defer stopWatch()
	go c.run()
	defer w.closeLogs()
	return l.Run()
}

// connectionLimit leaves each client connection a descriptor for its server.
func connectionLimit() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 1024
	}
	return clientsFor(r.Cur)
}

// clientsFor is at least one: with none, accepting would pause for ever.
func clientsFor(descriptors uint64) int {
	return max(1, (int(min(descriptors, 1<<22))-reserved)/2)
}

func (w *worker) count(c shm.Counter) { w.shared.Counters[c].Add(1) }

// publish adds what the loop has counted since the last time.
func (w *worker) publish() {
	s := w.loop.Stats()
	w.shared.Counters[shm.Stalls].Add(s.Stalls - w.published.Stalls)
	w.shared.Counters[shm.Panics].Add(s.Panics - w.published.Panics)
	w.shared.Counters[shm.AcceptPauses].Add(s.Pauses - w.published.Pauses)
	w.published = s
}

// tidy is called once a second.
func (w *worker) tidy() {
	w.shared.Beat.Store(shm.Now())
	w.publish()
	w.exchanges.trim()
	w.buffers.trim()
	w.tickets.Rotate()
	w.hands.trim()
	w.requests.trim()
	w.strands.trim()
	w.trimConns()
	w.tendLogs()
}

// responded counts a response by the class of its status.
func (w *worker) responded(status int) {
	w.count(shm.Responses1xx + shm.Counter(min(status/100, 5)-1))
}

func (w *worker) takeBuffer() []byte {
	if b, ok := w.buffers.get(); ok {
		return b
	}
	return make([]byte, bodyBytes)
}

// takeHand returns room for a body that may be sent again.
func (w *worker) takeHand() []byte {
	if b, ok := w.hands.get(); ok {
		return b
	}
	return make([]byte, maxInHand)
}

// date returns the Date line of a response, made once a second.
func (w *worker) date() []byte {
	if now := w.loop.Now(); now >= w.dateAt {
		t := time.Now()
		w.dateAt = now + int64(time.Second) - int64(t.Nanosecond())
		w.dateLine = append(w.dateLine[:0], "Date: "...)
		w.dateLine = t.UTC().AppendFormat(w.dateLine, imfFixdate)
		w.dateLine = append(w.dateLine, "\r\n"...)
	}
	return w.dateLine
}
