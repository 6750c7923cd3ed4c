package reason

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// A Code is why a probe failed; zero is a probe that passed. Its upper 4 bits of
// 14 say of what kind it is, the lower 10 are the number of that kind.
type Code uint16

// Max is the greatest Code.
const Max Code = 1<<14 - 1

const numberBits = 10

// The kinds of codes.
const (
	errno Code = iota << numberBits
	httpStatus
	unexpectedStatus
	grpcStatus
	grpcHealth
	other
)

// Codes that are no number of a protocol's.
const (
	Failed               Code = other + iota // anything else; the log has its text
	TimedOut                                 // no answer in time, from a server that took the connection
	Closed                                   // the connection ended before the answer did
	BadResponse                              // an answer, but none of the protocol's
	NoHTTP2                                  // the server did not agree to HTTP/2 in TLS
	TLSFailed                                // the handshake, for another reason than:
	CertificateExpired                       // or not valid yet
	CertificateUntrusted                     // by nobody we trust
	CertificateName                          // of another server
	CertificateInvalid                       // in another way
)

var others = [...]string{
	"probe failed", "no answer in time", "connection closed early", "bad response", "no HTTP/2",
	"TLS handshake failed", "certificate expired or not yet valid", "certificate not trusted",
	"certificate for another name", "certificate invalid",
}

// HTTP is the code of a response whose status alone makes it a failure.
func HTTP(status int) Code { return code(httpStatus, status) }

// Unexpected is the code of a response whose status is not one that was asked for.
func Unexpected(status int) Code { return code(unexpectedStatus, status) }

// GRPC is the code of a call that ended with a gRPC status other than OK.
func GRPC(status int) Code { return code(grpcStatus, status) }

// GRPCHealth is the code of an answer of grpc.health.v1 other than SERVING.
func GRPCHealth(status int) Code { return code(grpcHealth, status) }

func code(kind Code, n int) Code {
	if n < 0 || n >= 1<<numberBits {
		return Failed
	}
	return kind | Code(n)
}

// Of returns why a probe ended with err.
func Of(err error) Code {
	var known Code
	var number syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &known) && known != 0 && known <= Max:
		return known
	case errors.As(err, &number) && number > 0 && number < 1<<numberBits:
		return errno | Code(number)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut
	}
	return Failed
}

// Error is String, for a Code to be returned as the error that it is.
func (c Code) Error() string { return c.String() }

func (c Code) String() string {
	n := int(c & (1<<numberBits - 1))
	switch c &^ (1<<numberBits - 1) {
	case errno:
		if n == 0 {
			return ""
		}
		return syscall.Errno(n).Error()
	case httpStatus:
		return fmt.Sprintf("HTTP status %d", n)
	case unexpectedStatus:
		return fmt.Sprintf("HTTP status %d, not as expected", n)
	case grpcStatus:
		return "gRPC status " + name(grpcStatuses[:], n)
	case grpcHealth:
		return "gRPC health " + name(grpcHealths[:], n)
	case other:
		if n < len(others) {
			return others[n]
		}
	}
	return others[0] // of a newer program
}

// The names of gRPC's status codes and of grpc.health.v1's, by number.
var (
	grpcStatuses = [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	grpcHealths = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
)

func name(names []string, n int) string {
	if n < len(names) {
		return names[n]
	}
	return fmt.Sprint(n)
}
