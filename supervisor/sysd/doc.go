// Package sysd speaks to systemd, or to whatever speaks its protocols: sockets
// passed at start (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES), readiness and
// reload notices (NOTIFY_SOCKET), the watchdog (WATCHDOG_USEC) and the store of
// descriptors (FDSTORE).
//
// It owns nothing: passed sockets go to the caller, notices are single
// datagrams. The invariant: Environ holds nothing that a worker could inherit
// and mistake for its own.
//
// It runs in the supervisor process and is called by package supervisor only,
// once at start and then from its loop. Where there is no systemd every call
// does nothing. It does not decide when to say what, and it never binds, reads
// or closes a socket it was given.
package sysd
