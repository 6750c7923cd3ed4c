// Package supervisor starts the proxy's workers and replaces them, their
// configuration, their program and itself without closing a listening socket.
//
// A supervisor owns the listening sockets, the shared segment, the state
// directory (lock, PID file, admin socket) and the table of workers, and shares
// none of them: the one goroutine inside Run reads and writes them. Signals,
// messages, exits and admin requests reach it as functions on one channel;
// after each it does whatever has become due (see advance).
//
// The invariants: what a worker does next is decided by step alone, a pure table
// of state and event. All workers that serve have one configuration, but for the
// moment of a commit and while a new generation is on trial. A reload, a roll or
// an upgrade changes nothing before all that is new has proved that it works.
// What is decided stands in the segment before anyone is told, so that whoever
// comes after a kill goes on from there.
//
// Reading order: run.go, start.go, supervisor.go, table.go, worker.go, reload.go,
// watch.go, roll.go, adopt.go, upgrade.go, successor.go, estate.go, ask.go.
//
// It runs in the supervisor process, is called by the command line, and knows
// nothing of HTTP. It meets a worker only in packages handoff and shm; it never
// reads a byte of traffic, and it outlives any number of workers.
package supervisor
