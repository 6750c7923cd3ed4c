package tlsconn

import (
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
)

// attributes are the short names that RFC 4514 section 3 has for parts of a name,
// and that of an address (RFC 2985), which certificates of people have.
var attributes = map[string]string{
	"2.5.4.3":                    "CN",
	"2.5.4.6":                    "C",
	"2.5.4.7":                    "L",
	"2.5.4.8":                    "ST",
	"2.5.4.9":                    "STREET",
	"2.5.4.10":                   "O",
	"2.5.4.11":                   "OU",
	"0.9.2342.19200300.100.1.25": "DC",
	"0.9.2342.19200300.100.1.1":  "UID",
	"1.2.840.113549.1.9.1":       "emailAddress",
}

// An attributeSET is a part of a name: one attribute, or several. (Its own name
// tells asn1 that it is a set.)
type attributeSET []struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// distinguishedName is the text of a name in DER (RFC 4514), the last part first;
// empty if it is none.
func distinguishedName(der []byte) string {
	var parts []attributeSET
	rest, err := asn1.Unmarshal(der, &parts)
	if err != nil || len(rest) > 0 {
		return ""
	}
	var b strings.Builder
	for i, part := range slices.Backward(parts) {
		for j, a := range slices.Backward(part) {
			switch {
			case j < len(part)-1:
				b.WriteByte('+')
			case i < len(parts)-1:
				b.WriteByte(',')
			}
			writeAttribute(&b, a.Type.String(), a.Value.FullBytes)
		}
	}
	return b.String()
}

// writeAttribute writes one of a type that has no name, or that is no text, by its
// number and in hexadecimal digits.
func writeAttribute(b *strings.Builder, kind string, der []byte) {
	var value any
	_, _ = asn1.Unmarshal(der, &value)
	name, known := attributes[kind]
	if text, ok := value.(string); ok && known {
		b.WriteString(name + "=" + escaped(text))
	} else {
		b.WriteString(kind + "=#" + hex.EncodeToString(der))
	}
}

// escaped is the text of a value (RFC 4514 section 2.4). Control bytes, and what
// is no UTF-8, are escaped too, as the RFC allows for all.
func escaped(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case strings.ContainsRune(`"+,;<>\`, r), r == '#' && i == 0, r == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			writePrintable(&b, s[i:], r)
		}
	}
	return b.String()
}

// printable is s with its control bytes escaped.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		writePrintable(&b, s[i:], r)
	}
	return b.String()
}

// writePrintable writes r, with which s begins.
func writePrintable(b *strings.Builder, s string, r rune) {
	const hexDigits = "0123456789ABCDEF"
	invalid := r == '\uFFFD' && !strings.HasPrefix(s, "\uFFFD")
	if invalid || r < ' ' || r == 0x7f {
		b.WriteString(`\` + string(hexDigits[s[0]>>4]) + string(hexDigits[s[0]&15]))
		return
	}
	b.WriteRune(r)
}
