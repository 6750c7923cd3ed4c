package admin

import "time"

// Result is the outcome of a reload.
type Result struct {
	// OK is true if the file is in force now, changed or not.
	OK bool `json:"ok"`
	// Code is the exit code that says the same: 0, 1 for a mistake in the
	// configuration, 3 for what the system refused, such as an address in use.
	Code int `json:"code"`
	// Config is the number of the configuration in force.
	Config uint64 `json:"config"`
	// Text is for people: "config 12 active", or the diagnostics.
	Text string `json:"text"`
}

// Status is what runs.
type Status struct {
	Pid          int        `json:"pid"`
	Version      string     `json:"version"`
	State        string     `json:"state"` // starting, serving, reloading, rolling, upgrading or stopping
	Config       string     `json:"config"`
	ConfigNumber uint64     `json:"config_number"`
	Digest       string     `json:"digest"` // SHA-256 of the configuration in force and the files it names
	Started      time.Time  `json:"started"`
	Incarnation  uint64     `json:"incarnation"`           // supervisors that have owned the shared memory, this one included
	Generation   uint32     `json:"generation"`            // of the workers that serve
	LastReload   string     `json:"last_reload,omitempty"` // outcome of the last one
	StateDir     string     `json:"state_dir"`
	PIDFile      string     `json:"pid_file"`
	AdminSocket  string     `json:"admin_socket"`
	Log          string     `json:"log,omitempty"`
	Listeners    []Listener `json:"listeners"`
	Workers      []Worker   `json:"workers"`
}

// Listener is a listening socket that the supervisor holds.
type Listener struct {
	Name    string `json:"name"`    // of the descriptor
	Address string `json:"address"` // as in the file
	Bound   string `json:"bound"`   // as the kernel says
	Passed  bool   `json:"passed"`  // by systemd
}

// Worker is a worker slot and the process in it.
type Worker struct {
	Slot       int               `json:"slot"`
	Pid        int               `json:"pid"` // 0: none at the moment
	Generation uint32            `json:"generation"`
	State      string            `json:"state"`
	Leaving    string            `json:"leaving,omitempty"` // why it is not replaced when it ends
	Since      time.Time         `json:"since"`             // of the state
	Restarts   int               `json:"restarts"`
	LastExit   string            `json:"last_exit,omitempty"` // why the one before it ended
	Counters   map[string]uint64 `json:"counters"`            // of the slot, over all its processes
}
