// Package admin is how a person or a script talks to a running supervisor: an
// HTTP/1 API on a unix socket, and the client of it that the command line uses.
//
//	POST /v1/reload   reads the configuration again; answers with the outcome
//	POST /v1/stop     begins to drain and stop; answers at once
//	GET  /v1/status   what runs
//	GET  /v1/servers  the servers of all upstreams; POST /v1/servers/drain changes one
//	GET  /v1/limits   all limits; GET /v1/limits/NAME?key=KEY shows one
//
// It owns the connections; the supervisor makes the socket file and removes it.
// The invariant: only root and the user that the supervisor runs as are served,
// which the kernel tells by SO_PEERCRED whatever the mode of the file.
//
// The server runs in the supervisor process on goroutines of its own and asks
// the supervisor through the functions of Handlers; it holds no state. Questions
// about servers and limits it turns into those of package handoff, for a worker,
// and passes on the answers unread. The client runs in whatever process wants to
// know and depends on nothing but the socket.
package admin
