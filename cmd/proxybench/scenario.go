package main

// A scenario is one kind of load.
type scenario struct {
	name        string
	connections int
	body        int  // bytes of a response
	oneShot     bool // a connection for each request
	hold        bool // one request for each connection, which then stays open: memory is measured, not CPU time
}

// scenarios are in the order in which they run.
var scenarios = []scenario{
	{name: "keepalive", connections: 64, body: 128},
	{name: "body16k", connections: 64, body: 16 << 10},
	{name: "body1m", connections: 16, body: 1 << 20},
	{name: "close", connections: 64, body: 128, oneShot: true},
	{name: "idle", connections: 3500, body: 128, hold: true},
}

func (s scenario) label() string { return s.name }

// unit is that of the value measured.
func (s scenario) unit() string {
	if s.hold {
		return "bytes/conn"
	}
	return "us CPU/req"
}

// fits reports whether p can be compared in s. Relay cannot where it does not do
// what a proxy does: it opens an upstream connection for each of a client.
func (s scenario) fits(p peer) bool {
	return p.name != "relay" || !s.oneShot && !s.hold
}
