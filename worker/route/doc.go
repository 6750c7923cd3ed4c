// Package route finds the route of a request: the first, in the order of the
// file, whose hosts, paths, methods and condition it meets.
//
// Compile turns Rules into a Table. Match asks the Table for the index of the
// rule that a scan of all rules from the first on would stop at, without the
// scan: the host is looked up in a map, the path in a radix tree, and globs and
// regular expressions are tried only while one of them could still win.
//
// The invariant: the answer, and the conditions asked for it and their order,
// are those of the scan. Paths are compared in one spelling, that of Normalize,
// so that no other way to write a path slips past the rule for it; Compile
// brings the rules' own paths into it, and the caller each request's.
//
// A Table never changes and is for any number of goroutines. Neither Match nor
// Normalize allocates, and both are linear in the length of what a client sent.
//
// It runs in the worker process, called by package worker, which compiles a
// Table per listener with each new configuration. It knows nothing of what a
// route does, it evaluates no condition itself, and it changes no request: what
// is forwarded is the path as the client sent it.
package route
