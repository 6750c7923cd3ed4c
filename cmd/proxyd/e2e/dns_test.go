package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer answers every question with its addresses, over UDP.
type nameServer struct {
	t       *testing.T
	address string
	conn    net.PacketConn
	ended   chan struct{}

	mu        sync.Mutex
	addresses []netip.Addr
	asked     int
}

// nameTTL is how long its answers hold, in seconds.
const nameTTL = 1

func newNameServer(t *testing.T, addresses ...string) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(loopback(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{t: t, address: conn.LocalAddr().String(), conn: conn, ended: make(chan struct{})}
	s.set(addresses...)
	go s.serve()
	t.Cleanup(s.kill)
	return s
}

// kill ends it, once or twice.
func (s *nameServer) kill() {
	s.conn.Close()
	<-s.ended
}

// set changes the answer.
func (s *nameServer) set(addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses = nil
	for _, a := range addresses {
		s.addresses = append(s.addresses, netip.MustParseAddr(a))
	}
}

func (s *nameServer) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *nameServer) serve() {
	defer close(s.ended)
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		answer, err := s.answer(buf[:n])
		if err != nil {
			s.t.Errorf("question: %v", err)
			continue
		}
		_, _ = s.conn.WriteTo(answer, from) // lost on the way, for all that the asker knows
	}
}

func (s *nameServer) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	m.Response, m.Additionals = true, nil
	for _, a := range s.addresses {
		if m.Questions[0].Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: nameTTL},
				Body:   &dnsmessage.AResource{A: a.As4()},
			})
		}
	}
	return m.Pack()
}

// TestServersFromDNS has servers come and go by the addresses of a name, within
// the answer's time to live and a second, asks for them from one worker, and goes
// on with the last answer when nobody answers.
func TestServersFromDNS(t *testing.T) {
	p := newProxy(t)
	p.workers = 4
	hosts := []string{loopback(), loopback()}
	first := newOrigin(t, "first", net.JoinHostPort(hosts[0], "0"), nil, nil)
	port := portOf(first.address)
	newOrigin(t, "second", fmt.Sprintf("%s:%d", hosts[1], port), nil, nil)
	names := newNameServer(t, hosts[0])
	p.writeText(fmt.Sprintf(`
listener "web" {
  address = %q
  route "all" { upstream = "one" }
}
upstream "one" {
  discover "dns" {
    name      = "app.test"
    port      = %d
    resolvers = [%q]
  }
}
`, p.address, port, names.address))
	p.start()
	await(t, "the first answer", func() bool { return p.server() == "first" })
	const limit = nameTTL*time.Second + time.Second
	serve := func(want ...string) {
		t.Helper()
		began := time.Now()
		await(t, fmt.Sprintf("%v to serve", want), func() bool {
			got := p.tally(16)
			for _, name := range want {
				if got[name] == 0 {
					return false
				}
			}
			return len(got) == len(want)
		})
		if took := time.Since(began); took > limit+time.Second { // of a machine that has more to do
			t.Errorf("%v served after %v; want it within %v", want, took, limit)
		}
	}
	names.set(hosts...)
	serve("first", "second")
	names.set(hosts[1])
	serve("second")
	asked, began := names.questions(), time.Now()
	await(t, "more questions", func() bool { return names.questions() > asked+5 })
	if took := time.Since(began); took < 2*time.Second*nameTTL {
		t.Errorf("6 questions, for A and AAAA, took %v; want one worker to ask, once in %d s", took, nameTTL)
	}

	names.kill()
	before := p.counter("proxyd_discover_errors_total")
	await(t, "a query that failed", func() bool { return p.counter("proxyd_discover_errors_total") > before })
	if got := p.tally(16); got["second"] != 16 {
		t.Errorf("without an answer: got %v; want the server of the last one", got)
	}
	for _, pid := range p.pids() {
		kill(t, pid)
	}
	await(t, "the last answer after the death of all workers", func() bool { return p.server() == "second" })
}
