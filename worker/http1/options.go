package http1

import "bytes"

// maxOptions bounds the connection options of a head, empty ones included: each
// may be looked for among all fields.
const maxOptions = 32

// options are the connection options of a head (RFC 9110 section 7.6.1).
type options struct {
	close, keepAlive bool
	upgrade          bool
	named            bool // some name fields to remove
	count            int
}

// add reads the value of one Connection field.
func (o *options) add(list []byte) *Error {
	for len(list) > 0 {
		var opt []byte
		opt, list = member(list)
		if o.count++; o.count > maxOptions {
			return errManyOptions
		}
		switch {
		case len(opt) == 0:
		case equalFold(opt, "keep-alive"):
			o.keepAlive = true
		case equalFold(opt, "close"):
			o.close = true
		case equalFold(opt, "upgrade"):
			o.upgrade = true
		default:
			if err := o.name(opt); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *options) name(opt []byte) *Error {
	const prefix = "x-forwarded-"
	if !isToken(opt) {
		return errOption
	}
	k := kindOf(opt)
	if unremovable.has(k) || len(opt) > len(prefix) && equalFold(opt[:len(prefix)], prefix) {
		return errOptionField
	}
	if !hopByHop.has(k) { // which are removed anyway
		o.named = true
	}
	return nil
}

// strike marks the fields that connection options name.
func (o *options) strike(fields []Field) {
	if !o.named {
		return
	}
	for i := range fields {
		if fields[i].Kind != KindConnection {
			continue
		}
		for list := fields[i].Value; len(list) > 0; {
			var opt []byte
			opt, list = member(list)
			for j := range fields {
				if f := &fields[j]; !hopByHop.has(f.Kind) && bytes.EqualFold(f.Name, opt) {
					f.Kind = kindNamed
				}
			}
		}
	}
}
