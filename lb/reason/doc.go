// Package reason names why a health check found a server unwell, in few enough
// bits that the name fits into a shared word beside the server's state.
//
// A Code is an error, as syscall.Errno is one: a probe returns it, wrapped in
// what else it knows for the log, and Of finds it again. What is not wrapped that
// way still has a Code if the kernel gave a reason (the errno itself) or time ran
// out.
//
// The invariant: a Code is at most Max, and each prints as a short phrase that
// holds nothing a server said but numbers: it goes to terminals and web pages.
// The numbers are in a segment that outlives its program, so a Code once given
// keeps its meaning.
//
// It runs in a worker. Package lb keeps codes in its health words and prints
// them; the probes of lb/probe make them. It does no input or output.
package reason
