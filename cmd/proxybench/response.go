package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// A response is what the load generator has seen of the one it waits for.
type response struct {
	head   []byte // its beginning, if it came in pieces
	inBody bool
	left   int // bytes of the body still to come
}

// maxHead bounds a head; those here have 200 bytes.
const maxHead = 16 << 10

var errTooMuch = errors.New("more bytes than the response has")

// take consumes b and reports whether the response is complete: 200, with a body
// of size bytes.
func (r *response) take(b []byte, size int) (complete bool, err error) {
	if !r.inBody {
		if len(r.head) > 0 {
			r.head = append(r.head, b...)
			b = r.head
		}
		end := bytes.Index(b, []byte("\r\n\r\n"))
		switch {
		case end < 0 && len(b) > maxHead:
			return false, errors.New("a head without end")
		case end < 0:
			r.head = append(r.head[:0], b...)
			return false, nil
		}
		if err := checkHead(b[:end+2], size); err != nil {
			return false, err
		}
		r.inBody, r.left, r.head, b = true, size, r.head[:0], b[end+4:]
	}
	if r.left -= len(b); r.left < 0 {
		return false, errTooMuch
	}
	r.inBody = r.left > 0
	return r.left == 0, nil
}

// checkHead wants a 200 that announces size bytes. Each line of head ends in CRLF.
func checkHead(head []byte, size int) error {
	status, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("got %q; want 200", status)
	}
	for len(fields) > 0 {
		var line []byte
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		if !bytes.EqualFold(name, []byte("Content-Length")) {
			continue
		}
		if n, err := strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || n != size {
			return fmt.Errorf("Content-Length: got %q; want %d", value, size)
		}
		return nil
	}
	return errors.New("a response without Content-Length")
}
