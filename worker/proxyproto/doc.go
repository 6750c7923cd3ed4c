// Package proxyproto reads the PROXY protocol header, versions 1 and 2, with
// which a balancer in front says whose connection it passes on.
//
// Parse looks at the bytes that a connection begins with and reports the
// addresses, or that more must come first; a Header holds no part of them.
//
// The invariant: what Parse has accepted is a header exactly as
// the specification (HAProxy's proxy-protocol.txt) has it, to the byte, or one of
// a kind that it tells receivers to accept unread. Parse allocates nothing, asks
// for no more bytes than a header can have, and refuses what does not begin like
// one at its first byte: a client that is no balancer is not waited for.
//
// It runs in the worker process, on the event loop, called by package worker for
// connections from the addresses that a listener is told to believe. Whether to
// expect a header is never guessed from the bytes, and is not decided here. The
// package knows nothing of sockets or time.
package proxyproto
