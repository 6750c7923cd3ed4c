package tlsconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Certificates are those of a listener by the names that they are for. They are
// not changed any more, and may be used by any goroutine.
type Certificates struct {
	exact    map[string]*tls.Certificate
	wildcard map[string]*tls.Certificate // by what follows the star: ".example.com"
	first    *tls.Certificate            // for names that none has, and for clients that tell none
	slow     map[*tls.Certificate]bool   // signing with them is not for the loop
}

// NewCertificates returns a choice among list, whose leaves are parsed. Of two
// that are for the same name the first is taken.
func NewCertificates(list []tls.Certificate) (*Certificates, error) {
	if len(list) == 0 {
		return nil, errors.New("no certificate")
	}
	s := &Certificates{
		exact:    make(map[string]*tls.Certificate),
		wildcard: make(map[string]*tls.Certificate),
		slow:     make(map[*tls.Certificate]bool),
	}
	for i := range list {
		c := list[i]
		if c.Leaf == nil {
			return nil, fmt.Errorf("certificate %d: its leaf is not parsed", i)
		}
		s.slow[&c] = slow(c.PrivateKey)
		if s.first == nil {
			s.first = &c
		}
		for _, name := range namesOf(&c) {
			into := s.exact
			if rest, ok := strings.CutPrefix(name, "*"); ok {
				name, into = rest, s.wildcard
			}
			if into[name] == nil {
				into[name] = &c
			}
		}
	}
	return s, nil
}

// namesOf are the DNS names that c is for. A common name counts only where there
// are none (RFC 6125 section 6.4.4).
func namesOf(c *tls.Certificate) []string {
	names := c.Leaf.DNSNames
	if len(names) == 0 && c.Leaf.Subject.CommonName != "" {
		names = []string{c.Leaf.Subject.CommonName}
	}
	lower := make([]string, len(names))
	for i, name := range names {
		lower[i] = strings.ToLower(name)
	}
	return lower
}

// names are all that a certificate of s is for, in order.
func (s *Certificates) names() []string {
	var all []string
	for name := range s.exact {
		all = append(all, name)
	}
	for name := range s.wildcard {
		all = append(all, "*"+name)
	}
	slices.Sort(all)
	return all
}

// Find returns the certificate for name: one for exactly that, else one for any
// name in its domain, else the first. It allocates nothing if name is in lower
// case.
func (s *Certificates) Find(name string) *tls.Certificate {
	name = strings.ToLower(name)
	if c := s.exact[name]; c != nil {
		return c
	}
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		if c := s.wildcard[name[dot:]]; c != nil {
			return c
		}
	}
	return s.first
}

// choose is Find for a handshake. It wraps the key if signing with it is slow.
func (s *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := s.Find(hello.ServerName)
	if a, ok := hello.Conn.(*adapter); ok && s.slow[c] {
		return (*Conn)(a).signingElsewhere(c), nil
	}
	return c, nil
}
