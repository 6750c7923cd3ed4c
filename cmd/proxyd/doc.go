// Command proxyd is a reverse proxy: a supervisor process that owns sockets,
// configuration and shared memory, and worker processes that carry traffic.
//
// This package owns the command line and nothing else: it turns arguments into
// one call of package supervisor, worker or supervisor/admin and an error into
// an exit code, which is a promise to scripts:
//
//	0 ok · 1 configuration · 2 usage · 3 could not start · 4 not running
//
// "proxyd run" becomes the supervisor; the supervisor starts this same program
// again as "proxyd worker", a subcommand that is not for people. The commands
// reload, stop, status, server, limit and their like talk to a running
// supervisor over its admin socket.
// "proxyd demo" is a play with the real thing on a stage of its own: origins,
// certificates and a configuration made for the occasion and removed after it.
//
// It reads no traffic, parses no configuration and keeps no state.
package main
