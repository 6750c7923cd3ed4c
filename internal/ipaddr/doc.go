// Package ipaddr reads IP addresses where they stand: in a buffer, without a
// copy and without an allocation.
//
// netip.ParseAddr wants a string, and keeps it in its error, so every address in
// a head or in an expression's value would cost an allocation. Parse reads what
// it reads, but for zones, which mean nothing beyond the machine that wrote them.
//
// The invariant: Parse accepts exactly what netip.ParseAddr accepts, without
// zones, and yields the same address; a fuzz target holds the two together.
//
// It runs in both processes and depends on nothing: the functions of expressions
// (internal/config) read addresses with it, worker/http1 X-Forwarded-For, and
// worker/proxyproto a PROXY line. It knows no ports, brackets, prefixes or names;
// what surrounds an address is the caller's to cut off.
package ipaddr
