// Package supervisor starts the proxy's workers and gives them a new
// configuration without closing a listening socket or a connection.
//
// A supervisor owns the listening sockets, the shared segment, the state
// directory (lock, PID file, admin socket) and the table of workers, and shares
// none of them: the one goroutine inside Run reads and writes them. Signals,
// messages, exits and admin requests reach it as functions on one channel;
// after each it does whatever has become due (see advance).
//
// The invariants: what a worker does next is decided by step alone, a pure
// table of state and event. A start and a reload never overlap, so that all
// workers that serve have the same configuration, except within a commit. A
// reload changes nothing until every worker has said that it can.
//
// It runs in the supervisor process, is called by the command line, and knows
// nothing of HTTP. It meets a worker only in packages handoff and shm; it never
// reads a byte of traffic, and it outlives any number of workers.
package supervisor
