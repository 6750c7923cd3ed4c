package discover

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer is a DNS server on loopback, over UDP and TCP. It is a recursive
// one for the names of its zone: it follows CNAMEs.
type nameServer struct {
	address string // "ip:port"

	mu     sync.Mutex
	zone   map[string][]dnsmessage.Resource // by lower-case name
	asked  []asked
	mangle func(network string, query dnsmessage.Message, honest []byte) [][]byte // nil: honest
	rcodes map[dnsmessage.Type]dnsmessage.RCode                                   // of types it fails at
	stop   func()
}

type asked struct {
	network string
	kind    dnsmessage.Type
	at      time.Time
}

func serveNames(t testing.TB) *nameServer {
	t.Helper()
	s := &nameServer{zone: make(map[string][]dnsmessage.Resource)}
	s.start(t, ownAddress())
	return s
}

var addressesGiven atomic.Uint32

// ownAddress is an "ip:0" of loopback that nobody else listens on: a port of it
// that is closed stays so until its owner opens it again.
func ownAddress() string {
	n := addressesGiven.Add(1)
	return fmt.Sprintf("127.%d.%d.%d:0", 1+os.Getpid()%250, n>>8, n&255)
}

// start listens on address, or again on the one it had.
func (s *nameServer) start(t testing.TB, address string) {
	t.Helper()
	var l net.Listener
	var p net.PacketConn
	for range 100 { // the port that TCP is given may be taken for UDP
		var err error
		if l, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
		if p, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	if p == nil {
		t.Fatal("no port that is free for TCP and UDP")
	}
	s.address = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() { s.serveUDP(p) })
	wg.Go(func() { s.serveTCP(l) })
	var once sync.Once
	s.stop = func() { once.Do(func() { l.Close(); p.Close(); wg.Wait() }) }
	t.Cleanup(s.stop)
}

func (s *nameServer) serveUDP(p net.PacketConn) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := p.ReadFrom(buffer)
		if err != nil {
			return
		}
		for _, message := range s.answer("udp", buffer[:n]) {
			_, _ = p.WriteTo(message, from)
		}
	}
}

func (s *nameServer) serveTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err == nil {
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, query); err == nil {
				for _, message := range s.answer("tcp", query) {
					_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
				}
			}
		}
		conn.Close()
	}
}

// answer returns the messages to send for query.
func (s *nameServer) answer(network string, query []byte) [][]byte {
	var q dnsmessage.Message
	if err := q.Unpack(query); err != nil || len(q.Questions) != 1 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, asked{network, q.Questions[0].Type, time.Now()})
	honest := s.honest(q)
	if network == "udp" && len(honest) > udpSizeOf(q) {
		honest = pack(dnsmessage.Message{Header: replyTo(q, true), Questions: q.Questions})
	}
	if s.mangle != nil {
		return s.mangle(network, q, honest)
	}
	return [][]byte{honest}
}

// udpSizeOf is what the client says that it takes over UDP.
func udpSizeOf(q dnsmessage.Message) int {
	for _, r := range q.Additionals {
		if r.Header.Type == dnsmessage.TypeOPT {
			return int(r.Header.Class)
		}
	}
	return 512
}

func replyTo(q dnsmessage.Message, truncated bool) dnsmessage.Header {
	return dnsmessage.Header{ID: q.ID, Response: true, RecursionDesired: true, RecursionAvailable: true, Truncated: truncated}
}

func (s *nameServer) honest(q dnsmessage.Message) []byte {
	asked := q.Questions[0]
	reply := dnsmessage.Message{Header: replyTo(q, false), Questions: q.Questions}
	reply.RCode = s.rcodes[asked.Type]
	name := strings.ToLower(asked.Name.String())
	for hops := 0; hops < 20 && reply.RCode == dnsmessage.RCodeSuccess; hops++ {
		records, known := s.zone[name]
		if !known {
			reply.RCode = dnsmessage.RCodeNameError
		}
		next := ""
		for _, r := range records {
			if r.Header.Type == asked.Type {
				reply.Answers = append(reply.Answers, r)
			}
			if alias, ok := r.Body.(*dnsmessage.CNAMEResource); ok {
				reply.Answers = append(reply.Answers, r)
				next = strings.ToLower(alias.CNAME.String())
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	return pack(reply)
}

func pack(m dnsmessage.Message) []byte {
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// set makes records those of name.
func (s *nameServer) set(name string, records ...dnsmessage.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range records {
		records[i].Header.Name = dnsmessage.MustNewName(name)
	}
	s.zone[name] = records
}

func (s *nameServer) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.zone, name)
}

func (s *nameServer) lie(mangle func(network string, query dnsmessage.Message, honest []byte) [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mangle = mangle
}

// fail makes questions of that kind end with code.
func (s *nameServer) fail(kind dnsmessage.Type, code dnsmessage.RCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcodes = map[dnsmessage.Type]dnsmessage.RCode{kind: code}
}

// questions are those of that kind so far.
func (s *nameServer) questions(kind dnsmessage.Type) []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []asked
	for _, a := range s.asked {
		if a.kind == kind {
			list = append(list, a)
		}
	}
	return list
}

func resource(kind dnsmessage.Type, ttl uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Type: kind, Class: dnsmessage.ClassINET, TTL: ttl}, Body: body}
}

// host is an A or AAAA record.
func host(ttl uint32, address string) dnsmessage.Resource {
	addr := netip.MustParseAddr(address)
	if addr.Is4() {
		return resource(dnsmessage.TypeA, ttl, &dnsmessage.AResource{A: addr.As4()})
	}
	return resource(dnsmessage.TypeAAAA, ttl, &dnsmessage.AAAAResource{AAAA: addr.As16()})
}

func cname(ttl uint32, name string) dnsmessage.Resource {
	return resource(dnsmessage.TypeCNAME, ttl, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(name)})
}

func service(ttl uint32, priority, weight, port uint16, name string) dnsmessage.Resource {
	return resource(dnsmessage.TypeSRV, ttl, &dnsmessage.SRVResource{
		Priority: priority, Weight: weight, Port: port, Target: dnsmessage.MustNewName(name),
	})
}

// hosts is n A records.
func hosts(ttl uint32, n int) []dnsmessage.Resource {
	list := make([]dnsmessage.Resource, n)
	for i := range list {
		list[i] = host(ttl, fmt.Sprintf("10.%d.%d.1", i>>8, i&255))
	}
	return list
}
