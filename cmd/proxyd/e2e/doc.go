// Package e2e tests the whole program from outside: it builds proxyd once and
// runs it as an operator would, with real processes, sockets, signals and TLS.
//
// It owns what stands around a proxy in a test: origins that can die and come
// back, clients that see every byte and never try again by themselves, load
// that is counted, and the part of systemd that passes sockets and listens.
//
// The invariants: a test shares no folder, address or process with another; it
// waits for conditions, never for a time; a client's failure is counted once and
// is never hidden by a retry; and no process of a test outlives it.
//
// It runs in the test's process and is called by 'go test' alone. Each file
// holds the tests of one promise of the documentation. With -short the long ones
// are left out. It imports nothing of proxyd: what it knows about it is what
// users know. Short behaviours of the command line are scripts instead, in
// testdata/script of the folder above.
package e2e
