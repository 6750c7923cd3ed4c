// Package lb picks the upstream server of each exchange and finds out, by probes
// and by how exchanges end, which servers are fit for it.
//
// A Pool is the servers of one upstream and what its policy remembers; a Prober
// makes the active health checks of a pool. What is known about a server (up or
// down, who probes it, when next, whether to avoid it, what the operator says of
// it, errors in a row, requests in flight) is not in either of them but in the
// shared segment, keyed by upstream and address: all workers see one truth, and it
// outlives pools, probers and workers.
//
// The invariant: Pick never returns a server known to be down while one is up,
// below the panic threshold apart, and every server's probes are made by one
// worker at a time. That worker holds a lease on the server, a word it must renew.
// There is no lock: a worker that is killed at any instruction is merely not
// renewing any more, and what it had in flight is dropped by the one that takes
// its slot. Pools do not look at all servers for each pick; whoever changes what is
// known of one tells the others in a word that they all watch.
//
// It runs in a worker. Pick and Done belong to the loop: they neither lock, block
// nor allocate. Probers run on ordinary goroutines and reach the loop only through
// the shared words. Package worker builds pools and probers, picks per exchange,
// and reports how each ended.
//
// It opens no connection for traffic (a probe's own apart), retries nothing,
// resolves no names and keeps no connections.
package lb
