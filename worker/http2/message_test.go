package http2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proxyd/proxyd/worker/http1"
)

// A chunkReader decodes whole chunked bodies.
type chunkReader struct{ http1.Chunked }

func (r *chunkReader) all(t testing.TB, b []byte) (data, trailers []byte) {
	t.Helper()
	for {
		piece, n, done, err := r.Next(b)
		if err != nil || !done && n == 0 {
			t.Fatalf("chunked body: %v, rest %q", err, b)
		}
		data = append(data, piece...)
		if b = b[n:]; done {
			if len(b) > 0 {
				t.Fatalf("behind the chunked body: %q", b)
			}
			return data, r.Trailers()
		}
	}
}

var long = strings.Repeat("0123456789abcdef", 6000)

var messages = []struct {
	name                 string
	request, seen        string // as the client's owner writes it; as the server's reads it, chunks joined
	response, seenAnswer string
}{
	{
		name:       "get",
		request:    "GET /a?b HTTP/1.1\r\nHost: x.test\r\nAccept: */*\r\nX-Empty:\r\n\r\n",
		seen:       "GET /a?b HTTP/1.1\r\nHost: x.test\r\naccept: */*\r\nx-empty: \r\n\r\n",
		response:   ok,
		seenAnswer: ok,
	}, {
		name:       "head",
		request:    "HEAD / HTTP/1.1\r\nHost: x.test\r\n\r\n",
		seen:       "HEAD / HTTP/1.1\r\nHost: x.test\r\n\r\n",
		response:   "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: text/plain\r\n\r\n",
		seenAnswer: "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 1234\r\n\r\n",
	}, {
		name:       "no content",
		request:    "DELETE /x HTTP/1.1\r\nHost: x.test\r\n\r\n",
		seen:       "DELETE /x HTTP/1.1\r\nHost: x.test\r\n\r\n",
		response:   "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
		seenAnswer: "HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n",
	}, {
		name:       "not modified",
		request:    "GET / HTTP/1.1\r\nHost: x.test\r\nIf-None-Match: \"a\"\r\n\r\n",
		seen:       "GET / HTTP/1.1\r\nHost: x.test\r\nif-none-match: \"a\"\r\n\r\n",
		response:   "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n",
		seenAnswer: "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\nContent-Length: 77\r\n\r\n",
	}, {
		name:       "post by length",
		request:    "POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 5\r\n\r\nhello",
		seen:       "POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 5\r\n\r\nhello",
		response:   "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nLocation: /1\r\n\r\n",
		seenAnswer: "HTTP/1.1 201 Created\r\nlocation: /1\r\nContent-Length: 0\r\n\r\n",
	}, {
		name:       "chunks and trailers",
		request:    "PUT / HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n",
		seen:       "PUT / HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\nabcde|x-sum: 5\r\n",
		response:   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n4\r\nwxyz\r\n0\r\nGrpc-Status: 0\r\nGrpc-Message:\r\n\r\n",
		seenAnswer: "HTTP/1.1 200 OK\r\ntrailer: grpc-status\r\nTransfer-Encoding: chunked\r\n\r\nwxyz|grpc-status: 0\r\ngrpc-message: \r\n",
	}, {
		name:       "length and trailers",
		request:    "PUT / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 2\r\n\r\nab",
		seen:       "PUT / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 2\r\n\r\nab",
		response:   "HTTP/1.1 200 OK\r\nTrailer: a\r\nContent-Length: 4\r\n\r\nwxyz",
		seenAnswer: "HTTP/1.1 200 OK\r\ntrailer: a\r\nTransfer-Encoding: chunked\r\n\r\nwxyz|",
	}, {
		name:       "empty chunked bodies",
		request:    "POST / HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		seen:       "POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 0\r\n\r\n",
		response:   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n",
		seenAnswer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|a: b\r\n",
	}, {
		name:       "interim",
		request:    "POST / HTTP/1.1\r\nHost: x.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
		seen:       "POST / HTTP/1.1\r\nHost: x.test\r\nexpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
		response:   "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok,
		seenAnswer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + ok,
	}, {
		name: "fields of the connection",
		request: "OPTIONS * HTTP/1.1\r\nHost: x.test\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n" +
			"Proxy-Connection: a\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\nTE: gzip\r\nCookie: a=b; c=d\r\nVia: 1.1 proxyd\r\n\r\n",
		seen:       "OPTIONS * HTTP/1.1\r\nHost: x.test\r\nvia: 1.1 proxyd\r\ncookie: a=b; c=d\r\n\r\n",
		response:   "HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: 5\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nok",
		seenAnswer: "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nset-cookie: c=d\r\nContent-Length: 2\r\n\r\nok",
	}, {
		name: "gRPC without a message",
		request: "POST /s/m HTTP/1.1\r\nHost: x.test\r\nContent-Type: application/grpc+proto\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"5\r\n\x00\x00\x00\x00\x00\r\n0\r\n\r\n",
		seen: "POST /s/m HTTP/1.1\r\nHost: x.test\r\ncontent-type: application/grpc+proto\r\nte: trailers\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"\x00\x00\x00\x00\x00|",
		response:   "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: 12\r\nContent-Length: 0\r\n\r\n",
		seenAnswer: "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 12\r\nContent-Length: 0\r\n\r\n",
	}, {
		name:       "secrets",
		request:    "GET / HTTP/1.1\r\nHost: x.test\r\nAuthorization: Basic YTpi\r\nCookie: a\r\n\r\n",
		seen:       "GET / HTTP/1.1\r\nHost: x.test\r\nauthorization: Basic YTpi\r\ncookie: a\r\n\r\n",
		response:   "HTTP/1.1 499 Odd\r\nSet-Cookie: s\r\nContent-Length: 0\r\n\r\n",
		seenAnswer: "HTTP/1.1 499 Status\r\nset-cookie: s\r\nContent-Length: 0\r\n\r\n",
	}, {
		name:       "head in many frames",
		request:    "GET / HTTP/1.1\r\nHost: x.test\r\nX-Long: " + long[:40000] + "\r\n\r\n",
		seen:       "GET / HTTP/1.1\r\nHost: x.test\r\nx-long: " + long[:40000] + "\r\n\r\n",
		response:   "HTTP/1.1 200 OK\r\nX-Long: " + long[:50000] + "\r\nContent-Length: 0\r\n\r\n",
		seenAnswer: "HTTP/1.1 200 OK\r\nx-long: " + long[:50000] + "\r\nContent-Length: 0\r\n\r\n",
	}, {
		name:       "long bodies",
		request:    fmt.Sprintf("POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: %d\r\n\r\n%s", len(long), long),
		seen:       fmt.Sprintf("POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: %d\r\n\r\n%s", len(long), long),
		response:   fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1\r\nx\r\n0\r\n\r\n", len(long), long),
		seenAnswer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + long + "x|",
	},
}

// What one side writes the other reads, however writes, transport and reads cut
// it and however small the windows are.
func TestMessages(t *testing.T) {
	for _, m := range messages {
		for _, lim := range []*Limits{nil, {StreamWindow: 1}, {StreamWindow: 1000}} {
			for _, step := range []int{1, 2, 3, 7, 100, 1 << 20} {
				if len(m.request) > 1000 && step < 100 {
					continue
				}
				if lim != nil && lim.StreamWindow == 1 && len(m.request) > 50000 {
					continue
				}
				t.Run(fmt.Sprintf("%s/by %d/%v", m.name, step, lim), func(t *testing.T) {
					p := newPair(t, lim, lim)
					p.step = min(step, 5000)
					for range 3 { // HPACK says it in other words each time
						server, client := p.exchange(m.request, m.response, step)
						if got := dechunked(t, string(server.got)); got != m.seen {
							t.Fatalf("request: got %q; want %q", got, m.seen)
						}
						if got := dechunked(t, string(client.got)); got != m.seenAnswer {
							t.Fatalf("response: got %q; want %q", got, m.seenAnswer)
						}
					}
				})
			}
		}
	}
}
