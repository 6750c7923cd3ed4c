// Package limiter bounds the requests that each key may make in a window of time, and
// those that it may have in hand at a time.
//
// It owns how requests are counted: by the window, over a sliding window, or by their
// pace; in exact tables of keys, and in sketches for the keys that the tables have no
// room for. Counts live in the shared segment, so all workers enforce one limit, and a
// reload or the death of a worker keeps it.
//
// The invariant: of a key, no more than the limit is admitted, over all processes; and
// in the tables, where nearly every key is, no fewer while there is demand. There is no
// lock: what a verdict is about is one word, changed by one compare-and-swap, and a
// process killed at any instruction leaves a legal value. table.go and ledger.go say
// why that is exact.
//
// Times are those of the monotonic clock, and window i is the time from i*Window to
// (i+1)*Window. A count bears its window or its time with it, so nothing is ever swept
// and no two processes can disagree on when to reset.
//
// It runs in the workers; package worker makes a Limiter of each rate limit of the
// configuration. It knows neither requests nor configuration: a key is bytes.
package limiter
