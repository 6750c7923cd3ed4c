package config

import (
	"crypto/sha256"
	"encoding/hex"
)

// FileName returns the name of the descriptor of a's file. Different outputs
// have different names; they consist of [A-Za-z0-9_.-].
func (a *AccessLog) FileName() string {
	sum := sha256.Sum256([]byte(a.Output))
	return "log." + hex.EncodeToString(sum[:8])
}

// maxAccessLogs bounds the descriptors and buffers that logs take in each worker.
const maxAccessLogs = 32

func (d *decoder) accessLog(s *section) *AccessLog {
	a := &AccessLog{
		Format: s.label,
		Output: d.bundle.resolve(s.text("output")),
		Text:   get[*Expr](s, "format"),
		When:   get[*Condition](s, "when"),
	}
	switch text := a.Format == "text"; {
	case text && !s.has("format") && !s.failed("format"):
		d.absent(s.at, "Missing required argument", `access_log "text" needs a format, such as format = "${client.ip} ${request.uri} ${response.status}".`)
	case !text && s.has("format"):
		d.at(s.whereOf("format"), "Conflicting arguments", "The format of access_log %q is fixed. Lines of your own are access_log \"text\".", s.label)
	}
	if s.has("output") {
		name := "access_log " + a.Output
		if first, taken := d.names[name]; taken {
			d.at(s.whereOf("output"), "Duplicate output", "The access_log at line %d writes to this file already.", first.Start.Line)
		}
		d.names[name] = s.at
	}
	return a
}
