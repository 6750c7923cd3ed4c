package accesslog

import (
	"bytes"
	"strconv"
)

var space = []byte{' '}

// appendJSON appends r as one JSON object (RFC 8259), without a newline.
func (c *calendar) appendJSON(b []byte, r *Record) []byte {
	b = append(c.appendISO(append(b, `{"time":"`...), r.Time), '"')
	b = appendMember(b, `,"id":"`, r.ID, nameBytes)
	b = appendMember(b, `,"client":"`, r.Client, nameBytes)
	if r.ClientPort != 0 {
		b = strconv.AppendUint(append(b, `,"port":`...), uint64(r.ClientPort), 10)
	}
	b = appendMember(b, `,"method":"`, r.Method, nameBytes)
	b = appendMember(b, `,"scheme":"`, r.Scheme, nameBytes)
	b = appendMember(b, `,"host":"`, r.Host, nameBytes)
	b = appendMember(b, `,"uri":"`, r.URI, uriBytes)
	b = appendMember(b, `,"proto":"`, r.Proto, nameBytes)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	b = strconv.AppendInt(append(b, `,"in":`...), r.BytesIn, 10)
	b = strconv.AppendInt(append(b, `,"out":`...), r.BytesOut, 10)
	b = appendSeconds(append(b, `,"duration":`...), r.Duration)
	if r.FirstByte != 0 {
		b = appendSeconds(append(b, `,"first_byte":`...), r.FirstByte)
	}
	b = appendMember(b, `,"listener":"`, r.Listener, nameBytes)
	b = appendMember(b, `,"route":"`, r.Route, nameBytes)
	b = appendMember(b, `,"upstream":"`, r.Upstream, nameBytes)
	b = appendMember(b, `,"server":"`, r.Server, nameBytes)
	if r.Attempts != 0 {
		b = strconv.AppendInt(append(b, `,"attempts":`...), int64(r.Attempts), 10)
	}
	b = appendMember(b, `,"referer":"`, r.Referer, headerBytes)
	b = appendMember(b, `,"user_agent":"`, r.UserAgent, headerBytes)
	b = appendMember(b, `,"error":"`, []byte(r.Error), errorBytes)
	return append(b, '}')
}

// appendMember appends a member of an object, but not an empty one. name is all
// that stands before the text of the value.
func appendMember(b []byte, name string, value []byte, most int) []byte {
	if len(value) == 0 {
		return b
	}
	return append(appendText(append(b, name...), value, most, inJSON), '"')
}

// appendCombined appends r in the combined format of Apache and nginx, without a
// newline.
func (c *calendar) appendCombined(b []byte, r *Record) []byte {
	client, _, _ := bytes.Cut(r.Client, space) // an address has none, but a zone (RFC 4007) may
	b = appendCombinedField(b, client, nameBytes)
	b = c.appendCLF(append(b, " - - ["...), r.Time)
	b = append(b, `] "`...)
	if len(r.Method) == 0 {
		b = append(b, '-')
	} else {
		b = append(appendText(b, r.Method, nameBytes, inCombined), ' ')
		b = append(appendText(b, r.URI, uriBytes, inCombined), ' ')
		b = appendText(b, r.Proto, nameBytes, inCombined)
	}
	b = strconv.AppendInt(append(b, `" `...), int64(r.Status), 10)
	b = strconv.AppendInt(append(b, ' '), r.BytesOut, 10)
	b = appendCombinedField(append(b, ` "`...), r.Referer, headerBytes)
	b = appendCombinedField(append(b, `" "`...), r.UserAgent, headerBytes)
	return append(b, '"')
}

func appendCombinedField(b, s []byte, most int) []byte {
	if len(s) == 0 {
		return append(b, '-')
	}
	return appendText(b, s, most, inCombined)
}
