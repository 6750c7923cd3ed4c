package discover

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	resolvConf    = "/etc/resolv.conf"
	maxResolvConf = 64 << 10
	maxResolvers  = 3 // of resolv.conf, as in the C library
	dnsPort       = 53

	// maxAliens is how many datagrams that answer another question are read
	// while the answer to ours is awaited.
	maxAliens = 100
)

// patience is how long each resolver is given to answer, in the first and in the
// second round.
var patience = [...]time.Duration{time.Second, 2 * time.Second}

// A resolver puts questions to the first of several servers that answers.
type resolver struct {
	servers []netip.AddrPort // none: those of conf
	conf    string           // a resolv.conf, read for every question: it may change
	latest  atomic.Uint32    // index of the server that answered last; it is asked first
}

// ask puts the question for the records of that kind at name. An error that is
// nothing is an answer.
func (r *resolver) ask(ctx context.Context, name dnsmessage.Name, kind dnsmessage.Type) (answer, error) {
	servers := r.servers
	if len(servers) == 0 {
		var err error
		if servers, err = readResolvConf(r.conf); err != nil {
			return answer{}, err
		}
	}
	first := int(r.latest.Load())
	var failure error
	for _, wait := range patience {
		for i := range servers {
			n := (first + i) % len(servers)
			a, err := exchange(ctx, servers[n], wait, question(name, kind))
			if _, negative := errors.AsType[nothing](err); err == nil || negative {
				r.latest.Store(uint32(n))
				return a, err
			}
			if ctx.Err() != nil && failure != nil {
				return answer{}, failure // of a server that was given its time
			}
			failure = fmt.Errorf("resolver %v: %w", servers[n], err)
		}
	}
	return answer{}, failure
}

// exchange asks one server once: over UDP, and over TCP if the answer is too
// large for that.
func exchange(ctx context.Context, server netip.AddrPort, wait time.Duration, q dnsmessage.Question) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	a, err := over(ctx, "udp", server, q, readDatagrams)
	if errors.Is(err, errTruncated) {
		a, err = over(ctx, "tcp", server, q, readStream)
	}
	return a, plain(err)
}

// plain is err without the addresses of the connection and the call that met it,
// so that the same failure reads the same each time.
func plain(err error) error {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

// over asks over one connection of that network. The query's id and, over UDP,
// the port that the kernel chooses are what someone who cannot see the query
// would have to guess; a datagram from elsewhere than server is not received.
func over(ctx context.Context, network string, server netip.AddrPort, q dnsmessage.Question,
	read func(net.Conn, func(message []byte) (answer, error)) (answer, error),
) (answer, error) {
	var random [2]byte
	rand.Read(random[:])
	id := binary.NativeEndian.Uint16(random[:])
	query, err := appendQuery(make([]byte, 2, 512), id, q)
	if err != nil {
		return answer{}, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if network == "tcp" {
		binary.BigEndian.PutUint16(query, uint16(len(query)-2)) // RFC 1035 section 4.2.2
	} else {
		query = query[2:]
	}
	if _, err := conn.Write(query); err != nil {
		return answer{}, err
	}
	return read(conn, func(message []byte) (answer, error) { return parseAnswer(message, id, q) })
}

// readDatagrams reads datagrams until one is an answer to the question asked.
func readDatagrams(conn net.Conn, parse func([]byte) (answer, error)) (answer, error) {
	buffer := make([]byte, 4096)
	for range maxAliens {
		n, err := conn.Read(buffer)
		if err != nil {
			return answer{}, err
		}
		if a, err := parse(buffer[:n]); !errors.Is(err, errAlien) {
			return a, err
		}
	}
	return answer{}, errAlien
}

func readStream(conn net.Conn, parse func([]byte) (answer, error)) (answer, error) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return answer{}, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return answer{}, err
	}
	return parse(message)
}

// readResolvConf returns the name servers of a resolv.conf.
func readResolvConf(path string) ([]netip.AddrPort, error) {
	text, err := readBounded(path, maxResolvConf)
	if err != nil {
		return nil, err
	}
	servers := parseResolvConf(string(text))
	if len(servers) == 0 {
		return nil, fmt.Errorf("%s has no nameserver", path)
	}
	return servers, nil
}

func parseResolvConf(text string) []netip.AddrPort {
	var servers []netip.AddrPort
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(words[1]); err == nil && len(servers) < maxResolvers {
			servers = append(servers, netip.AddrPortFrom(addr, dnsPort))
		}
	}
	return servers
}

// parseResolver parses the address of a resolver, "ip:port".
func parseResolver(text string) (netip.AddrPort, error) {
	server, err := netip.ParseAddrPort(text)
	if err != nil || server.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf(`resolver %q: want "ip:port"`, text)
	}
	return server, nil
}
