package worker

import "testing"

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
