// Package lb picks the upstream server of each exchange and finds out, by
// probes, which servers are up.
//
// A Pool is the servers of one upstream and the position of its round robin; a
// Prober makes the active health checks of a pool. What is known about a server
// (up or down, who probes it, when next, whether to avoid it) is not in either
// of them but in the shared segment, keyed by upstream and address: all workers
// see one truth, and it outlives pools, probers and workers.
//
// The invariant: Pick never returns a server known to be down, and every
// server's probes are made by one worker at a time. That worker holds a lease
// on the server, a word it must renew; there is no lock, and a worker that is
// killed at any instruction is merely not renewing any more.
//
// It runs in a worker. Pick belongs to the loop: it neither locks, blocks nor
// allocates. Probers run on ordinary goroutines and reach the loop only through
// the shared words. Package worker builds pools and probers anew for each
// configuration, picks per exchange, and reports connects that failed.
//
// It opens no connection for traffic (a probe's own apart), retries nothing,
// resolves no names and keeps no connections.
package lb
