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
// ServerConfig makes of a listener's settings what Server needs: a certificate
// for each name, slow keys used off the loop, a Gate that leaves the loop time
// for others, and the keys of Tickets. These and Sessions, what servers have given
// us to resume, are in the shared segment, so all workers have the same.
//
// It runs on the loop of a worker process and is called by package worker. It
// reads no file and knows no configuration, of which it is given values.
package tlsconn
