// Package discover finds the servers of an upstream in places that change while
// proxyd runs: a file that is watched, and DNS.
//
// A Discoverer has the sources of one upstream. One worker at a time asks a
// source, the one that holds the source's lease; what it learns it writes into
// the source's roster in the shared segment, and all workers read it from there
// within a quarter of a second. So queries do not multiply with workers, all
// workers use the same servers, and an answer outlives reloads, crashes and
// upgrades.
//
// The invariant: the last good answer stands until there is another. A source
// that fails, a name that is gone, an answer or a file without servers change
// nothing but the status: an upstream is emptied by an operator, never by a
// broken zone or half a file. And no reader ever sees a mixed list, whatever
// instruction a writer is killed or stopped at.
//
// It runs in a worker, off the loop, on goroutines that Run owns. Package worker
// runs one Discoverer for each upstream that has sources and gives what it finds
// to the upstream's pool. Everything from outside is bounded: 256 servers to a
// source, an answer's size, its chain of names, the time it may take.
//
// It connects to no server and knows nothing of their health.
package discover
