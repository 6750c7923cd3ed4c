package worker

import (
	"strconv"

	"github.com/proxyd/proxyd/internal/config"
)

// Value tells an expression about the request at hand: see config.Subject.
func (x *exchange) Value(v config.Var, name string) []byte {
	switch v {
	case config.Method:
		return x.req.Method
	case config.Scheme:
		return scheme
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
	case config.ClientIP:
		if x.c.peer.IsValid() {
			x.ip = x.c.peer.Addr().AppendTo(x.ip[:0])
			return x.ip
		}
	case config.ClientPort:
		if x.c.peer.IsValid() {
			x.port = strconv.AppendUint(x.port[:0], uint64(x.c.peer.Port()), 10)
			return x.port
		}
	case config.Proto:
		if x.req.Minor == 0 {
			return http10
		}
		return http11
	case config.ListenerName:
		return x.service.name
	case config.RouteName:
		return x.route.name
	}
	return nil
}

var (
	http10 = []byte("HTTP/1.0")
	http11 = []byte("HTTP/1.1")
)
