package discover

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// An answer is asked for anew when its TTL is over, but no more often and no
	// more seldom than this.
	minTTL = time.Second
	maxTTL = time.Hour

	// maxHops is how many CNAMEs may stand between a name and its records.
	maxHops = 16

	// udpSize is the largest answer that is asked for over UDP: what passes
	// without fragments nearly everywhere (dnsflagday.net/2020).
	udpSize = 1232
)

var (
	// errAlien marks a message that does not answer the question asked. Anyone
	// may have sent it: over UDP the answer may still come.
	errAlien     = errors.New("the answer is to another question")
	errTruncated = errors.New("the answer is truncated")
	errMalformed = errors.New("the answer is malformed")
)

// nothing is the error of an answer that says there is nothing: a name or
// records that do not exist.
type nothing string

func (n nothing) Error() string { return string(n) }

// An answer is what one question was answered with.
type answer struct {
	ttl     time.Duration // the least of the records that led to it
	addrs   []netip.Addr  // to a question for A or AAAA
	targets []target      // to a question for SRV, the best priority first
}

// A target is a name whose addresses are servers.
type target struct {
	name     dnsmessage.Name
	port     uint16
	priority uint16 // the least is the best; the others are backups
	weight   uint16
}

func question(name dnsmessage.Name, kind dnsmessage.Type) dnsmessage.Question {
	return dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}
}

// appendQuery appends the message that asks q, with EDNS0 (RFC 6891).
func appendQuery(b []byte, id uint16, q dnsmessage.Question) ([]byte, error) {
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions:   []dnsmessage.Question{q},
		Additionals: []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}},
	}
	return m.AppendPack(b)
}

// parseAnswer reads the message that answers the query with id for q.
func parseAnswer(message []byte, id uint16, q dnsmessage.Question) (answer, error) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil || header.ID != id || !header.Response || header.OpCode != 0 {
		return answer{}, errAlien
	}
	asked, err := p.Question()
	if err != nil || asked.Type != q.Type || asked.Class != q.Class || !same(asked.Name, q.Name) {
		return answer{}, errAlien
	}
	if err := p.SkipQuestion(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return answer{}, errAlien // one question was asked
	}
	switch {
	case header.Truncated:
		return answer{}, errTruncated
	case header.RCode == dnsmessage.RCodeNameError:
		return answer{}, nothing("no such name")
	case header.RCode != dnsmessage.RCodeSuccess:
		return answer{}, errors.New(rcode(header.RCode))
	}
	name, ttl, err := canonical(p, q.Name)
	if err != nil {
		return answer{}, err
	}
	return collect(p, question(name, q.Type), ttl)
}

// rcode names the codes that operators meet as the tools of DNS do.
func rcode(code dnsmessage.RCode) string {
	switch code {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return fmt.Sprintf("RCODE %d", code)
}

// canonical follows the CNAMEs in the answers that p is to read next from name
// to the name that has the records. A resolver sends them all (RFC 1034 section
// 5.2.2), in any order: p, a copy, is read from its start for each.
func canonical(p dnsmessage.Parser, name dnsmessage.Name) (dnsmessage.Name, time.Duration, error) {
	ttl := maxTTL
	for range maxHops + 1 {
		next, lives, err := alias(p, name)
		if err != nil {
			return name, 0, err
		}
		if next.Length == 0 {
			return name, ttl, nil
		}
		name, ttl = next, min(ttl, lives)
	}
	return name, 0, fmt.Errorf("the answer has over %d CNAMEs in a row", maxHops)
}

// alias returns what name is a CNAME of; the zero Name if it is none.
func alias(p dnsmessage.Parser, name dnsmessage.Name) (dnsmessage.Name, time.Duration, error) {
	for {
		h, err := p.AnswerHeader()
		switch {
		case errors.Is(err, dnsmessage.ErrSectionDone):
			return dnsmessage.Name{}, 0, nil
		case err != nil:
			return dnsmessage.Name{}, 0, errMalformed
		case h.Type == dnsmessage.TypeCNAME && h.Class == dnsmessage.ClassINET && same(h.Name, name):
			r, err := p.CNAMEResource()
			if err != nil {
				return dnsmessage.Name{}, 0, errMalformed
			}
			return r.CNAME, lifetime(h.TTL), nil
		}
		if p.SkipAnswer() != nil {
			return dnsmessage.Name{}, 0, errMalformed
		}
	}
}

// collect gathers the records that answer q itself.
func collect(p dnsmessage.Parser, q dnsmessage.Question, ttl time.Duration) (answer, error) {
	a := answer{ttl: ttl}
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return answer{}, errMalformed
		}
		if h.Type != q.Type || h.Class != q.Class || !same(h.Name, q.Name) {
			err = p.SkipAnswer()
		} else {
			a.ttl = min(a.ttl, lifetime(h.TTL))
			err = a.add(&p, h)
		}
		if err != nil {
			return answer{}, errMalformed
		}
	}
	slices.SortFunc(a.targets, func(x, y target) int { return cmp.Compare(x.priority, y.priority) })
	if len(a.addrs)+len(a.targets) == 0 {
		return answer{}, nothing("no such records")
	}
	return a, nil
}

// add reads the record whose header is h and adds it, unless no server can be
// where it says.
func (a *answer) add(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) error {
	switch h.Type {
	case dnsmessage.TypeA:
		r, err := p.AResource()
		if err != nil {
			return err
		}
		a.addAddress(netip.AddrFrom4(r.A))
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		if err != nil {
			return err
		}
		a.addAddress(netip.AddrFrom16(r.AAAA).Unmap())
	case dnsmessage.TypeSRV:
		r, err := p.SRVResource()
		if err != nil {
			return err
		}
		// The target "." says that there is no server (RFC 2782).
		if r.Port != 0 && r.Target.Length > 1 {
			a.targets = append(a.targets, target{r.Target, r.Port, r.Priority, max(r.Weight, 1)})
		}
	}
	return nil
}

func (a *answer) addAddress(addr netip.Addr) {
	if connectable(addr) {
		a.addrs = append(a.addrs, addr)
	}
}

// connectable reports whether a server can be at addr, which is not one mapped
// into IPv6.
func connectable(addr netip.Addr) bool { return !addr.IsUnspecified() && !addr.IsMulticast() }

// lifetime is a TTL within bounds. With its highest bit set it means zero (RFC
// 2181 section 8).
func lifetime(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		ttl = 0
	}
	return min(max(time.Duration(ttl)*time.Second, minTTL), maxTTL)
}

// same reports whether a and b are one name: letter case does not matter.
func same(a, b dnsmessage.Name) bool {
	return bytes.EqualFold(a.Data[:a.Length], b.Data[:b.Length])
}
