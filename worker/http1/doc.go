// Package http1 reads, checks, frames and writes HTTP/1.1 messages: bytes in,
// bytes out.
//
// Request and Response parse a message head in place at the start of a buffer.
// What they hold afterwards are slices of that buffer, so they are valid for as
// long as its bytes stay where they are. Both are meant to be used again for the
// next message; in the steady state nothing is allocated. AppendForward writes a
// head as the next hop must see it, without the fields that a HeaderEdit takes
// out, Chunked decodes a chunked body as it arrives, Answer writes the proxy's
// own replies.
//
// The invariant: what Parse has accepted has one meaning only, for every
// recipient behind. All that peers are known to read in two ways (RFC 9112
// section 11.2: two lengths, a length and a coding, bare CR or LF, folded lines,
// blanks before the colon) is refused, not repaired, and what AppendForward
// writes contains no line end that was not one in the head.
//
// It runs in the worker process, on the event loop, called by package worker. A
// value belongs to one coroutine. The package knows nothing of sockets, time,
// routes or configuration, and it keeps no body: the caller moves those bytes.
package http1
