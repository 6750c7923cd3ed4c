// Package http2 is one side of HTTP/2 connections (RFC 9113): bytes in, bytes
// out. To its owner every stream is a connection that speaks HTTP/1.1.
//
// A Conn takes what its peer sent in Receive and gathers what is to be sent in
// Output. From a Stream its owner reads one HTTP/1.1 message and writes it the
// other, cut wherever it likes; Conn makes HEADERS and DATA of that and back. So
// what a message means is decided in one place, package http1, for all versions.
// A WebSocket is the handshake of HTTP/1.1 to the owner, and extended CONNECT
// (RFC 8441) to the peer.
//
// The invariant: whatever the peer sends, what is kept of it is bounded (Limits),
// and what is read from a stream has exactly the lines and the body that the peer
// sent, or ends in an error: no field makes a line end, no body that is cut short
// ends cleanly. Window is given back for what the owner has read, nothing else.
//
// Frames are read and written by hand: x/net's Framer wants an io.Reader and
// makes a value for each frame but DATA. Its HPACK decoder is used as it is; the
// encoder is ours, because x/net's wants a string for every name and value.
//
// It runs in the worker process, on the event loop, called by package worker,
// which owns sockets, clocks and time-outs. A Conn belongs to that one goroutine.
package http2
