// Package probe asks a server whether it is well: by connecting to it, by an HTTP
// request, or by the health service of gRPC.
//
// Each has the shape that lb.Check wants, func(ctx, address) error: nil says that
// the server is well, and the error says what is not, with a reason.Code in it so
// that all workers can be told. TCP is such a function; HTTP and GRPC are values
// that hold the question and whose Probe method is it.
//
// The invariant: a probe is one new connection, which is gone when the probe
// returns, and it returns when ctx is done, whatever the server does. Servers
// are not trusted: what is read of an answer is bounded, what is logged of it is
// short and quoted, and redirects are not followed.
//
// It runs in a worker, on the goroutines of lb.Prober, never on the loop. Package
// worker makes the values from the configuration. How often to probe, and what
// follows from the answer, is for package lb to say.
package probe
