package config

import (
	"path/filepath"
	"strings"
)

// supervisor builds what the supervisor block says, or its defaults.
func (d *decoder) supervisor(root *section) Supervisor {
	s := root.one("supervisor")
	if s == nil {
		s = &section{spec: &supervisorBlock}
	}
	dir := string(d.bundle.data.StateDir)
	if s.has("state_dir") {
		dir = d.bundle.resolve(s.text("state_dir"))
	}
	v := Supervisor{
		Workers:      int(s.number("workers")),
		User:         s.text("user"),
		Via:          s.text("via"),
		StateDir:     dir,
		PIDFile:      filepath.Join(dir, "proxyd.pid"),
		AdminSocket:  filepath.Join(dir, "admin.sock"),
		ReadyTimeout: s.duration("ready_timeout"),
		DrainTimeout: s.duration("drain_timeout"),

		StreamTimeout: s.duration("stream_timeout"),
	}
	if s.has("user") && !isUser(v.User) {
		d.at(s.whereOf("user"), "Invalid name", "%q is not the name or number of a user.", v.User)
	}
	if !isToken(v.Via) || len(v.Via) > maxName {
		d.at(s.whereOf("via"), "Invalid name", "%q cannot name a proxy in Via: that takes 1 to %d letters, digits and the like.", v.Via, maxName)
	}
	if s.has("pid_file") {
		v.PIDFile = d.bundle.resolve(s.text("pid_file"))
	}
	if s.has("log") {
		v.Log = d.bundle.resolve(s.text("log"))
	}
	if s.has("state_dir") && len(v.AdminSocket) > maxUnixPath {
		d.at(s.whereOf("state_dir"), "Invalid path", "The path of the admin socket in it, %q, has %d bytes; a unix socket's may have %d.",
			v.AdminSocket, len(v.AdminSocket), maxUnixPath)
	}
	return v
}

// isUser reports whether s could name a user.
func isUser(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && !strings.ContainsRune("_.-$", rune(c)) {
			return false
		}
	}
	return s != "" && len(s) <= maxName && s[0] != '-'
}
