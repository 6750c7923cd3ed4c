package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/handoff"
)

// meetLimit is how long an orphan may take to say all that it has to.
const meetLimit = 5 * time.Second

// A door is where workers come in whose supervisor has died. Only a supervisor
// that holds the lock opens it.
type door struct {
	path     string
	listener *handoff.Listener
	stale    bool // a dead supervisor had left one, and perhaps workers

	mu    sync.Mutex
	users []int // who may come in
}

// openDoor makes the door, or opens the one that has come with an estate.
func openDoor(dir string, workerUser int, e *estate) (*door, error) {
	d := &door{path: filepath.Join(dir, "adopt.sock"), users: []int{0, os.Geteuid(), workerUser}}
	_, err := os.Lstat(d.path)
	d.stale = err == nil
	if e != nil {
		d.listener, err = handoff.Inherit(e.door)
		return d, err
	}
	if d.listener, err = handoff.Announce(d.path, workerUser); err != nil {
		return nil, err
	}
	return d, nil
}

// allow lets workers of another user come in, too: those of an earlier one may
// still live.
func (d *door) allow(user int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.users, user) {
		return
	}
	d.users = append(d.users, user)
	_ = os.Chown(d.path, user, -1) // if it cannot, its workers cannot come, and drain in the end
}

// close ends admission and removes the door.
func (d *door) close() {
	d.listener.Close()
	os.Remove(d.path)
}

// An orphan is a worker whose supervisor has died, with all that it has brought.
type orphan struct {
	hello      handoff.HelloBody
	generation uint32
	conn       *handoff.Conn
	pidfd      *os.File
	segment    *os.File
	bundles    []*os.File // that it uses; that it could use
	sockets    []descriptor
}

// close lets go of an orphan that we cannot take. It will come again.
func (o *orphan) close() {
	o.conn.Close()
	o.pidfd.Close()
	o.segment.Close()
	for _, f := range o.bundles {
		f.Close()
	}
	logs(o.sockets).close()
}

// meet hears what the process at the other end of conn has to say.
func (d *door) meet(conn *handoff.Conn) (*orphan, error) {
	pid, uid, err := conn.Peer()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	allowed := slices.Contains(d.users, uid)
	d.mu.Unlock()
	if !allowed {
		return nil, fmt.Errorf("process %d of user %d is no worker", pid, uid)
	}
	deadline := time.Now().Add(meetLimit)
	m, err := conn.ReceiveBefore(deadline)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	o := &orphan{conn: conn, generation: m.Generation}
	if err := o.introduce(m, pid); err != nil {
		m.CloseFiles()
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	for len(o.sockets) < o.hello.Listeners {
		if err := o.bring(deadline); err != nil {
			o.close()
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return o, nil
}

// introduce takes the first message of an orphan.
func (o *orphan) introduce(m handoff.Message, pid int) error {
	if err := m.Decode(&o.hello); err != nil {
		return err
	}
	h := o.hello
	if m.Type != handoff.Hello || h.Pid != pid || h.Config == 0 || h.Listeners > maxSockets {
		return fmt.Errorf("%v with %+v is not what an orphan says", m.Type, h)
	}
	want := 2
	if h.Prepared != 0 {
		want = 3
	}
	if len(m.Files) != want {
		return fmt.Errorf("HELLO with %d descriptors: want %d", len(m.Files), want)
	}
	// Its end of conn is open, so it lives, and the number is its own still.
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("pidfd: %w", err)
	}
	o.pidfd = os.NewFile(uintptr(fd), "worker")
	o.segment, o.bundles = m.Files[0], m.Files[1:]
	return nil
}

// bring takes one batch of its listening sockets.
func (o *orphan) bring(deadline time.Time) error {
	m, err := o.conn.ReceiveBefore(deadline)
	if err != nil {
		return err
	}
	var body handoff.ListenBody
	if err = m.Decode(&body); err == nil && (m.Type != handoff.Listen || len(body.Names) != len(m.Files) || len(m.Files) == 0) {
		err = fmt.Errorf("%v with %d names and %d descriptors", m.Type, len(body.Names), len(m.Files))
	}
	if err != nil {
		m.CloseFiles()
		return err
	}
	for i, f := range m.Files {
		fd, err := handoff.Detach(f)
		if err != nil {
			return err
		}
		o.sockets = append(o.sockets, descriptor{handoff.Listen, body.Names[i], fd})
	}
	return o.conn.Send(handoff.Ack, o.generation, handoff.AckBody{Sequence: m.Sequence})
}
