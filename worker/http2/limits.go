package http2

// Limits bound what the peer of a connection may do and have. A zero field is
// the default that stands beside it.
type Limits struct {
	Streams     int // streams open at once; 100
	HeaderBytes int // of a header list, counted as RFC 9113 section 6.5.2 does; 64 KiB
	Fields      int // of a header list, cookies aside; 256

	// What the peer may send before it was read, in bytes: on a stream, 128 KiB, and
	// on all of a connection, 512 KiB. The latter cannot be below 65,535.
	StreamWindow, ConnWindow int

	// What the peer may do between two calls of Calm, beyond what its requests
	// explain. Past it the connection ends with ENHANCE_YOUR_CALM.
	Resets int // streams reset before they were answered, more than streams answered; 200
	Noise  int // frames that move nothing: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, unknown; 1000

	Continuations int // CONTINUATION frames of a header block; 32
}

const (
	maxFrame   = 16 << 10  // the default of SETTINGS_MAX_FRAME_SIZE, both ways
	maxWindow  = 1<<31 - 1 // bytes
	baseWindow = 1<<16 - 1 // of a connection, and of a stream before SETTINGS

	// outputFull is from when on streams write nothing, outputRoom when they may
	// again. What the connection itself has to say may go up to outputMost.
	outputFull = 64 << 10
	outputRoom = 48 << 10
	outputMost = 128 << 10

	tableBytes = 4096 // of HPACK's dynamic tables, both ways
)

// filled returns l with its defaults; l may be nil.
func (l *Limits) filled() Limits {
	f := Limits{}
	if l != nil {
		f = *l
	}
	for _, d := range [...]struct {
		field *int
		value int
	}{
		{&f.Streams, 100},
		{&f.HeaderBytes, 64 << 10},
		{&f.Fields, 256},
		{&f.StreamWindow, 128 << 10},
		{&f.ConnWindow, 512 << 10},
		{&f.Resets, 200},
		{&f.Noise, 1000},
		{&f.Continuations, 32},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	f.StreamWindow = min(f.StreamWindow, maxWindow)
	f.ConnWindow = min(max(f.ConnWindow, baseWindow), maxWindow)
	return f
}
