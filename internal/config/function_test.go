package config

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
)

// TestLogged evaluates what is known only when a request has ended.
func TestLogged(t *testing.T) {
	s := subject{}
	for _, f := range []struct {
		v           Var
		name, value string
	}{
		{RequestBytes, "", "5"},
		{ResponseStatus, "", "404"},
		{ResponseHeader, "server", "app"},
		{ResponseBytes, "", "1048576"},
		{Duration, "", "0.001234"},
		{UpstreamName, "", "one"},
		{UpstreamAddress, "", "10.0.0.1:80"},
		{Attempts, "", "2"},
		{FirstByteDuration, "", "0.001"},
		{TimeISO, "", "2026-11-22T20:50:22.123Z"},
	} {
		k, v := set(f.v, f.name, f.value)
		s[k] = v
	}
	for format, want := range map[string]string{
		`"${request.bytes} ${response.bytes} ${response.duration} ${upstream.duration}"`: "5 1048576 0.001234 0.001",
		`"${response.status} ${response.header["Server"]} ${upstream.name}"`:             "404 app one",
		`"${upstream.address} ${upstream.attempts} ${time.iso8601}"`:                     "10.0.0.1:80 2 2026-11-22T20:50:22.123Z",
		`"${request.host} ${response.header["none"]}|"`:                                  "- -|",
		`local.line`:                     "404 -",
		`"${local.line}"`:                "-",
		`request.host`:                   "-",
		`"${request.host}"`:              "-",
		`"${lower("x${request.host}")}"`: "x-",
		`response.status >= 400 && response.status < 500 ? "bad ${request.host}" : "good"`: "bad -",
		`response.duration == 0.0012340 && response.duration < 0.01 && request.bytes > 4`:  "true",
		`response.duration * 1`: "",
	} {
		_, c, err := load(t, fmt.Sprintf(`
locals {
  line = "${response.status} ${request.host}"
}
listener "web" {
  address = ":8080"
  route "all" { respond = {} }
}
access_log "text" {
  output = "/log"
  format = %s
  when   = response.status == 404 && upstream.attempts > 1
}
`, format))
		if want == "" {
			if err == nil {
				t.Errorf("%s: got no error", format)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		var buf []byte
		if got := string(c.AccessLogs[0].Text.Eval(s, &buf)); got != want {
			t.Errorf("%s: got %q; want %q", format, got, want)
		}
		if !c.AccessLogs[0].When.Holds(s, &buf) || c.AccessLogs[0].When.Holds(subject{}, &buf) {
			t.Errorf("%s: got the wrong outcome of its condition", format)
		}
	}
}

// TestSample holds that sample has the probability it is given: the outcome of
// 100,000 is within five standard deviations.
func TestSample(t *testing.T) {
	const n, p = 100_000, 0.1
	e := compileKey(t, `sample(0.1) ? "y" : "n"`)
	hits := 0
	var buf []byte
	for range n {
		if string(e.Eval(subject{}, &buf)) == "y" {
			hits++
		}
	}
	if off := math.Abs(float64(hits) - n*p); off > 5*math.Sqrt(n*p*(1-p)) {
		t.Errorf("got %d of %d; want about %v", hits, n, n*p)
	}
}

// TestHashSpreads holds that texts that differ at their end only fall evenly on
// the numbers of hash(text, n).
func TestHashSpreads(t *testing.T) {
	const texts, slots = 100_000, 10
	e := compileKey(t, `hash(client.ip, 10)`)
	var counts [slots]int
	s := &one{}
	var buf []byte
	for i := range texts {
		s.value = fmt.Appendf(s.value[:0], "10.0.%d.%d", i>>8, i&255)
		buf = buf[:0]
		counts[e.Eval(s, &buf)[0]-'0']++
	}
	for slot, n := range counts {
		if off := math.Abs(float64(n) - texts/slots); off > 5*math.Sqrt(texts/slots) {
			t.Errorf("slot %d: got %d; want about %d", slot, n, texts/slots)
		}
	}
}

func TestDisjoint(t *testing.T) {
	var list []netip.Prefix
	for _, text := range []string{"10.1.0.0/16", "::/1", "10.0.0.0/8", "10.1.2.3", "192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32", "11.0.0.0/32"} {
		p, err := parseNetwork(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	list = disjoint(list)
	if got, want := fmt.Sprint(list), "[10.0.0.0/8 11.0.0.0/32 192.0.2.0/24 ::/1]"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	for text, want := range map[string]bool{
		"9.255.255.255": false, "10.0.0.0": true, "10.255.255.255": true, "11.0.0.0": true, "11.0.0.1": false, "192.0.2.255": true,
		"192.0.3.0": false, "::": true, "7fff::1": true, "8000::": false,
	} {
		if got := within(list, netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %v; want %v", text, got, want)
		}
	}
}
