// Package loop is the event loop that a worker is made of: edge-triggered
// epoll, coroutines in which straight-line code reads and writes non-blocking
// sockets, timers, and listening sockets shared with other processes.
//
// One goroutine runs a Loop and everything on it. A Task is a coroutine from a
// pool: its Read, Write, Connect, Sleep and WaitAny look blocking and yield to
// the loop inside. A parked Conn is only its struct: it owns no coroutine, no
// buffer and no timer entry; the next readable edge wakes its owner. A Pipe moves
// bytes between two of them inside the kernel.
//
// Invariants: a coroutine is resumed by the loop only; a Conn has at most one
// waiting Task; nothing here takes a lock that is held across a yield; no call
// blocks the goroutine except the wait for events itself. The only methods that
// another goroutine may call are Loop.Post, Loop.Stalled and Loop.Stop.
//
// It runs in a worker process, is called by packages worker and worker/tlsconn,
// and knows nothing of HTTP, TLS or configuration.
package loop
