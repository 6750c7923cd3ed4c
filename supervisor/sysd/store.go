package sysd

import (
	"os"
	"strconv"
)

// Stores tells whether the manager keeps descriptors for this service.
func (m *Manager) Stores() bool {
	n, err := strconv.Atoi(os.Getenv("FDSTORE"))
	return err == nil && n > 0
}

// Keep has the manager keep a descriptor, to pass it by that name to the next
// process of the service. The caller's stays open. A name has no colon and no
// control byte.
func (m *Manager) Keep(name string, fd int) error {
	_, err := m.notifyWith("FDSTORE=1\nFDNAME="+name, fd)
	return err
}

// Forget has the manager close what it keeps by that name.
func (m *Manager) Forget(name string) error {
	return m.notify("FDSTOREREMOVE=1", "FDNAME="+name)
}
