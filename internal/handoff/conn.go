package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sendTimeout bounds Send. The socket holds some 200 KiB of unread messages; a
// peer that has not read so much for so long is as good as dead.
const sendTimeout = time.Second

// A Conn is one end of a control channel. Send may be called by any goroutine,
// Receive by one at a time, Close by any.
type Conn struct {
	uc *net.UnixConn

	mu       sync.Mutex // orders sends, guards sequence
	sequence uint32

	in  []byte // Receive's own
	oob []byte
}

// Pair makes a channel: the supervisor's end, and the file for the worker to
// inherit, which the caller closes once the worker has started.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("control channel: socketpair: %w", err)
	}
	worker := os.NewFile(uintptr(fds[1]), "control")
	c, err := NewConn(os.NewFile(uintptr(fds[0]), "control"))
	if err != nil {
		worker.Close()
		return nil, nil, err
	}
	return c, worker, nil
}

// NewConn opens an end of a channel and takes ownership of f, which it closes.
func NewConn(f *os.File) (*Conn, error) {
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("control channel: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok || uc.LocalAddr().Network() != "unixpacket" {
		nc.Close()
		return nil, fmt.Errorf("control channel: descriptor %q is no SOCK_SEQPACKET socket", f.Name())
	}
	return newConn(uc), nil
}

func newConn(uc *net.UnixConn) *Conn {
	return &Conn{
		uc:  uc,
		in:  make([]byte, headerBytes+MaxBody+1),
		oob: make([]byte, unix.CmsgSpace(4*MaxFiles)),
	}
}

// Close closes the socket; the other end reads io.EOF.
func (c *Conn) Close() error { return c.uc.Close() }

// Send writes one message: body as JSON, or none if it is nil. The files stay
// the caller's. It fails after a second if the other end does not read.
func (c *Conn) Send(t Type, generation uint32, body any, files ...*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		// A file that os itself made non-blocking would be made blocking by Fd,
		// and for every process that shares the description. Control does not.
		rc, err := f.SyscallConn()
		if err != nil {
			return fmt.Errorf("send %v: %s: %w", t, f.Name(), err)
		}
		if err := rc.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return fmt.Errorf("send %v: %s: %w", t, f.Name(), err)
		}
	}
	return c.SendFDs(t, generation, body, fds...)
}

// SendFDs is Send for raw descriptors: a listener that only is held must not
// become an os.File, which would wake this process at every connection.
func (c *Conn) SendFDs(t Type, generation uint32, body any, fds ...int) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("send %v: %w", t, err)
		}
	}
	if len(text) > MaxBody || len(fds) > MaxFiles {
		return fmt.Errorf("send %v: %d bytes and %d descriptors: at most %d and %d fit in a message",
			t, len(text), len(fds), MaxBody, MaxFiles)
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sequence++
	packet := appendMessage(make([]byte, 0, headerBytes+len(text)), t, generation, c.sequence, text, len(fds))
	if err := c.uc.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("send %v: %w", t, err)
	}
	if _, _, err := c.uc.WriteMsgUnix(packet, oob, nil); err != nil {
		return fmt.Errorf("send %v: %w", t, err)
	}
	return nil
}

// Receive waits for the next message. It returns io.EOF when the other end is
// gone. After any other error the channel is of no use any more. Descriptors
// are close-on-exec.
func (c *Conn) Receive() (Message, error) {
	n, oobn, flags, _, err := c.uc.ReadMsgUnix(c.in, c.oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
			return Message{}, io.EOF
		}
		return Message{}, fmt.Errorf("receive: %w", err)
	}
	fds, err := rights(c.oob[:oobn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("message was cut short: it is too long, or this process has too many open files")
	}
	var m Message
	var want int
	if err == nil {
		m, want, err = parse(c.in[:n])
	}
	if err == nil && want != len(fds) {
		err = fmt.Errorf("%v: %d descriptors, header says %d", m.Type, len(fds), want)
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return Message{}, fmt.Errorf("receive: %w", err)
	}
	m.Body = append([]byte(nil), m.Body...)
	for _, fd := range fds {
		m.Files = append(m.Files, os.NewFile(uintptr(fd), m.Type.String()))
	}
	return m, nil
}

// rights collects the descriptors of all control messages in oob.
func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	var fds []int
	for i := range list {
		got, err := unix.ParseUnixRights(&list[i])
		if err != nil {
			return fds, fmt.Errorf("control message: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// Detach returns a raw descriptor for what f refers to and closes f. It leaves
// the file status flags alone, which all holders share, and gets the descriptor
// out of the runtime's poller, which registers a non-blocking socket as soon as
// it becomes an os.File and would wake for every connection on it.
func Detach(f *os.File) (int, error) {
	defer f.Close()
	rc, err := f.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("detach %s: %w", f.Name(), err)
	}
	fd := -1
	var dupErr error
	if err := rc.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return -1, fmt.Errorf("detach %s: %w", f.Name(), err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("detach %s: %w", f.Name(), dupErr)
	}
	return fd, nil
}
