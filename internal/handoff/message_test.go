package handoff

import (
	"bytes"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add(appendMessage(nil, Hello, 7, 1, []byte(`{"pid":1}`), 0))
	f.Add(appendMessage(nil, Listen, 1, 2, nil, MaxFiles))
	f.Add(appendMessage(nil, Ask, 1, 3, []byte(`{"number":1,"before":2,"question":{"verb":"limit","limit":"a","key":"Yg=="}}`), 0))
	f.Add(appendMessage(nil, Tell, 1, 4, []byte(`{"number":18446744073709551615,"refusal":{"unknown":true,"text":"no"}}`), 1))
	f.Add([]byte("prox"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, files, err := parse(packet)
		if err != nil {
			return
		}
		if files < 0 || files > MaxFiles || len(m.Body) > MaxBody {
			t.Errorf("parse: got %d descriptors, %d bytes; want at most %d, %d", files, len(m.Body), MaxFiles, MaxBody)
		}
		again := appendMessage(nil, m.Type, m.Generation, m.Sequence, m.Body, files)
		if packet[5] == Version && !bytes.Equal(again, packet) {
			t.Errorf("written again: got %x; want %x", again, packet)
		}
		for _, body := range []any{
			new(HelloBody), new(ListenBody), new(AckBody), new(PrepareBody), new(PreparedBody), new(NackBody),
			new(CommitBody), new(DrainBody), new(OwnerBody), new(AskBody), new(TellBody), new(Servers), new(Limits),
		} {
			_ = m.Decode(body) // must not panic
		}
	})
}

func TestTypesHaveNames(t *testing.T) {
	for typ := Hello; typ <= Tell; typ++ {
		if s := typ.String(); s == "" || s[0] == 'T' && s[1] == 'Y' {
			t.Errorf("name of type %d: got %q; want one of the protocol", uint16(typ), s)
		}
	}
	if got := Type(0).String(); got != "TYPE(0)" {
		t.Errorf("name of type 0: got %q; want TYPE(0)", got)
	}
}
