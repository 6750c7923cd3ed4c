package http2

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
)

// A socketKey is the Sec-WebSocket-Key of a handshake (RFC 6455 section 4.1).
// HTTP/2 has none: the key is between us and our owner.
type socketKey [24]byte

func newKey() (k socketKey) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	base64.StdEncoding.Encode(k[:], nonce[:])
	return k
}

// appendAccept appends the Sec-WebSocket-Accept that answers key.
func appendAccept(dst, key []byte) []byte {
	h := sha1.New()
	h.Write(key)
	h.Write([]byte("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.AppendEncode(dst, h.Sum(nil))
}
