package http1

import "strings"

// A HeaderEdit is a set of field names that a route takes out of the heads that
// it forwards, to drop the fields or to put others in their place. Names compare
// without case. A nil HeaderEdit takes out nothing; none changes once it is made,
// so that all exchanges share it.
type HeaderEdit struct {
	kinds  kindSet // of the names that have a kind
	others [editBuckets][]string
}

const editBuckets = 32 // a power of two

// NewHeaderEdit returns the set of the given names. Those that frame or route a
// message, are for one hop only, or are the proxy's own (Host, Content-Length,
// Via, Connection and the like) are not in it, whatever it is given.
func NewHeaderEdit(remove []string) *HeaderEdit {
	const fixed = hopByHop | 1<<KindHost | 1<<KindContentLength | 1<<KindVia
	e := new(HeaderEdit)
	for _, name := range remove {
		name = strings.ToLower(name)
		switch k := kindOf([]byte(name)); {
		case name == "" || fixed.has(k):
		case k != KindOther:
			e.kinds |= k.set()
		default:
			b := bucket([]byte(name))
			e.others[b] = append(e.others[b], name)
		}
	}
	return e
}

// bucket spreads names that differ in length or first letter, as most do.
func bucket(name []byte) int { return (len(name) ^ int(name[0]|0x20)<<1) % editBuckets }

// takes returns the kinds in the set.
func (e *HeaderEdit) takes() kindSet {
	if e == nil {
		return 0
	}
	return e.kinds
}

// strike marks the fields whose name is in the set and has no kind, as if
// Connection had named them, and returns the kinds in the set. The loops that
// leave fields out go by kind alone, and cost nothing more where there is no set.
func (e *HeaderEdit) strike(fields []Field) kindSet {
	if e == nil {
		return 0
	}
	for i := range fields {
		if f := &fields[i]; f.Kind == KindOther && e.has(f.Name) {
			f.Kind = kindNamed
		}
	}
	return e.kinds
}

// has reports whether the set holds a name that has no kind.
func (e *HeaderEdit) has(name []byte) bool {
	if e == nil {
		return false
	}
	for _, s := range e.others[bucket(name)] {
		if equalFold(name, s) {
			return true
		}
	}
	return false
}

// AppendField appends the field line "name: value\r\n". It appends nothing and
// returns false if value has a control byte other than a tab: a value made of
// what a client sent cannot end the line. The name must be a token.
func AppendField(dst, name, value []byte) ([]byte, bool) {
	if fieldValueEnd(value, 0) < len(value) {
		return dst, false
	}
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...), true
}
