package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRunning means that nobody listens on the admin socket.
var ErrNotRunning = errors.New("proxyd is not running")

// maxAnswer bounds what the client reads.
const maxAnswer = 16 << 20

// A Client talks to one supervisor. Its methods may be called by any goroutine.
type Client struct {
	socket string
	http   http.Client
}

// Dial finds the supervisor behind an admin socket. It returns an error that is
// ErrNotRunning if there is none.
func Dial(socket string) (*Client, error) {
	nc, err := dial(context.Background(), socket)
	if err != nil {
		return nil, err
	}
	nc.Close()
	c := &Client{socket: socket}
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, socket)
		},
	}
	return c, nil
}

func dial(ctx context.Context, socket string) (*net.UnixConn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	nc, err := d.DialContext(ctx, "unix", socket)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: nobody listens on %s", ErrNotRunning, socket)
	}
	if errors.Is(err, syscall.EACCES) {
		return nil, fmt.Errorf("admin socket %s: permission denied: only root and the user proxyd runs as may use it", socket)
	}
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", socket, err)
	}
	return nc.(*net.UnixConn), nil
}

// Reload makes the supervisor read its configuration again and waits for the
// outcome. The error says that there is no outcome; a reload that was refused
// is a Result.
func (c *Client) Reload(ctx context.Context) (Result, error) {
	var r Result
	return r, c.call(ctx, http.MethodPost, "/v1/reload", &r)
}

// Roll makes the supervisor replace all workers by new ones, and waits for the
// outcome as Reload does.
func (c *Client) Roll(ctx context.Context) (Result, error) {
	var r Result
	return r, c.call(ctx, http.MethodPost, "/v1/roll", &r)
}

// Upgrade makes the supervisor give way to the program as it is on the disk now,
// and waits for the outcome as Reload does.
func (c *Client) Upgrade(ctx context.Context) (Result, error) {
	var r Result
	return r, c.call(ctx, http.MethodPost, "/v1/upgrade", &r)
}

// Status asks what runs.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/v1/status", &s)
}

// Reopen makes the proxy open its log files anew and waits until it has.
func (c *Client) Reopen(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reopen", nil)
}

// Stop makes the supervisor drain and stop, and waits until its process is gone.
func (c *Client) Stop(ctx context.Context) error {
	pid, err := c.process(ctx)
	if err != nil {
		return err
	}
	// If it ends meanwhile, and another gets its number, the call finds nobody.
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("stop: open process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	if err := c.call(ctx, http.MethodPost, "/v1/stop", nil); err != nil {
		return err
	}
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 50)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("stop: wait for the process: %w", err)
		}
		if n > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("stop: it still drains: %w", ctx.Err())
		}
	}
}

// process is the number that the supervisor has here. It knows the one that it has
// in its own namespace, and the kernel who made the socket, which was another
// process if there has been an upgrade.
func (c *Client) process(ctx context.Context) (int, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return 0, err
	}
	nc, err := dial(ctx, c.socket)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	cred, err := peer(nc)
	if err != nil {
		return 0, err
	}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cred.Pid)) // fails if it is gone
	for line := range strings.Lines(string(text)) {
		numbers := strings.Fields(line) // from our namespace down to its own
		if len(numbers) > 1 && numbers[0] == "NSpid:" && numbers[len(numbers)-1] == strconv.Itoa(status.Pid) {
			return int(cred.Pid), nil
		}
	}
	return status.Pid, nil
}

// peer asks the kernel who connected nc.
func peer(nc *net.UnixConn) (*unix.Ucred, error) {
	rc, err := nc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := rc.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, fmt.Errorf("peer credentials: %w", err)
	}
	if credErr != nil {
		return nil, fmt.Errorf("peer credentials: %w", credErr)
	}
	return cred, nil
}

// call makes a request and decodes the answer into v, unless v is nil.
func (c *Client) call(ctx context.Context, method, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://proxyd"+path, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: read the answer: %w", path, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %w", path, complaint(resp.StatusCode, strings.TrimSpace(string(b))))
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
