// Package config turns proxy.hcl into an immutable Config, or into a list of
// every mistake in it.
//
// It owns the grammar: one table (schema) says which blocks and arguments
// exist, of which kind, with which default and bounds, and which of them are
// built. Names outside the table are refused with the nearest name in it.
// Every mistake carries file, line, column, source line and what to write
// instead; all of them are reported at once, in the order of the file.
//
// The supervisor calls Load, which reads the file and whatever it names and
// keeps those bytes in a Bundle, and Bundle.Refresh when something that the file
// names has changed. A worker calls Bundle.Parse on the same bytes.
// The invariant: a Bundle parses to the same Config in every process, touching
// neither disk nor environment.
//
// Expressions on requests are compiled once to closures, which allocate
// nothing; a Config and all it points to are never changed after Load.
//
// The text is hostile until proven otherwise: its size, its depth, the size of
// every value and the time spent on it are bounded.
//
// It does not open sockets, resolve names or create files.
package config
