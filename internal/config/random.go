package config

import (
	"math/bits"
	"math/rand/v2"
	"strconv"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// sample builds sample(p): true with probability p. It has a new outcome each
// time, so it is no constant though its argument is.
func sample(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	p, err := strconv.ParseFloat(args[0].value, 64)
	if args[0].kind != numberNode || !args[0].constant || err != nil || p < 0 || p > 1 {
		return d.refuse(e.Args[0], "Invalid argument", "sample takes a number from 0 to 1, such as 0.01 for one in a hundred.")
	}
	return node{kind: boolNode, truth: func(Subject, *[]byte) bool { return rand.Float64() < p }}, true
}

// hashed builds hash(text): 16 hexadecimal digits, and hash(text, n): a number
// from 0 to n-1. Null stays null.
func hashed(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	const most = 1_000_000_000
	n, text := node{kind: textNode}, args[0].asText()
	if len(args) == 1 {
		n.text = hashOf(text, func(buf []byte, h uint64) []byte {
			for shift := 60; shift >= 0; shift -= 4 {
				buf = append(buf, "0123456789abcdef"[h>>shift&15])
			}
			return buf
		})
		return folded(n, args)
	}
	slots, ok := d.wholeNumber(e, args, 1, 1, most)
	if !ok {
		return node{}, false
	}
	n.kind = numberNode
	n.text = hashOf(text, func(buf []byte, h uint64) []byte {
		slot, _ := bits.Mul64(h, uint64(slots)) // as even as h % slots, from its high bits
		return strconv.AppendUint(buf, slot, 10)
	})
	return folded(n, args)
}

// hashOf returns the closure that appends the hash of text to buf by write.
func hashOf(text textFunc, write func(buf []byte, h uint64) []byte) textFunc {
	return func(s Subject, buf *[]byte) []byte {
		start := len(*buf)
		b := text(s, buf)
		*buf = (*buf)[:start]
		if b == nil {
			return nil
		}
		*buf = write(*buf, stableHash(b))
		return (*buf)[start:]
	}
}

// stableHash is the same in every process and version, so that what depends on
// it (which users see a canary) stays: FNV-1a of 64 bits, whose high bits hardly
// depend on the last bytes, mixed by the finaliser of MurmurHash3.
func stableHash(b []byte) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
