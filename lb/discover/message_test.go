package discover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const testID = 0x1234

var appName = dnsmessage.MustNewName("app.test.")

func TestAppendQuery(t *testing.T) {
	b, err := appendQuery(nil, testID, question(appName, dnsmessage.TypeAAAA))
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	if m.ID != testID || m.Response || !m.RecursionDesired || len(m.Questions) != 1 || m.Questions[0] != question(appName, dnsmessage.TypeAAAA) {
		t.Errorf("got %s; want one question for AAAA of app.test", m.GoString())
	}
	if got := udpSizeOf(m); got != udpSize {
		t.Errorf("EDNS0 says %d bytes; want %d", got, udpSize)
	}
}

// response is the message that answers a question for that kind at app.test.
func response(kind dnsmessage.Type, edit func(*dnsmessage.Message), answers ...dnsmessage.Resource) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: testID, Response: true},
		Questions: []dnsmessage.Question{question(appName, kind)},
		Answers:   answers,
	}
	for i := range m.Answers {
		if m.Answers[i].Header.Name.Length == 0 {
			m.Answers[i].Header.Name = appName
		}
	}
	if edit != nil {
		edit(&m)
	}
	return pack(m)
}

func named(name string, r dnsmessage.Resource) dnsmessage.Resource {
	r.Header.Name = dnsmessage.MustNewName(name)
	return r
}

// chain is n CNAMEs in a row, the last first, and the address at their end.
func chain(n int) []dnsmessage.Resource {
	records := []dnsmessage.Resource{named(fmt.Sprintf("%d.test.", n), host(60, "10.0.0.1"))}
	for i := n; i > 0; i-- {
		name := fmt.Sprintf("%d.test.", i-1)
		if i == 1 {
			name = "app.test."
		}
		records = append(records, named(name, cname(60, fmt.Sprintf("%d.test.", i))))
	}
	return records
}

func TestParseAnswer(t *testing.T) {
	a, aaaa := dnsmessage.TypeA, dnsmessage.TypeAAAA
	one := host(60, "10.0.0.1")
	for _, c := range []struct {
		name    string
		kind    dnsmessage.Type
		message []byte
		addrs   string
		ttl     time.Duration
		err     string
	}{
		{"A", a, response(a, nil, one, host(30, "10.0.0.2")), "10.0.0.1 10.0.0.2", 30 * time.Second, ""},
		{"AAAA", aaaa, response(aaaa, nil, host(60, "2001:db8::1")), "2001:db8::1", time.Minute, ""},
		{"AAAA that is mapped", aaaa, response(aaaa, nil, host(60, "::ffff:10.0.0.1")), "10.0.0.1", time.Minute, ""},
		{"letter case", a, response(a, func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("APP.test.") }, one), "10.0.0.1", time.Minute, ""},
		{"TTL 0", a, response(a, nil, host(0, "10.0.0.1")), "10.0.0.1", minTTL, ""},
		{"TTL 2^31", a, response(a, nil, host(1<<31, "10.0.0.1")), "10.0.0.1", minTTL, ""},
		{"TTL 2^31-1", a, response(a, nil, host(1<<31-1, "10.0.0.1")), "10.0.0.1", maxTTL, ""},
		{"TTL of a CNAME", a, response(a, nil, cname(7, "b.test."), named("b.test.", one)), "10.0.0.1", 7 * time.Second, ""},
		{"CNAMEs, the last first", a, response(a, nil, chain(maxHops)...), "10.0.0.1", time.Minute, ""},
		{"too many CNAMEs", a, response(a, nil, chain(maxHops+1)...), "", 0, "the answer has over 16 CNAMEs in a row"},
		{"CNAME loop", a, response(a, nil, cname(60, "b.test."), named("b.test.", cname(60, "app.test."))), "", 0, "the answer has over 16 CNAMEs in a row"},
		{"CNAME to nowhere", a, response(a, nil, cname(60, "b.test.")), "", 0, "no such records"},
		{"another name's address", a, response(a, nil, one, named("b.test.", host(1, "10.6.6.6"))), "10.0.0.1", time.Minute, ""},
		{"another class", a, response(a, nil, one, func() dnsmessage.Resource {
			r := host(1, "10.6.6.6")
			r.Header.Class = dnsmessage.ClassCHAOS
			return r
		}()), "10.0.0.1", time.Minute, ""},
		{"nobody's addresses", a, response(a, nil, host(60, "0.0.0.0"), host(60, "224.0.0.1")), "", 0, "no such records"},
		{"no records", a, response(a, nil), "", 0, "no such records"},
		{"no such name", a, response(a, func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }), "", 0, "no such name"},
		{"failure", a, response(a, func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }, one), "", 0, "SERVFAIL"},
		{"truncated", a, response(a, func(m *dnsmessage.Message) { m.Truncated = true }, one), "", 0, errTruncated.Error()},
		{"another id", a, response(a, func(m *dnsmessage.Message) { m.ID++ }, one), "", 0, errAlien.Error()},
		{"a query", a, response(a, func(m *dnsmessage.Message) { m.Response = false }, one), "", 0, errAlien.Error()},
		{"another operation", a, response(a, func(m *dnsmessage.Message) { m.OpCode = 5 }, one), "", 0, errAlien.Error()},
		{"another type asked", a, response(aaaa, nil, one), "", 0, errAlien.Error()},
		{"another name asked", a, response(a, func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("b.test.") }, one), "", 0, errAlien.Error()},
		{"no question", a, response(a, func(m *dnsmessage.Message) { m.Questions = nil }, one), "", 0, errAlien.Error()},
		{"two questions", a, response(a, func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }, one), "", 0, errAlien.Error()},
		{"nothing", a, nil, "", 0, errAlien.Error()},
		{"cut short", a, cut(response(a, nil, one, one), 1), "", 0, errMalformed.Error()},
		{"more promised than there is", a, promising(response(a, nil, one), 10_000), "", 0, errMalformed.Error()},
		{"name that points to itself", a, pointing(response(a, nil, one)), "", 0, errMalformed.Error()},
	} {
		got, err := parseAnswer(c.message, testID, question(appName, c.kind))
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: got error %v; want %s", c.name, err, c.err)
			}
			continue
		}
		if err != nil || strings.Trim(fmt.Sprint(got.addrs), "[]") != c.addrs || got.ttl != c.ttl {
			t.Errorf("%s: got %v for %v, error %v; want %s for %v", c.name, got.addrs, got.ttl, err, c.addrs, c.ttl)
		}
	}
}

func cut(b []byte, n int) []byte { return b[:len(b)-n] }

// promising makes the header say that n answers follow.
func promising(b []byte, n uint16) []byte {
	binary.BigEndian.PutUint16(b[6:], n)
	return b
}

// pointing makes the name of the first answer a pointer to itself (RFC 1035
// section 4.1.4).
func pointing(b []byte) []byte {
	at := 12 + int(appName.Length) + 1 + 4 // behind header and question
	binary.BigEndian.PutUint16(b[at:], 0xc000|uint16(at))
	return b
}

func TestParseAnswerOfService(t *testing.T) {
	srv := dnsmessage.TypeSRV
	message := response(srv, nil,
		service(60, 20, 5, 80, "c.test."), service(60, 10, 0, 81, "a.test."),
		service(60, 10, 7, 82, "b.test."), service(60, 0, 1, 0, "port0.test."), service(60, 0, 1, 80, "."))
	got, err := parseAnswer(message, testID, question(appName, srv))
	if err != nil {
		t.Fatal(err)
	}
	want := []target{
		{dnsmessage.MustNewName("a.test."), 81, 10, 1},
		{dnsmessage.MustNewName("b.test."), 82, 10, 7},
		{dnsmessage.MustNewName("c.test."), 80, 20, 5},
	}
	if !slices.Equal(got.targets, want) {
		t.Errorf("got %v; want %v", got.targets, want)
	}
	_, err = parseAnswer(response(srv, nil, service(60, 0, 1, 80, ".")), testID, question(appName, srv))
	if _, negative := errors.AsType[nothing](err); !negative {
		t.Errorf("only the target that is none: got error %v; want one that there is nothing", err)
	}
}

func FuzzParseAnswer(f *testing.F) {
	a := dnsmessage.TypeA
	for _, seed := range [][]byte{
		response(a, nil, host(60, "10.0.0.1"), host(0, "10.0.0.2")),
		response(a, nil, chain(3)...),
		response(a, nil, cname(60, "b.test."), named("b.test.", cname(60, "app.test."))),
		pointing(response(a, nil, host(60, "10.0.0.1"))),
		promising(response(a, nil, host(60, "10.0.0.1")), 65535),
		response(dnsmessage.TypeSRV, nil, service(60, 1, 2, 3, "a.test."), service(1<<31, 1, 2, 3, ".")),
		response(dnsmessage.TypeAAAA, nil, host(60, "2001:db8::1")),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV} {
			got, err := parseAnswer(message, testID, question(appName, kind))
			if err != nil {
				continue
			}
			if got.ttl < minTTL || got.ttl > maxTTL {
				t.Errorf("TTL is %v", got.ttl)
			}
			if len(got.addrs)+len(got.targets) == 0 || len(got.addrs)+len(got.targets) > len(message)/11 {
				t.Errorf("%d records in %d bytes, and no error", len(got.addrs)+len(got.targets), len(message))
			}
			if slices.ContainsFunc(got.addrs, netip.Addr.Is4In6) || slices.ContainsFunc(got.addrs, netip.Addr.IsUnspecified) {
				t.Errorf("addresses are %v", got.addrs)
			}
			if slices.ContainsFunc(got.targets, func(t target) bool { return t.port == 0 || t.weight == 0 || t.name.Length < 2 }) {
				t.Errorf("targets are %v", got.targets)
			}
		}
	})
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("search example\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\n# nameserver 10.0.0.54\n")
	f.Add("nameserver\nnameserver 1.2.3\n")
	f.Fuzz(func(t *testing.T, text string) {
		servers := parseResolvConf(text)
		if len(servers) > maxResolvers {
			t.Errorf("got %d servers; want at most %d", len(servers), maxResolvers)
		}
		for _, s := range servers {
			if !s.IsValid() || s.Port() != dnsPort {
				t.Errorf("got %v", s)
			}
		}
	})
}

func TestParseResolvConf(t *testing.T) {
	text := "; generated\nsearch example\nnameserver 10.0.0.53 # first\n nameserver ::1\nnameserver x\nnameserver\nnameserver fe80::1%eth0\nnameserver 10.0.0.54\n"
	if got, want := fmt.Sprint(parseResolvConf(text)), "[10.0.0.53:53 [::1]:53 [fe80::1%eth0]:53]"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
