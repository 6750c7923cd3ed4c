package reason

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{syscall.ECONNREFUSED, "connection refused"},
		{fmt.Errorf("connect: %w", syscall.EHOSTUNREACH), "no route to host"},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "connection reset by peer"},
		{context.DeadlineExceeded, "no answer in time"},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), "no answer in time"},
		{HTTP(503), "HTTP status 503"},
		{HTTP(0), "HTTP status 0"},
		{Unexpected(200), "HTTP status 200, not as expected"},
		{GRPC(12), "gRPC status UNIMPLEMENTED"},
		{GRPC(17), "gRPC status 17"},
		{GRPCHealth(2), "gRPC health NOT_SERVING"},
		{GRPCHealth(1023), "gRPC health 1023"},
		{fmt.Errorf("%w: x509: expired", CertificateExpired), "certificate expired or not yet valid"},
		{fmt.Errorf("%w: %w", BadResponse, syscall.EPROTO), "bad response"},

		{errors.New("anything"), "probe failed"},
		{syscall.Errno(1 << numberBits), "probe failed"},
		{syscall.Errno(0), "probe failed"},
		{Code(0), "probe failed"},
		{Max + 1, "probe failed"},
		{HTTP(1 << numberBits), "probe failed"},
		{GRPC(-1), "probe failed"},
	} {
		if got := Of(c.err).String(); got != c.want {
			t.Errorf("%v: got %q; want %q", c.err, got, c.want)
		}
	}
}

// All 16,384 of them are a phrase, one line of ASCII, and only zero is none; what
// a program does not know, of a newer one, is a failure without a name.
func TestEachCodeIsAPhrase(t *testing.T) {
	for c := Code(1); c <= Max; c++ {
		text := c.String()
		if text == "" || len(text) > 80 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("code %d: got %q; want a short phrase", c, text)
		}
		if got := Of(fmt.Errorf("probe: %w", c)); got != c {
			t.Errorf("code %d wrapped: got %d; want it again", c, got)
		}
	}
	if got := (other + Code(len(others))).String(); got != "probe failed" {
		t.Errorf("unknown code: got %q; want probe failed", got)
	}
}

// The numbers stay in the segment over an upgrade.
func TestNumbersAreForGood(t *testing.T) {
	for c, want := range map[Code]Code{
		HTTP(503): 1<<10 + 503, Unexpected(200): 2<<10 + 200, GRPC(14): 3<<10 + 14, GRPCHealth(2): 4<<10 + 2,
		Failed: 5 << 10, TimedOut: 5<<10 + 1, CertificateInvalid: 5<<10 + 9, Of(syscall.ECONNREFUSED): 111,
	} {
		if c != want {
			t.Errorf("%v: got %d; want %d", c, c, want)
		}
	}
	if got, want := len(others), int(CertificateInvalid-Failed)+1; got != want {
		t.Errorf("names of other codes: got %d; want %d", got, want)
	}
}
