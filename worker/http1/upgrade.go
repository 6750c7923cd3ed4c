package http1

// upgradeLines are the hop-by-hop fields of both sides of a WebSocket handshake
// (RFC 6455 sections 4.1 and 4.2.2). Every other Upgrade ends at this hop.
const upgradeLines = "Connection: Upgrade\r\nUpgrade: websocket\r\n"

// opensWebSocket reports whether r, which has the connection option upgrade, is
// a complete opening handshake (RFC 6455 section 4.1). One that is not goes on as
// a plain request, without its Upgrade.
func (r *Request) opensWebSocket() bool {
	return r.Minor > 0 && string(r.Method) == "GET" && !r.HasBody() && toWebSocket(r.Fields) &&
		len(r.Header("sec-websocket-key")) == 24 && len(r.Header("sec-websocket-version")) > 0
}

// toWebSocket reports whether there is one Upgrade field and it names websocket
// alone.
func toWebSocket(fields []Field) bool {
	found := false
	for i := range fields {
		f := &fields[i]
		if f.Kind != KindUpgrade {
			continue
		}
		if found || !equalFold(f.Value, "websocket") {
			return false
		}
		found = true
	}
	return found
}
