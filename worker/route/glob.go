package route

import "strings"

// A glob is an automaton with one state per byte of its pattern, run in all
// states at once: a bit each, 64 to a word. Its cost is the length of the path
// times the words, whatever the two contain; backtracking could take a time that
// grows with a power of the length.
//
// State i means that the first i tokens match what was read. No two stars follow
// each other, since a run of them is one.
type glob struct {
	size     int        // tokens; also the state at the end
	stars    []uint64   // tokens that are * or **
	deep     []uint64   // tokens that are **
	alphabet string     // the bytes among the tokens; a slash, there or not, is first
	accept   [][]uint64 // tokens that are each byte of alphabet, at last: any other byte
}

// globWords is how many words of states have room on the stack: a pattern of 512
// tokens or more costs an allocation each time.
const globWords = 8

// Tokens that are not a byte.
const (
	anyByte = 256 + iota
	star
	deepStar
)

func newGlob(text string) *glob {
	tokens := globTokens(text)
	g := &glob{size: len(tokens), alphabet: "/"}
	for _, token := range tokens {
		if token < anyByte && strings.IndexByte(g.alphabet, byte(token)) < 0 {
			g.alphabet += string([]byte{byte(token)})
		}
	}
	words := g.size/64 + 1
	g.stars, g.deep = make([]uint64, words), make([]uint64, words)
	g.accept = make([][]uint64, len(g.alphabet)+1)
	for class := range g.accept {
		g.accept[class] = make([]uint64, words)
	}
	for i, token := range tokens {
		word, bit := i/64, uint64(1)<<(i%64)
		switch token {
		case deepStar:
			g.deep[word] |= bit
			g.stars[word] |= bit
		case star:
			g.stars[word] |= bit
		case anyByte:
			for class := 1; class < len(g.accept); class++ { // 0 is the slash
				g.accept[class][word] |= bit
			}
		default:
			g.accept[strings.IndexByte(g.alphabet, byte(token))][word] |= bit
		}
	}
	return g
}

// globTokens splits a pattern, and decodes its escapes: an encoded star is a byte
// as any other.
func globTokens(text string) (tokens []int) {
	for len(text) > 0 {
		literal := text
		if i := strings.IndexAny(text, "*?"); i >= 0 {
			literal = text[:i]
		}
		for _, c := range appendDecoded(nil, []byte(literal)) {
			tokens = append(tokens, int(c))
		}
		text = text[len(literal):]
		rest := strings.TrimLeft(text, "*")
		switch stars := len(text) - len(rest); {
		case stars > 1:
			tokens = append(tokens, deepStar)
		case stars == 1:
			tokens = append(tokens, star)
		case len(rest) > 0:
			tokens = append(tokens, anyByte)
			rest = rest[1:]
		}
		text = rest
	}
	return tokens
}

// match reports whether the whole path matches.
func (g *glob) match(path []byte) bool {
	var buf [globWords]uint64
	state := buf[:]
	if len(g.stars) > len(state) {
		state = make([]uint64, len(g.stars))
	}
	state = state[:len(g.stars)]
	state[0] = 1 | 1&g.stars[0]<<1
	for _, c := range path {
		class, stay := strings.IndexByte(g.alphabet, c), g.stars
		switch class {
		case -1:
			class = len(g.alphabet)
		case 0:
			stay = g.deep
		}
		if !g.step(state, g.accept[class], stay) {
			return false
		}
	}
	return state[g.size/64]>>(g.size%64)&1 == 1
}

// step reads one byte, given the tokens that match it once (accept) and those
// that match it and may go on (stay). It reports whether any state is left.
func (g *glob) step(state, accept, stay []uint64) bool {
	var carry, alive uint64
	for i, s := range state {
		passed := s & accept[i]
		next := s&stay[i] | passed<<1 | carry
		skipped := next & g.stars[i] // a star may match nothing more
		next |= skipped << 1
		carry = (passed | skipped) >> 63
		state[i] = next
		alive |= next
	}
	return alive != 0
}
