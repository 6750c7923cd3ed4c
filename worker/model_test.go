package worker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The model says what may come of an exchange, whatever the client and the
// server send. It shares no code with the proxy: it reads what went over each
// connection by RFC 9112, strictly, and checks what it reads against net/http.

// An ending is how a connection ended, as the side that looks at it saw.
type ending int

const (
	stillOpen ending = iota
	byFIN
	byRST
)

// A modelField is a field line, the value without the blanks around it.
type modelField struct{ name, value string }

// A message is a request or a response.
type message struct {
	method, target string // of a request
	status         int    // of a response
	reason         string
	minor          int
	fields         []modelField
	body           []byte
	whole          bool // it is there to its end
	size           int  // of what is there, in bytes
	interim        int  // 1xx responses before it
	before         int  // their size, which is part of size
}

// values lists those of the fields called name.
func (m *message) values(name string) (list []string) {
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			list = append(list, f.value)
		}
	}
	return list
}

// upgrades reports whether m asks for a switch of protocols, or tells of one.
func (m *message) upgrades() bool { return len(m.values("Upgrade")) == 1 }

// readLines splits off lines up to an empty one. It returns 0 if that has not
// come.
func readLines(b []byte) (lines []string, n int, err error) {
	for {
		text, _, found := bytes.Cut(b[n:], []byte("\r\n"))
		if !found {
			return nil, 0, nil
		}
		n += len(text) + 2
		if len(text) == 0 {
			return lines, n, nil
		}
		if i := bytes.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
			return nil, 0, fmt.Errorf("line %q with a control byte", text)
		}
		lines = append(lines, string(text))
	}
}

func readFields(lines []string) (fields []modelField, err error) {
	for _, line := range lines {
		name, value, found := strings.Cut(line, ":")
		if !found || name == "" || strings.ContainsAny(name, " \t\"(),/;<=>?@[\\]{}") || strings.ContainsFunc(name, func(r rune) bool { return r > '~' }) {
			return nil, fmt.Errorf("field line %q", line)
		}
		fields = append(fields, modelField{name, strings.Trim(value, " \t")})
	}
	return fields, nil
}

// readHead reads all of m but its start line, and the start line apart. It
// returns nil if the head is not complete.
func readHead(b []byte) (m *message, line string, err error) {
	lines, n, err := readLines(b)
	if err != nil || n == 0 {
		return nil, "", err
	}
	if len(lines) == 0 {
		return nil, "", errors.New("no start line")
	}
	fields, err := readFields(lines[1:])
	return &message{fields: fields, size: n}, lines[0], err
}

// Lengths that are none.
const (
	chunks   = -1
	unframed = -2 // no field says anything
)

// readBody reads the body that stands behind the head of m in b.
func (m *message) readBody(b []byte, length int64) (err error) {
	rest := b[m.size:]
	if length != chunks {
		m.whole = int64(len(rest)) >= length
		m.body = rest[:min(int64(len(rest)), length)]
		m.size += len(m.body)
		return nil
	}
	n := 0
	m.body, n, m.whole, err = readChunks(rest)
	m.size += n
	return err
}

func readChunks(b []byte) (body []byte, n int, whole bool, err error) {
	for {
		line, _, found := bytes.Cut(b[n:], []byte("\r\n"))
		if !found {
			return body, len(b), false, nil
		}
		digits, extension, extended := strings.Cut(string(line), ";")
		if extended {
			digits = strings.TrimRight(digits, " \t")
		}
		size, err := strconv.ParseUint(digits, 16, 63)
		if err != nil || len(digits) > 16 || strings.ContainsFunc(extension, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return body, n, false, fmt.Errorf("chunk line %q", line)
		}
		n += len(line) + 2
		if size == 0 {
			lines, k, err := readLines(b[n:])
			if err == nil {
				_, err = readFields(lines)
			}
			if k == 0 || err != nil {
				return body, len(b), false, err
			}
			return body, n + k, true, nil
		}
		if uint64(len(b)-n) < size+2 {
			return append(body, b[n:min(uint64(len(b)), uint64(n)+size)]...), len(b), false, nil
		}
		body = append(body, b[n:n+int(size)]...)
		if n += int(size) + 2; string(b[n-2:n]) != "\r\n" {
			return body, n, false, errors.New("chunk data not ended by CRLF")
		}
	}
}

// framing returns the length of the body of m as its fields say it.
func (m *message) framing() (length int64, err error) {
	lengths, codings := m.values("Content-Length"), m.values("Transfer-Encoding")
	switch {
	case len(lengths)+len(codings) == 0:
		return unframed, nil
	case len(lengths)+len(codings) > 1:
		return 0, errors.New("more than one framing")
	case len(codings) == 1:
		if m.minor == 0 || !strings.EqualFold(codings[0], "chunked") {
			return 0, fmt.Errorf("transfer coding %q in HTTP/1.%d", codings[0], m.minor)
		}
		return chunks, nil
	}
	u, err := strconv.ParseUint(lengths[0], 10, 63)
	return int64(u), err
}

// readRequest reads a request at the start of b; nil if its head is not complete.
func readRequest(b []byte) (*message, error) {
	m, line, err := readHead(b)
	if err != nil || m == nil {
		return nil, err
	}
	words := strings.Split(line, " ")
	if len(words) != 3 || len(words[2]) != len("HTTP/1.1") || !strings.HasPrefix(words[2], "HTTP/1.") {
		return nil, fmt.Errorf("request line %q", line)
	}
	m.method, m.target, m.minor = words[0], words[1], int(words[2][7]-'0')
	length, err := m.framing()
	if err != nil {
		return nil, err
	}
	if length == unframed {
		length = 0
	}
	return m, m.readBody(b, length)
}

// readResponse reads the final response to a request of method at the start of
// b, and the interim ones before it; nil if its head is not complete. end is how
// the connection that carried b ended.
func readResponse(b []byte, method string, end ending) (*message, error) {
	interim, skipped := 0, 0
	for {
		m, line, err := readHead(b[skipped:])
		if err != nil || m == nil {
			return nil, err
		}
		if len(line) < 12 || !strings.HasPrefix(line, "HTTP/1.") || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
			return nil, fmt.Errorf("status line %q", line)
		}
		if m.status, err = strconv.Atoi(line[9:12]); err != nil || m.status < 100 || m.status > 999 {
			return nil, fmt.Errorf("status line %q", line)
		}
		m.minor, m.reason = int(line[7]-'0'), line[min(13, len(line)):]
		if m.status < 200 && m.status != 101 {
			interim, skipped = interim+1, skipped+m.size
			continue
		}
		m.interim, m.before = interim, skipped
		length, err := m.framing()
		if err != nil {
			return nil, err
		}
		rest := b[skipped:]
		switch {
		case m.status < 200, m.status == 204, m.status == 304, method == http.MethodHead:
			m.whole = true
		case length == unframed:
			m.body, m.size, m.whole = rest[m.size:], len(rest), end == byFIN
		default:
			err = m.readBody(rest, length)
		}
		m.size += skipped
		return m, err
	}
}

// requestsIn lists the requests that a client sends by b. What is no request, or
// only the start of one, stands as one more: it may be answered too.
func requestsIn(b []byte) (list []*message, ends []int) {
	for at := 0; ; {
		for skipped := 0; skipped < 2 && bytes.HasPrefix(b[at:], []byte("\r\n")); skipped++ {
			at += 2
		}
		if at == len(b) {
			return list, ends
		}
		m, err := readRequest(b[at:])
		if m == nil {
			m = &message{minor: 1}
			if bytes.HasPrefix(bytes.TrimLeft(b[at:], "\r\n"), []byte("HEAD ")) {
				m.method = http.MethodHead // which has no body in its answer, however bad the rest
			}
		}
		at += m.size
		list, ends = append(list, m), append(ends, at)
		if err != nil || !m.whole {
			m.whole = false
			return list, ends
		}
	}
}

// A hop is a connection from the proxy to a server.
type hop struct {
	in, out []byte // what the server was sent, and what it sent
	end     ending // how the server ended it

	asked   []*message // in, read
	done    []*message // the responses among out that are whole
	interim int        // responses among out, at most

	tunnel            bool // a 101 made it one
	afterIn, afterOut []byte
}

// read fills the other fields of h. It is an error if what the server was sent is
// not a series of requests, each sent when the one before had been answered.
func (h *hop) read() error {
	in, out := h.in, h.out
	for len(in) > 0 {
		q, err := readRequest(in)
		switch {
		case err != nil:
			return fmt.Errorf("a server got %q: %w", in, err)
		case q == nil:
			return fmt.Errorf("a server got a part of a head: %q", in)
		}
		if err := q.checkForwarded(in[:q.size]); err != nil {
			return fmt.Errorf("a server got %q: %w", in[:q.size], err)
		}
		h.asked = append(h.asked, q)
		in = in[q.size:]
		m, err := readResponse(out, q.method, h.end)
		if err != nil || m == nil || !m.whole || m.status == 101 && !q.upgrades() {
			if len(in) > 0 {
				return fmt.Errorf("a server got %q before it had answered", in)
			}
			h.interim += bytes.Count(out, []byte("HTTP/1."))
			return nil
		}
		out = out[m.size:]
		h.done, h.interim = append(h.done, m), h.interim+m.interim
		if m.status == 101 {
			h.tunnel, h.afterIn, h.afterOut = true, in, out
			return nil
		}
	}
	return nil
}

// checkForwarded checks a request that the proxy has forwarded as raw.
func (m *message) checkForwarded(raw []byte) error {
	if m.minor != 1 || len(m.values("Host")) != 1 {
		return errors.New("not HTTP/1.1 with one Host")
	}
	if via := m.values("Via"); len(via) == 0 || !strings.HasSuffix(via[len(via)-1], " proxyd") {
		return errors.New("no Via")
	}
	if err := m.checkHop("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer", "HTTP2-Settings"); err != nil {
		return err
	}
	if connection := m.values("Connection"); len(connection) != len(m.values("Upgrade")) || len(connection) > 1 {
		return fmt.Errorf("connection options %q", connection)
	}
	std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return nil // it knows fewer targets and hosts
	}
	if body, err := io.ReadAll(std.Body); m.whole && (err != nil || !bytes.Equal(body, m.body)) {
		return fmt.Errorf("net/http reads the body %q, %v; want %q", body, err, m.body)
	}
	return nil
}

// checkHop checks that m has none of the fields that are for one hop only.
func (m *message) checkHop(names ...string) error {
	for _, name := range names {
		if len(m.values(name)) > 0 {
			return fmt.Errorf("%s is for one hop", name)
		}
	}
	return nil
}

// A record is what went over the connections of one run.
type record struct {
	sent, got []byte // by the client, to the client
	end       ending // of the client's connection
	hops      []*hop
}

// judge returns what in r must not be.
func (r *record) judge() error {
	for _, h := range r.hops {
		if err := h.read(); err != nil {
			return err
		}
	}
	requests, ends := requestsIn(r.sent)
	if err := r.judgeForwarded(requests); err != nil {
		return err
	}
	return r.judgeDelivered(requests, ends)
}

// judgeForwarded checks that servers got what the client sent, in its order, and
// nothing twice that must not be sent twice.
func (r *record) judgeForwarded(requests []*message) error {
	for _, h := range r.hops {
		for _, f := range h.asked {
			i := slices.IndexFunc(requests, f.forwards)
			if i < 0 {
				return fmt.Errorf("a server got %s %s with %q; the client has not sent that, or not again", f.method, f.target, f.body)
			}
			if !idempotent([]byte(f.method)) {
				i++
			}
			requests = requests[i:]
		}
	}
	return nil
}

// forwards reports whether m can be q as a server gets it.
func (m *message) forwards(q *message) bool {
	if m.method != q.method || m.target != q.target && strings.HasPrefix(q.target, "/") {
		return false
	}
	if m.whole {
		return q.whole && bytes.Equal(m.body, q.body)
	}
	return bytes.HasPrefix(q.body, m.body)
}

// judgeDelivered checks what the client got for its requests, which end in what
// it sent at ends.
func (r *record) judgeDelivered(requests []*message, ends []int) error {
	var done []*message
	interim := 0
	for _, h := range r.hops {
		done, interim = append(done, h.done...), interim+h.interim
	}
	for b := r.got; len(b) > 0; requests, ends = requests[1:], ends[1:] {
		if len(requests) == 0 {
			return fmt.Errorf("the client got %q for no request", b)
		}
		q := requests[0]
		m, err := readResponse(b, q.method, r.end)
		switch {
		case err != nil:
			return fmt.Errorf("the client got %q: %w", b, err)
		case m == nil && r.end == byFIN && !onlyInterim(b):
			return fmt.Errorf("the client got a part of a head: %q", b)
		case m == nil || !m.whole:
			return nil // and the end of the connection says so
		}
		if interim -= m.interim; interim < 0 || m.interim > maxInterim || m.interim > 0 && q.minor == 0 {
			return fmt.Errorf("the client got %d interim responses to HTTP/1.%d; want no more than the server sent", m.interim, q.minor)
		}
		if err := m.checkDelivered(b[m.before:m.size], q.method); err != nil {
			return fmt.Errorf("the client got %q: %w", b[:m.size], err)
		}
		b = b[m.size:]
		if !m.own(q) {
			i := slices.IndexFunc(done, func(d *message) bool { return d.status == m.status && bytes.Equal(d.body, m.body) })
			if i < 0 {
				return fmt.Errorf("the client got %d %q, complete; no server has sent that", m.status, m.body)
			}
			done = done[i+1:]
		}
		if m.status == 101 {
			return r.judgeTunnel(r.sent[ends[0]:], b)
		}
		if slices.Contains(m.values("Connection"), "close") && len(b) > 0 {
			return fmt.Errorf("the client got %q behind the last response", b)
		}
	}
	return nil
}

// judgeTunnel is told what the client sent into a tunnel and got from it.
func (r *record) judgeTunnel(sent, got []byte) error {
	for _, h := range r.hops {
		if h.tunnel && bytes.HasPrefix(h.afterOut, got) && bytes.HasPrefix(sent, h.afterIn) {
			return nil
		}
	}
	return fmt.Errorf("the client sent %q into a tunnel and got %q; no server did the like", sent, got)
}

// onlyInterim reports whether b is whole interim responses.
func onlyInterim(b []byte) bool {
	for len(b) > 0 {
		_, n, err := readLines(b)
		if err != nil || n == 0 || !bytes.HasPrefix(b, []byte("HTTP/1.1 1")) {
			return false
		}
		b = b[n:]
	}
	return true
}

// checkDelivered checks the fields of a response that the client got as raw, and
// compares it with what net/http reads.
func (m *message) checkDelivered(raw []byte, method string) error {
	if err := m.checkHop("Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Trailer"); err != nil {
		return err
	}
	options := m.values("Connection")
	if m.status == 101 && len(options) == 1 && len(m.values("Upgrade")) == 1 {
		return nil // net/http knows no end of it
	}
	if len(options) > 1 || len(options) == 1 && options[0] != "close" && options[0] != "keep-alive" || len(m.values("Upgrade")) > 0 {
		return fmt.Errorf("connection options %q", options)
	}
	std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
	if err != nil {
		return err
	}
	body, err := io.ReadAll(std.Body)
	if err != nil || std.StatusCode != m.status || !bytes.Equal(body, m.body) {
		return fmt.Errorf("net/http reads %d %q, %v; want %d %q", std.StatusCode, body, err, m.status, m.body)
	}
	return nil
}

// ownStatuses are those that the proxy gives of itself when no limit is set.
var ownStatuses = []int{400, 405, 408, 414, 417, 431, 501, 502, 504, 505, 508}

// own reports whether m can be the proxy's own answer to q.
func (m *message) own(q *message) bool {
	own := slices.Contains(ownStatuses, m.status) || m.status == 200 && slices.Equal(q.values("Max-Forwards"), []string{"0"}) && q.method == "OPTIONS"
	types, lengths := m.values("Content-Type"), m.values("Content-Length")
	if !own || !slices.Equal(types, []string{"text/plain; charset=utf-8"}) || len(lengths) != 1 {
		return false
	}
	text := fmt.Sprintf("%d %s\n", m.status, m.reason)
	return lengths[0] == strconv.Itoa(len(text)) && (string(m.body) == text || q.method == http.MethodHead)
}
