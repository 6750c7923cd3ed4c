package worker

import (
	"bytes"
	"strconv"
	"time"

	"github.com/proxyd/proxyd/worker/http1"
)

// gRPC is HTTP/2 with trailers, and needs nothing of a proxy but that: except that
// its clients look for errors in grpc-status, say in a field how long they wait,
// and have streams on which nothing comes for long.

var grpcType = []byte("application/grpc")

// asksGRPC reports whether the request, which came by HTTP/2, is a call of gRPC.
func asksGRPC(q *http1.Request) bool {
	rest, ok := bytes.CutPrefix(q.Header("content-type"), grpcType)
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}

// The codes of gRPC that we answer with.
const (
	grpcUnknown          = 2
	grpcDeadlineExceeded = 4
	grpcPermissionDenied = 7
	grpcUnimplemented    = 12
	grpcInternal         = 13
	grpcUnavailable      = 14
	grpcUnauthenticated  = 16
)

// grpcStatus is what a client would take an answer with this HTTP status for
// (gRPC's table "HTTP to gRPC Status Code Mapping").
func grpcStatus(status int) int64 {
	switch status {
	case 400, 431:
		return grpcInternal
	case 401:
		return grpcUnauthenticated
	case 403:
		return grpcPermissionDenied
	case 404:
		return grpcUnimplemented
	case 429, 502, 503, 504:
		return grpcUnavailable
	}
	return grpcUnknown
}

// replyGRPC is reply to a call of gRPC: a 200 that has its trailers in the head.
func (x *exchange) replyGRPC(status int, extra []byte) bool {
	code := grpcStatus(status)
	if x.account.failure == errRequest {
		code = grpcDeadlineExceeded
	}
	x.extra = append(x.extra[:0], "Grpc-Status: "...)
	x.extra = append(strconv.AppendInt(x.extra, code, 10), "\r\nGrpc-Message: "...)
	x.extra = append(append(x.extra, http1.StatusText(status)...), "\r\n"...)
	x.extra = append(x.extra, extra...)
	return x.send(http1.Answer{Status: 200, Body: []byte{}, ContentType: string(grpcType), Extra: x.extra})
}

// grpcTimeout is how long the client of a call waits; 0: it does not say, or not
// as gRPC does.
func grpcTimeout(v []byte) time.Duration {
	if len(v) < 2 || len(v) > 9 {
		return 0
	}
	n := int64(0)
	for _, c := range v[:len(v)-1] {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + int64(c-'0')
	}
	unit := time.Duration(0)
	switch v[len(v)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0
	}
	if n > int64(maxGRPCTimeout/unit) {
		return maxGRPCTimeout
	}
	return max(time.Duration(n)*unit, 1) // 0 is over at once
}

// maxGRPCTimeout is as good as none, and no sum with it overflows.
const maxGRPCTimeout = 10_000 * time.Hour

// bound fixes when the exchange is given up, by the route and by the client.
func (x *exchange) bound() {
	if d := x.route.config.Timeouts.Request; d > 0 {
		x.deadline = x.t.After(d)
	}
	if !x.grpc {
		return
	}
	if d := grpcTimeout(x.req.Header("grpc-timeout")); d > 0 {
		x.deadline = earlier(x.t.After(d), x.deadline)
	}
}

// patience is how long nothing may come of a body: d, unless it is the stream of a
// call, on which there may be nothing to say.
func (x *exchange) patience(d time.Duration) int64 {
	if x.grpc {
		d = max(d, x.service.streamTimeout)
	}
	return int64(d)
}
