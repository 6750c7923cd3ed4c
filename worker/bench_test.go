package worker

import (
	"fmt"
	"testing"
)

// BenchmarkForward times a kept-alive request through the whole worker. Client,
// proxy and server are goroutines of one process, and half of the time is the
// scheduler's between them: compare it with itself only.
func BenchmarkForward(b *testing.B) {
	origin := startOrigin(b, answers(okResponse))
	p := startProxy(b, "upstream = \"up\"\nrate_limit = [\"per_app\"]", upstreamOf(origin)+limitByApp)
	c := p.dial(b)
	request := []byte(getRequest)
	roundTrips(b, c, request, 100)
	b.ReportAllocs()
	b.ResetTimer()
	roundTrips(b, c, request, b.N)
}

// BenchmarkForwardBalanced is BenchmarkForward with all that balancing and
// limiting can add: what it takes more is their price.
func BenchmarkForwardBalanced(b *testing.B) {
	const limits = limitByApp + `
rate_limit "per_ip" {
  key       = client.ip
  rate      = "10000000/s"
  algorithm = "window"
  headers   = "ietf"
}
concurrency_limit "at_once" {
  key = client.ip
  max = 10
}
`
	for _, policy := range []string{"p2c", "maglev"} {
		b.Run(policy, func(b *testing.B) {
			more := fmt.Sprintf("policy = %q\n limits = { connections = 1000 }\n eject = { errors = 5 }", policy)
			if policy == "maglev" {
				more += "\n hash_key = \"${request.path} ${client.ip}\""
			}
			p := startProxy(b, "upstream = \"up\"\nrate_limit = [\"per_app\", \"per_ip\", \"at_once\"]",
				balanced(more, startOrigin(b, answers(okResponse)), startOrigin(b, answers(okResponse)))+limits)
			c := p.dial(b)
			request := []byte(getRequest)
			roundTrips(b, c, request, 100)
			b.ReportAllocs()
			b.ResetTimer()
			roundTrips(b, c, request, b.N)
		})
	}
}
