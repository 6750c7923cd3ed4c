// Command proxybench measures proxyd beside a relay floor and the peers that
// are installed, on one machine, in one run, with nothing but Go.
//
// It owns the plan: scenarios, rounds, and the table at the end. The work is
// done by child processes: the proxy under test alone on one CPU; the origin
// and the load generator together on another. Relay, origin and load generator
// are this same program, started again as "proxybench relay", "origin" and
// "load", subcommands that are not for people.
//
// The figure to read is the CPU time of a request, counted by the scheduler over
// the proxy's whole process tree, and its ratio to that of relay: the cost of
// moving the bytes through sockets without looking at them. Rounds go from proxy
// to proxy, so that a noisy minute falls on all of them, and the median counts.
//
// "proxybench balance" compares how proxies get on with servers that fail: fifty
// of them and an open load, goroutines of this process, and a script of what
// happens to which server when, made by a seed. "proxybench reuse" counts how
// often proxyd's workers find a kept connection to a server.
//
// All sockets are on the loopback interface. Every wait has an end, every child
// dies with its parent, and no process is signalled that was not started here.
// Nothing of proxyd's own code is imported: it is met as a program, like its
// peers.
package main
