// Package limiter bounds the requests that each key may make in a window of time.
//
// It owns how requests are counted: an exact table of keys, and a sketch for the
// keys that the table has no room for. Counts live in the shared segment, so all
// workers enforce one limit, and a reload or the death of a worker keeps it.
//
// The invariant: no more than Max requests of a key are admitted in a window,
// over all processes; and in the table, where nearly every key is, no fewer while
// there is demand. There is no lock: a count is one word, changed by one
// compare-and-swap, and a process killed at any instruction leaves a legal value.
//
// Windows are aligned to the monotonic clock: window i is the time from i*Window
// to (i+1)*Window. A count bears its window beside it, so nothing is ever swept
// and no two processes can disagree on when to reset.
//
// It runs in the workers; package worker makes a Limiter of each rate limit of
// the configuration. It knows neither requests nor configuration: a key is bytes.
package limiter
