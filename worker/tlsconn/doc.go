// Package tlsconn runs crypto/tls on a connection of the worker's event loop.
//
// A Conn offers what a loop.Conn does, TryRead and TryWrite, on plaintext. The
// record layer below it is an adapter between tls.Conn, which wants a blocking
// net.Conn, and the non-blocking socket:
//
//   - the adapter hands tls.Conn one record at a time, so that the Conn always
//     knows whether received bytes are still undelivered;
//   - during the handshake the adapter waits in the coroutine; after it, an
//     empty socket is a temporary error, which tls.Conn survives, so that reads
//     never wait with a lock held;
//   - the adapter never waits in a write: what the socket refuses is kept, and
//     the caller waits for room, then calls Flush.
//
// It runs on the loop of a worker process, is called by package worker, and
// owns neither certificates nor configuration: those come as a *tls.Config.
package tlsconn
