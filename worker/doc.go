// Package worker is the process that carries traffic: it takes connections from
// the listeners it was handed, answers their requests from upstream servers or,
// refusing them, itself, and drains when told to.
//
// A worker is one event loop (package loop). Each exchange, a request and its
// response, is straight-line code in a coroutine; a connection between two
// requests is a small struct. To it a stream of HTTP/2 is one more connection that
// speaks HTTP/1.1. An exchange takes the snapshot of the
// configuration once, when its head is complete, and keeps it to its end.
//
// State belongs to the loop, except that the control goroutine (control.go)
// prepares snapshots and hands them over whole, and that limits, health and
// counters live in the shared segment. Probes and discovery run beside the loop.
// The loop touches neither the disk nor another worker; it meets the supervisor
// in package handoff only. What an exchange takes it gives back once, on every path.
//
// Reading order: worker.go (the process), control.go, snapshot.go, listener.go,
// client.go, greet.go (TLS, and which HTTP it is), exchange.go (one request's way),
// stream.go, route.go, limit.go, proxy.go, pick.go (a server is chosen, or waited
// for), retry.go, relay.go, flow.go, splice.go, upstream.go, connpool.go, tunnel.go,
// mux.go (a connection of HTTP/2) with h2client.go and link.go (its two sides),
// grpc.go, record.go (the access log), move.go and heir.go (connections go to the
// next generation), orphan.go, operate.go (what operators ask).
//
// It is started by cmd/proxyd, as the supervisor's child.
package worker
