package lb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// ProbeTCP connects to address, "ip:port" or "unix:/path", and closes the
// connection without a byte sent. The error does not repeat the address:
// `connect: connection refused`.
func ProbeTCP(ctx context.Context, address string) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	d := net.Dialer{KeepAlive: -1}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return connectError(err)
	}
	// The connect is the probe; how the close ends says nothing about the server.
	_ = c.Close()
	return nil
}

// connectError takes net's `dial tcp 127.0.0.1:80: ` off err, and says of a
// deadline what the kernel says when it gives up by itself.
func connectError(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return fmt.Errorf("connect: %w", err)
	}
	if op.Timeout() {
		return fmt.Errorf("connect: %w", syscall.ETIMEDOUT)
	}
	var errno syscall.Errno
	if errors.As(op.Err, &errno) {
		return fmt.Errorf("connect: %w", errno)
	}
	return fmt.Errorf("connect: %w", op.Err)
}
