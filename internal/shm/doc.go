// Package shm is the shared segment: the memory in which everything lives that
// must outlast a worker, a reload or an upgrade. It holds the counts of the rate
// limits, the health of servers, the counters of workers and the decision record
// of reloads.
//
// The segment is one sparse memfd, sealed in its size. The supervisor creates it
// and gives every worker its descriptor; each process maps all of it.
//
// The invariant: there are no locks between processes. Every cell is one 64-bit
// word that is changed by one atomic instruction, so a process killed at any
// instruction leaves only values that the others know how to go on from. Nothing
// in the segment is a pointer; memory is handed out and never taken back, so that
// what one process has found stays valid for as long as it keeps the mapping.
//
// It runs in every process. Package limiter and package lb keep their state here,
// package worker its counters and its beat; package supervisor reads them. This
// package does not know what the words mean that it hands out, and interprets
// none of them. Times in it are those of Now: CLOCK_MONOTONIC in nanoseconds.
package shm
