package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds of what a route changes in a message.
const (
	maxFields     = 128     // in a set or an add
	maxFieldName  = 256     // bytes
	maxFieldValue = 8 << 10 // bytes, if constant
)

// headerOps builds a request_headers or response_headers block, nil if there is
// none.
func (d *decoder) headerOps(s *section) HeaderOps {
	if s == nil {
		return HeaderOps{}
	}
	ops := HeaderOps{Set: get[[]HeaderOp](s, "set"), Add: get[[]HeaderOp](s, "add")}
	for _, it := range s.items("remove") {
		name := strings.ToLower(it.text)
		switch err := checkFieldName(name); {
		case err != nil:
			d.at(it.at, "Invalid header", "%v.", err)
		case strings.Contains(name, "*"):
			d.at(it.at, "Invalid header", "%q: patterns are not supported; name each header.", it.text)
		case slices.Contains(ops.Remove, name):
			d.at(it.at, "Duplicate value", "%q is in this list already.", it.text)
		default:
			ops.Remove = append(ops.Remove, name)
		}
		if len(ops.Remove) > maxFields {
			d.at(it.at, "Too many headers", "A list may have %d.", maxFields)
			break
		}
	}
	return ops
}

// fields reads an object of header fields.
func (d *decoder) fields(a *arg, e hclsyntax.Expression) (any, bool) {
	items, ok := d.pairs(a, e)
	if !ok {
		return nil, false
	}
	if len(items) > maxFields {
		d.at(e.Range(), "Too many headers", "%q may have %d.", a.name, maxFields)
		return nil, false
	}
	list, valid := []HeaderOp{}, true
	for _, item := range items {
		at := item.KeyExpr.Range()
		name, ok := keyName(item.KeyExpr)
		err := checkFieldName(strings.ToLower(name))
		switch {
		case !ok:
			d.at(at, "Invalid name", "The name of a header must be a plain text.")
		case err != nil:
			d.at(at, "Invalid header", "%v.", err)
			ok = false
		case a.name == "set" && slices.ContainsFunc(list, func(o HeaderOp) bool { return strings.EqualFold(o.Name, name) }):
			d.at(at, "Duplicate header", "%q is set already. Several values of one header are for \"add\".", name)
			ok = false
		}
		value, isValid := d.fieldValue(name, a.phase, item.ValueExpr)
		valid = valid && ok && isValid
		list = append(list, HeaderOp{name, value})
	}
	return list, valid
}

// fieldValue compiles the value of a field. One that is known is checked at
// once, others when they are.
func (d *decoder) fieldValue(name string, p phase, e hclsyntax.Expression) (*Expr, bool) {
	n, ok := d.compileFor(p, e)
	if !ok {
		return nil, false
	}
	if n.kind == nullNode {
		d.null(name, e.Range())
		return nil, false
	}
	if n.constant {
		if err := checkFieldValue(n.value); err != nil {
			d.at(e.Range(), "Invalid value", "The value of %q %v.", name, err)
			return nil, false
		}
	}
	return &Expr{eval: n.asText()}, true
}

// checkFieldValue says what is wrong with the value of a field (RFC 9110, 5.5),
// as the end of a sentence.
func checkFieldValue(s string) error {
	if len(s) > maxFieldValue {
		return fmt.Errorf("has %d bytes; it may have %d", len(s), maxFieldValue)
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return errors.New("has line breaks or control bytes, which would end the header")
		}
	}
	return nil
}

// checkFieldName says why a field, in lower case, is not for a route to change.
func checkFieldName(name string) error {
	switch {
	case strings.HasPrefix(name, ":"):
		return fmt.Errorf("%q is a pseudo header of HTTP/2, not a header", name)
	case len(name) > maxFieldName || !isToken(name):
		return fmt.Errorf("%q cannot be the name of a header", name)
	case strings.HasPrefix(name, "proxy-"):
		return fmt.Errorf("%q is between two neighbours and never forwarded", name)
	}
	switch name {
	case "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length":
		return fmt.Errorf("%q says how the message is sent, which is for the connection to know", name)
	case "via":
		return fmt.Errorf("%q is written by proxyd; its name there is via in the supervisor block", name)
	case "host":
		return fmt.Errorf("%q is not changed here: use host = in the upstream", name)
	}
	return nil
}
