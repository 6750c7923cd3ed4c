package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The test binary is its own children, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestMistakenFlagsAreUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"-scenario tls":        `-scenario: got "tls"; want some of keepalive,body16k,body1m,close,idle`,
		"-peers relay,squid":   `-peers: got "squid"; want some of relay,nginx,haproxy,proxyd`,
		"-rounds 0":            "-rounds 0: want 1 to 1000",
		"-seconds 0":           "-seconds 0: want 0.05 to 600",
		"-seconds NaN":         "-seconds NaN: want 0.05 to 600",
		"-peers relay surplus": `unexpected argument "surplus"`,
		"-speed 3":             "not defined: -speed",
	} {
		var stderr bytes.Buffer
		if code := run(strings.Fields(args), &stderr, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("proxybench %s: got %d, %q; want %d, %q", args, code, &stderr, exitUsage, want)
		}
	}
}

func TestNamesChooseInTheOrderOfTheTable(t *testing.T) {
	p, err := parsePlan(strings.Fields("-scenario idle,body1m -peers proxyd,relay -seconds 0.5"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := namesOf(p.scenarios)+" "+namesOf(p.peers), "body1m,idle relay,proxyd"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestHelpIsNoError(t *testing.T) {
	var stderr bytes.Buffer
	if code := run([]string{"-h"}, &stderr, &stderr); code != 0 || !strings.Contains(stderr.String(), "-rounds") {
		t.Errorf("proxybench -h: got %d, %q; want 0 and the flags", code, &stderr)
	}
}
