package worker

import (
	"strconv"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/worker/http1"
)

// Value tells an expression about the exchange at hand: see config.Subject. The
// texts it makes stay as they are to the end of the exchange.
func (x *exchange) Value(v config.Var, name string) []byte {
	switch v {
	case config.Method:
		return x.req.Method
	case config.Scheme:
		return x.scheme
	case config.Host:
		return x.req.Host
	case config.Path:
		return x.req.Path
	case config.URI:
		return x.req.URI
	case config.Query:
		return x.req.Query(name)
	case config.Header:
		return x.req.Header(name)
	case config.Cookie:
		return x.req.Cookie(name)
	case config.RequestID:
		return x.requestID()
	case config.Proto:
		return x.proto()
	case config.ClientIP:
		return x.clientText()
	case config.ClientPort:
		if x.c.peer.IsValid() {
			return x.number(int64(x.c.peer.Port()))
		}
	case config.ListenerName:
		return x.service.name
	case config.RouteName:
		if x.route != nil {
			return x.route.name
		}
	case config.ClientCert, config.TLSVersion, config.TLSCipher, config.TLSServerName, config.TLSProtocol:
		if fact := x.c.fact(v, name); fact != "" {
			return x.text(func(b []byte) []byte { return append(b, fact...) })
		}
	default:
		return x.outcome(v, name)
	}
	return nil
}

// outcome tells what is known once there is a response.
func (x *exchange) outcome(v config.Var, name string) []byte {
	a := &x.account
	switch v {
	case config.ResponseStatus:
		return x.number(int64(a.status))
	case config.ResponseHeader:
		switch {
		case x.settled: // the head as it came is gone; the one that went out is not
			return http1.FieldIn(x.answer, name)
		case a.answered != 0:
			return x.resp.Header(name)
		}
	case config.ResponseBytes:
		return x.number(x.bytesOut())
	case config.RequestBytes:
		return x.number(x.bytesIn())
	case config.Attempts:
		return x.number(int64(a.attempts))
	case config.Duration:
		return x.seconds(time.Duration(x.t.Now() - a.start))
	case config.FirstByteDuration:
		if d := x.upstreamTime(); d > 0 {
			return x.seconds(d)
		}
	case config.UpstreamName:
		if x.upstream != nil {
			return x.upstream.name
		}
	case config.UpstreamAddress:
		if a.server != nil {
			return a.server.name
		}
	case config.TimeISO:
		return x.text(func(b []byte) []byte {
			return time.Unix(0, x.w.wall(a.start)).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
		})
	}
	return nil
}

func (x *exchange) number(n int64) []byte {
	return x.text(func(b []byte) []byte { return strconv.AppendInt(b, n, 10) })
}

func (x *exchange) seconds(d time.Duration) []byte {
	return x.text(func(b []byte) []byte { return strconv.AppendFloat(b, d.Seconds(), 'f', 6, 64) })
}

// text makes a text behind those made before.
func (x *exchange) text(appendTo func([]byte) []byte) []byte {
	n := len(x.numbers)
	x.numbers = appendTo(x.numbers)
	return x.numbers[n:]
}

// clientText is the address of the client; nil if nobody knows it.
func (x *exchange) clientText() []byte {
	if !x.client.IsValid() {
		return nil
	}
	if len(x.ip) == 0 {
		x.ip = x.client.AppendTo(x.ip)
	}
	return x.ip
}

func (x *exchange) proto() []byte {
	switch {
	case x.req.Method == nil:
		return nil // the head was no request
	case x.c.h2 != nil:
		return http20
	case x.req.Minor == 0:
		return http10
	}
	return http11
}

var (
	http10 = []byte("HTTP/1.0")
	http11 = []byte("HTTP/1.1")
	http20 = []byte("HTTP/2.0")
)
