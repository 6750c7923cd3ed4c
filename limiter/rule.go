package limiter

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Bounds of a Rule.
const (
	MaxMax       = math.MaxUint32 // a count has 32 bits
	MaxWindowMax = 1<<24 - 1      // of Window: there, a count has 24 bits
	MinWindow    = 100 * time.Millisecond
	MaxWindow    = 24 * time.Hour
	MaxKeys      = 1 << 24 // 256 MiB of table, 1 GiB for Window and GCRA
	DefaultKeys  = 1_000_000
)

// An Algorithm is a way to say how many requests of a key are too many.
type Algorithm uint8

const (
	// Estimator bounds the requests in each window, and windows stand still: the
	// first is as long as any other, and who comes at the end of one and the start of
	// the next has the limit of both.
	Estimator Algorithm = iota

	// Window bounds the requests in the running window and that part of the last one
	// which is not yet a window ago, taking it that they came evenly.
	Window

	// GCRA bounds the pace: a request each Window/Max, of which Burst may come at
	// once after as much rest (generic cell rate algorithm, ITU-T I.371).
	GCRA
)

var algorithms = [...]string{Estimator: "estimator", Window: "window", GCRA: "gcra"}

// ParseAlgorithm is the Algorithm of that name.
func ParseAlgorithm(name string) (a Algorithm, ok bool) {
	for a, n := range algorithms {
		if n == name {
			return Algorithm(a), true
		}
	}
	return 0, false
}

// String is the name that ParseAlgorithm knows.
func (a Algorithm) String() string { return algorithms[a] }

// A Rate is Max requests per Window.
type Rate struct {
	Max    int64         // 1 to MaxMax, or MaxWindowMax; for GCRA at most one per ns
	Window time.Duration // MinWindow to MaxWindow
}

// A Rule is what to limit to. Limiters of one name, algorithm, window and number of
// keys count together, in whichever process and configuration they are.
type Rule struct {
	Name      string        // of the rate limit
	Max       int64         // as in Rate
	Window    time.Duration // as in Rate
	Algorithm Algorithm
	Burst     int64           // of GCRA; 0: 1
	Overrides map[string]Rate // of keys that have a rate of their own
	Keys      int             // how many keys are counted exactly at a time, up to MaxKeys; 0: DefaultKeys

	// SketchTakes, if not nil, counts the Takes that a sketch answered.
	SketchTakes *atomic.Uint64
}

func (r *Rule) check() error {
	if r.Keys < 0 || r.Keys > MaxKeys {
		return fmt.Errorf("%d keys is not between 1 and %d", r.Keys, MaxKeys)
	}
	if err := r.checkRate(Rate{r.Max, r.Window}); err != nil {
		return err
	}
	for key, rate := range r.Overrides {
		if err := r.checkRate(rate); err != nil {
			return fmt.Errorf("override of %q: %w", key, err)
		}
	}
	return nil
}

func (r *Rule) checkRate(rate Rate) error {
	most := int64(MaxMax)
	if r.Algorithm == Window {
		most = MaxWindowMax
	}
	switch {
	case r.Algorithm > GCRA:
		return fmt.Errorf("there is no algorithm %d", r.Algorithm)
	case rate.Max < 1 || rate.Max > most:
		return fmt.Errorf("%d requests per window is not between 1 and %d", rate.Max, most)
	case rate.Window < MinWindow || rate.Window > MaxWindow:
		return fmt.Errorf("window %v is not between %v and %v", rate.Window, MinWindow, MaxWindow)
	case r.Algorithm != GCRA:
		return nil
	case rate.Max > int64(rate.Window):
		return fmt.Errorf("%d requests in %v is more than one per nanosecond", rate.Max, rate.Window)
	case r.Burst < 0 || max(r.Burst, 1) > maxDepth/intervalOf(rate):
		return fmt.Errorf("a burst of %d is not between 1 and %d", r.Burst, maxDepth/intervalOf(rate))
	}
	return nil
}

// intervalOf is the time from one request to the next at that rate, in ns. It is
// rounded up, so that it is never too short.
func intervalOf(r Rate) int64 { return (int64(r.Window) + r.Max - 1) / r.Max }

// maxDepth bounds how far ahead of the clock the arrival times of GCRA may be, in
// ns: eleven years and a half, of the 36 that they have room for.
const maxDepth = 1 << 58
