package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// askLimit is how long all the questions of one query may take together.
	askLimit = 5 * time.Second

	// maxQuestions is how many of them are asked at once.
	maxQuestions = 8
)

// A DNS is a name that DNS knows the servers of. It is absolute: no search list
// is gone through, and neither is /etc/hosts.
//
// The name's A and AAAA records are servers at Port. If its first label starts
// with "_", its SRV records (RFC 2782) say which names and ports are: each
// address of a target is a server with the record's weight, and those of any
// but the best priority are backups. All is asked for anew when the shortest TTL
// in the answers is over, which counts as at least a second and at most an hour.
//
// NXDOMAIN and an answer without records are no reason to drop servers: they are
// what a zone that was loaded by half or a resolver that lost its upstream
// answers too, and servers that are really gone fail their health checks.
type DNS struct {
	Name      string
	Port      int      // of A and AAAA records: 1 to 65535
	Resolvers []string // "ip:port", in the order to try; none: those of /etc/resolv.conf
}

func (d DNS) String() string {
	if d.service() {
		return "dns " + d.Name
	}
	return fmt.Sprintf("dns %s:%d", d.Name, d.Port)
}

// service reports whether the name is that of a service, which has SRV records.
func (d DNS) service() bool { return strings.HasPrefix(d.Name, "_") }

func (d DNS) origin() string { return strings.Join(d.Resolvers, " ") }

func (d DNS) open() (asker, error) {
	name, err := dnsmessage.NewName(strings.TrimSuffix(d.Name, ".") + ".")
	if err == nil {
		// Packing is what checks the labels.
		_, err = appendQuery(nil, 0, question(name, dnsmessage.TypeA))
	}
	if err != nil || name.Length == 1 {
		return nil, fmt.Errorf("%.80q is not a name", d.Name)
	}
	if !d.service() && (d.Port < 1 || d.Port > 65535) {
		return nil, fmt.Errorf("port %d is not from 1 to 65535", d.Port)
	}
	q := &query{name: name, port: uint16(d.Port), service: d.service()}
	q.resolver.conf = resolvConf
	for _, text := range d.Resolvers {
		r, err := parseResolver(text)
		if err != nil {
			return nil, err
		}
		q.resolver.servers = append(q.resolver.servers, r)
	}
	return q, nil
}

// A query is all the questions whose answers together are the servers of a DNS.
type query struct {
	resolver resolver
	name     dnsmessage.Name
	port     uint16
	service  bool
}

// families are the kinds of records that addresses are in.
var families = [...]dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}

// outcomes is how the question for each of families ended.
type outcomes [len(families)]struct {
	answer
	err error
}

func (q *query) ask(ctx context.Context, known []server) reply {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	a := answer{ttl: maxTTL, targets: []target{{name: q.name, port: q.port, weight: 1}}}
	if q.service {
		var err error
		if a, err = q.resolver.ask(ctx, q.name, dnsmessage.TypeSRV); err != nil {
			return reply{err: err}
		}
		// More targets than servers: the last would go anyway.
		a.targets = a.targets[:min(len(a.targets), maxServers)]
	}
	return gather(a, q.addresses(ctx, a.targets), known)
}

// addresses asks for the addresses of each target, of each name once.
func (q *query) addresses(ctx context.Context, targets []target) map[dnsmessage.Name]*outcomes {
	found := make(map[dnsmessage.Name]*outcomes)
	for _, t := range targets {
		found[t.name] = new(outcomes)
	}
	gate := make(chan struct{}, maxQuestions)
	var asked sync.WaitGroup
	for name, o := range found {
		for i, family := range families {
			gate <- struct{}{}
			asked.Go(func() {
				o[i].answer, o[i].err = q.resolver.ask(ctx, name, family)
				<-gate
			})
		}
	}
	asked.Wait()
	return found
}

// gather makes servers of the addresses of targets. For a question that failed,
// the servers that it may have given before stay as they are known: those of its
// family and port.
func gather(a answer, found map[dnsmessage.Name]*outcomes, known []server) reply {
	r := reply{ttl: a.ttl}
	var kept []server
	var empty error
	for _, t := range a.targets {
		before := len(r.servers) + len(kept)
		for i, o := range found[t.name] {
			_, negative := errors.AsType[nothing](o.err)
			switch {
			case negative:
				empty = cmp.Or(empty, o.err)
			case o.err != nil:
				r.err = cmp.Or(r.err, o.err)
				kept = appendAlike(kept, known, t.port, families[i])
			default:
				r.ttl = min(r.ttl, o.ttl)
				r.servers = appendServers(r.servers, t, a.targets[0].priority, o.addrs)
			}
		}
		if len(r.servers)+len(kept) == before {
			r.warning = fmt.Sprintf("%.80q has no addresses", t.name.String())
		}
	}
	if len(r.servers) == 0 {
		return reply{err: cmp.Or(r.err, empty)}
	}
	r.servers = tidy(r.servers, kept)
	if n := len(r.servers); n > maxServers {
		r.servers = r.servers[:maxServers]
		r.warning = fmt.Sprintf("the answer has %d servers; the first %d are used", n, maxServers)
	}
	return r
}

func appendServers(servers []server, t target, best uint16, addrs []netip.Addr) []server {
	for _, addr := range addrs {
		servers = append(servers, server{netip.AddrPortFrom(addr, t.port), t.weight, t.priority != best})
	}
	return servers
}

// appendAlike appends those of known that have that port and family.
func appendAlike(servers, known []server, port uint16, family dnsmessage.Type) []server {
	for _, s := range known {
		if s.addr.Port() == port && s.addr.Addr().Is4() == (family == dnsmessage.TypeA) {
			servers = append(servers, s)
		}
	}
	return servers
}

// tidy puts servers into one order, whatever that of the answers was, primaries
// first, and drops what is there twice: a server is a primary if it can be, has
// its largest weight, and is as kept has it only if it is not among the found.
func tidy(found, kept []server) []server {
	known := make(map[netip.AddrPort]bool, len(found))
	for _, s := range found {
		known[s.addr] = true
	}
	for _, s := range kept {
		if !known[s.addr] {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b server) int {
		return cmp.Or(a.addr.Compare(b.addr), compareBool(a.backup, b.backup), cmp.Compare(b.weight, a.weight))
	})
	found = slices.CompactFunc(found, func(a, b server) bool { return a.addr == b.addr })
	slices.SortStableFunc(found, func(a, b server) int { return compareBool(a.backup, b.backup) })
	return found
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
