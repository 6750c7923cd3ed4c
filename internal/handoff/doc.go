// Package handoff is the contract between the supervisor and a worker: the
// messages of the control channel and the descriptors that travel with them.
//
// The channel is one SOCK_SEQPACKET socket pair per worker, made by the
// supervisor with Pair and opened by the worker, as descriptor 3, with NewConn. A
// worker whose supervisor has died makes another by Dial to the Listener of the
// next one; a supervisor that upgrades speaks to its successor over one, too.
// A message is a fixed header, a JSON body of at most MaxBody bytes and at most
// MaxFiles descriptors. The kernel keeps messages whole and in order, so a
// reader never meets half of one.
//
// The invariant: bytes that are not a message of a known version are an error,
// a message of an unknown type is not. A worker answers it with NACK and lives.
//
// It runs in both processes and is called by packages supervisor and worker
// only. It knows what the messages are, not when they are sent: the order of
// start, reload and drain is the supervisor's. It starts no goroutine and keeps
// nothing but its socket.
package handoff
