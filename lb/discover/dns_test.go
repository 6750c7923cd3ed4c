package discover

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// newQuery is what asks d.
func newQuery(t testing.TB, d DNS) *query {
	t.Helper()
	a, err := d.open()
	if err != nil {
		t.Fatal(err)
	}
	return a.(*query)
}

// lines is servers as a File would list them.
func lines(servers []server) string {
	var b strings.Builder
	for _, s := range servers {
		b.WriteString(s.line())
	}
	return b.String()
}

// closedPort is an address that refuses.
func closedPort(t *testing.T) string {
	t.Helper()
	p, err := net.ListenPacket("udp", ownAddress())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.LocalAddr().String()
}

func TestAddressesOfBothFamilies(t *testing.T) {
	names := serveNames(t)
	names.set("app.test.", host(60, "10.0.0.2"), host(60, "10.0.0.1"), host(30, "2001:db8::1"))
	r := newQuery(t, appAt(names.address)).ask(context.Background(), nil)
	want := "10.0.0.1:80 weight=1\n10.0.0.2:80 weight=1\n[2001:db8::1]:80 weight=1\n"
	if lines(r.servers) != want || r.ttl != 30*time.Second || r.err != nil {
		t.Errorf("got %s for %v, error %v; want %s for 30s", lines(r.servers), r.ttl, r.err, want)
	}
}

func TestService(t *testing.T) {
	names := serveNames(t)
	names.set("_http._tcp.app.test.",
		service(60, 20, 9, 8080, "c.test."), service(60, 10, 3, 80, "a.test."), service(60, 10, 0, 81, "b.test."),
		service(60, 10, 1, 82, "b.test."), service(60, 30, 1, 80, "gone.test."), service(60, 20, 1, 80, "a.test."))
	names.set("a.test.", host(50, "10.0.0.1"), host(60, "10.0.0.2"), host(60, "2001:db8::1"))
	names.set("b.test.", cname(40, "real.test."))
	names.set("real.test.", host(60, "10.0.0.3"))
	names.set("c.test.", host(60, "10.0.0.4"))
	r := newQuery(t, DNS{Name: "_http._tcp.app.test", Resolvers: []string{names.address}}).ask(context.Background(), nil)
	want := `10.0.0.1:80 weight=3
10.0.0.2:80 weight=3
10.0.0.3:81 weight=1
10.0.0.3:82 weight=1
[2001:db8::1]:80 weight=3
10.0.0.4:8080 weight=9 backup
`
	if lines(r.servers) != want || r.ttl != 40*time.Second || r.err != nil {
		t.Errorf("got %s for %v, error %v; want %s for 40s", lines(r.servers), r.ttl, r.err, want)
	}
	if want := `"gone.test." has no addresses`; r.warning != want {
		t.Errorf("warning is %q; want %q", r.warning, want)
	}
	if got := len(names.questions(dnsmessage.TypeA)); got != 4 {
		t.Errorf("%d questions for A; want one for each of 4 names", got)
	}
}

// Of a question that fails the servers are kept, the others' come and go.
func TestHalfAnAnswer(t *testing.T) {
	names := serveNames(t)
	names.set("app.test.", host(60, "10.0.0.2"))
	names.fail(dnsmessage.TypeAAAA, dnsmessage.RCodeServerFailure)
	known := []server{
		server4(1, 80),
		{netip.MustParseAddrPort("[2001:db8::1]:80"), 1, false},
		{netip.MustParseAddrPort("[2001:db8::1]:81"), 1, false},
	}
	r := newQuery(t, appAt(names.address)).ask(context.Background(), known)
	if want := "10.0.0.2:80 weight=1\n[2001:db8::1]:80 weight=1\n"; lines(r.servers) != want {
		t.Errorf("got %s; want %s", lines(r.servers), want)
	}
	if want := "resolver " + names.address + ": SERVFAIL"; r.err == nil || r.err.Error() != want {
		t.Errorf("got error %v; want %s", r.err, want)
	}
}

func TestAnswersWithoutServers(t *testing.T) {
	names := serveNames(t)
	names.set("empty.test.")
	names.set("_x._tcp.none.test.", service(60, 0, 0, 80, "."))
	names.set("_x._tcp.gone.test.", service(60, 0, 0, 80, "gone.test."))
	for name, want := range map[string]string{
		"gone.test": "no such name", "empty.test": "no such records",
		"_x._tcp.none.test": "no such records", "_x._tcp.gone.test": "no such name",
	} {
		r := newQuery(t, DNS{Name: name, Port: 80, Resolvers: []string{names.address}}).ask(context.Background(), nil)
		if r.err == nil || r.err.Error() != want || r.servers != nil {
			t.Errorf("%s: got %v, error %v; want error %s", name, r.servers, r.err, want)
		}
	}
}

func TestLargeAnswers(t *testing.T) {
	names := serveNames(t)
	for _, c := range []struct {
		records, want int
		network       string
	}{
		{70, 70, "udp"}, // fits into what EDNS0 allows, not into 512 bytes
		{200, 200, "tcp"},
		{maxServers, maxServers, "tcp"},
		{3000, maxServers, "tcp"},
	} {
		names.set("app.test.", hosts(60, c.records)...)
		r := newQuery(t, appAt(names.address)).ask(context.Background(), nil)
		if len(r.servers) != c.want || r.err != nil || (r.warning != "") != (c.want < c.records) {
			t.Errorf("%d records: got %d servers, error %v, warning %q; want %d", c.records, len(r.servers), r.err, r.warning, c.want)
		}
		all := names.questions(dnsmessage.TypeA)
		if got := all[len(all)-1].network; got != c.network {
			t.Errorf("%d records: asked last over %s; want %s", c.records, got, c.network)
		}
	}
	// Whatever the order, the first are the same.
	first := newQuery(t, appAt(names.address)).ask(context.Background(), nil)
	records := hosts(60, 3000)
	slices.Reverse(records)
	names.set("app.test.", records...)
	if again := newQuery(t, appAt(names.address)).ask(context.Background(), nil); !slices.Equal(first.servers, again.servers) {
		t.Error("in another order: got other servers; want the same")
	}
}

// What is hostile, wrong or broken ends in an error, in time; what comes before
// the true answer without being one is passed over.
func TestHostileAnswers(t *testing.T) {
	edit := func(change func(m *dnsmessage.Message)) func(string, dnsmessage.Message, []byte) [][]byte {
		return func(_ string, _ dnsmessage.Message, honest []byte) [][]byte {
			var m dnsmessage.Message
			if err := m.Unpack(honest); err != nil {
				panic(err)
			}
			change(&m)
			return [][]byte{pack(m), honest}
		}
	}
	only := func(change func(m *dnsmessage.Message)) func(string, dnsmessage.Message, []byte) [][]byte {
		return func(network string, q dnsmessage.Message, honest []byte) [][]byte {
			return edit(change)(network, q, honest)[:1]
		}
	}
	poison := []dnsmessage.Resource{named("app.test.", host(60, "10.6.6.6"))}
	for _, c := range []struct {
		name   string
		mangle func(network string, query dnsmessage.Message, honest []byte) [][]byte
		want   string // the error; empty: the true answer
	}{
		{"wrong id before the answer", edit(func(m *dnsmessage.Message) { m.ID++; m.Answers = poison }), ""},
		{"wrong question before the answer", edit(func(m *dnsmessage.Message) {
			m.Questions[0].Name = dnsmessage.MustNewName("b.test.")
			m.Answers = poison
		}), ""},
		{"garbage before the answer", func(_ string, _ dnsmessage.Message, honest []byte) [][]byte {
			return [][]byte{{}, {1, 2, 3}, make([]byte, 512), honest}
		}, ""},
		{"a flood of aliens", func(_ string, _ dnsmessage.Message, honest []byte) [][]byte {
			return slices.Repeat([][]byte{{1, 2, 3}}, maxAliens)
		}, "the answer is to another question"},
		{"truncated over TCP too", only(func(m *dnsmessage.Message) { m.Truncated = true }), "the answer is truncated"},
		{"malformed", func(_ string, _ dnsmessage.Message, honest []byte) [][]byte {
			return [][]byte{promising(honest, 10_000)}
		}, "the answer is malformed"},
		{"10,000 records promised over TCP", func(network string, q dnsmessage.Message, honest []byte) [][]byte {
			if network == "udp" {
				return [][]byte{pack(dnsmessage.Message{Header: replyTo(q, true), Questions: q.Questions})}
			}
			return [][]byte{promising(honest, 10_000)}
		}, "the answer is malformed"},
		{"CNAME loop", only(func(m *dnsmessage.Message) {
			m.Answers = []dnsmessage.Resource{named("app.test.", cname(60, "b.test.")), named("b.test.", cname(60, "app.test."))}
		}), "the answer has over 16 CNAMEs in a row"},
		{"compression bomb", func(_ string, _ dnsmessage.Message, honest []byte) [][]byte {
			return [][]byte{bomb(honest)}
		}, "the answer is malformed"},
		{"refused", only(func(m *dnsmessage.Message) { m.RCode, m.Answers = dnsmessage.RCodeRefused, nil }), "REFUSED"},
		{"nothing over TCP", func(network string, q dnsmessage.Message, honest []byte) [][]byte {
			if network == "udp" {
				return [][]byte{pack(dnsmessage.Message{Header: replyTo(q, true), Questions: q.Questions})}
			}
			return nil
		}, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := serveNames(t)
			names.set("app.test.", host(60, "10.0.0.1"))
			names.lie(c.mangle)
			began := time.Now()
			server := netip.MustParseAddrPort(names.address)
			a, err := exchange(context.Background(), server, 5*time.Second, question(appName, dnsmessage.TypeA))
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %v; want no waiting", took)
			}
			switch {
			case c.want != "" && (err == nil || err.Error() != c.want):
				t.Errorf("got %v, error %v; want %s", a.addrs, err, c.want)
			case c.want == "" && (err != nil || fmt.Sprint(a.addrs) != "[10.0.0.1]"):
				t.Errorf("got %v, error %v; want 10.0.0.1", a.addrs, err)
			}
		})
	}
}

// bomb is a response with names that are chains of pointers as long as fits
// (RFC 1035 section 4.1.4).
func bomb(b []byte) []byte {
	b = b[:12+int(appName.Length)+1+4]
	b = promising(b, 65535)
	for at := len(b); len(b) < 4000; at += 2 {
		b = append(b, 0xc0|byte((at+2)>>8), byte(at+2))
	}
	return b
}

func TestSilentResolverIsPassedOver(t *testing.T) {
	t.Parallel()
	silent, names := serveNames(t), serveNames(t)
	silent.lie(func(string, dnsmessage.Message, []byte) [][]byte { return nil })
	names.set("app.test.", host(60, "10.0.0.1"))
	q := newQuery(t, appAt(silent.address, closedPort(t), names.address))
	for i, limit := range []time.Duration{2 * patience[0], patience[0] / 2} {
		began := time.Now()
		r := q.ask(context.Background(), nil)
		if r.err != nil || len(r.servers) != 1 {
			t.Errorf("query %d: got %v, error %v; want one server", i+1, r.servers, r.err)
		}
		if took := time.Since(began); took > limit {
			t.Errorf("query %d took %v; want the server asked first that answered last, within %v", i+1, took, limit)
		}
	}
	if got := len(silent.questions(dnsmessage.TypeA)); got != 1 {
		t.Errorf("the silent resolver was asked %d times; want once", got)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	silent := serveNames(t)
	silent.lie(func(string, dnsmessage.Message, []byte) [][]byte { return nil })
	closed := closedPort(t)
	for _, c := range []struct {
		resolver, want string
		limit          time.Duration
	}{
		{silent.address, "resolver " + silent.address + ": no answer in time", patience[0] + patience[1] + time.Second},
		{closed, "resolver " + closed + ": connection refused", time.Second},
	} {
		began := time.Now()
		r := newQuery(t, appAt(c.resolver)).ask(context.Background(), nil)
		if r.err == nil || r.err.Error() != c.want {
			t.Errorf("got error %v; want %s", r.err, c.want)
		}
		if took := time.Since(began); took > c.limit {
			t.Errorf("it took %v; want at most %v", took, c.limit)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	newQuery(t, appAt(silent.address)).ask(ctx, nil)
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("cut off, it took %v; want an end at once", took)
	}
}

func TestResolversOfResolvConf(t *testing.T) {
	q := newQuery(t, appAt())
	if q.resolver.conf != "/etc/resolv.conf" {
		t.Errorf("servers are read from %q", q.resolver.conf)
	}
	q.resolver.conf = filepath.Join(t.TempDir(), "resolv.conf")
	if r := q.ask(context.Background(), nil); r.err == nil || !strings.Contains(r.err.Error(), "no such file") {
		t.Errorf("no file: got error %v", r.err)
	}
	if err := os.WriteFile(q.resolver.conf, []byte("search example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := q.ask(context.Background(), nil); r.err == nil || !strings.Contains(r.err.Error(), "has no nameserver") {
		t.Errorf("no name server in it: got error %v", r.err)
	}
}

func TestDNSThatIsNone(t *testing.T) {
	for _, c := range []struct {
		dns  DNS
		want string
	}{
		{DNS{Name: "", Port: 80}, `"" is not a name`},
		{DNS{Name: ".", Port: 80}, `"." is not a name`},
		{DNS{Name: "a..b", Port: 80}, `"a..b" is not a name`},
		{DNS{Name: strings.Repeat("a", 64) + ".test", Port: 80}, `.test" is not a name`},
		{DNS{Name: strings.Repeat("a.", 200), Port: 80}, `" is not a name`},
		{DNS{Name: "app.test"}, "port 0 is not from 1 to 65535"},
		{DNS{Name: "app.test", Port: 65536}, "port 65536 is not from 1 to 65535"},
		{DNS{Name: "app.test", Port: 80, Resolvers: []string{"10.0.0.1"}}, `resolver "10.0.0.1": want "ip:port"`},
		{DNS{Name: "app.test", Port: 80, Resolvers: []string{"dns.test:53"}}, `resolver "dns.test:53": want "ip:port"`},
	} {
		if _, err := c.dns.open(); err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%+v: got error %v; want %s", c.dns, err, c.want)
		}
	}
}
