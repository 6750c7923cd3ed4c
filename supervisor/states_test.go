package supervisor

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/supervisor-states.md anew")

var stateMeanings = [states]string{
	gone:       "no process; the next one starts when its pause is over, if it is to be replaced",
	greeting:   "started; its first message is awaited",
	loading:    "listening sockets, access logs and configuration are on their way",
	opening:    "has answered a request of its own; told to accept connections",
	serving:    "accepts connections",
	staging:    "serves; a new configuration is on its way",
	staged:     "serves; could use the new configuration",
	committing: "serves; told to use the new configuration",
	draining:   "accepts no more, finishes what it has",
	stuck:      "gave no sign of life; QUIT sent, for its stacks in the log",
	dying:      "KILL sent",
}

var happeningMeanings = [happenings]string{
	due:       "its pause is over",
	hello:     "it says who it is",
	acked:     "it has what was sent",
	prepared:  "it could use the configuration",
	nacked:    "it refuses",
	accepting: "it accepts connections",
	offered:   "a new configuration is there",
	decided:   "all can use it",
	dropped:   "somebody cannot",
	committed: "it uses it",
	retired:   "it is to finish and go: proxyd stops, or a new generation serves",
	hurried:   "it is to go at once",
	claimed:   "an orphan comes in, and is to go on",
	behind:    "an orphan comes in that has yet to take the configuration in force",
	bygone:    "an orphan comes in that drains",
	stray:     "an orphan comes in of a generation that never came into force",
	timeout:   "the time of the state is over",
	lost:      "its control channel is closed",
	exited:    "its process has ended",
}

var actionMeanings = [actions]string{
	nothing:    "",
	launch:     "start a process",
	deliver:    "send the next sockets or, after the last, the configuration",
	sendStart:  "have it accept connections",
	announce:   "note that one more serves",
	refuse:     "fail the reload",
	sendAbort:  "have it forget the new configuration",
	sendCommit: "have it use the new configuration",
	settle:     "note that it does",
	sendDrain:  "have it drain",
	welcome:    "note that one more serves, and have it forget what a dead supervisor had begun",
	quit:       "send QUIT",
	kill:       "send KILL",
	bury:       "say how it ended, decide when the next one starts",
}

// docs/supervisor-states.md is the table, in words.
func TestStatesAreAsDocumented(t *testing.T) {
	const file = "../docs/supervisor-states.md"
	var b bytes.Buffer
	b.WriteString("# What the supervisor does with a worker\n\n" +
		"This is the whole of it: the state of a worker and what happens decide what is done and what comes next. What is not\n" +
		"listed changes nothing. `go test ./supervisor -run States -update` writes this file from the program.\n")
	for s := range states {
		fmt.Fprintf(&b, "\n## %v\n\n%s\n\n| when | then | next |\n|---|---|---|\n", s, stateMeanings[s])
		for ev := range happenings {
			next, act := step(s, ev)
			if next == s && act == nothing {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %v |\n", happeningMeanings[ev], actionMeanings[act], next)
		}
	}
	for _, m := range append(append(stateMeanings[:], happeningMeanings[:]...), actionMeanings[1:]...) {
		if strings.TrimSpace(m) == "" {
			t.Error("a state, an event or an action has no meaning")
		}
	}
	doc, err := os.ReadFile(file)
	if bytes.Equal(doc, b.Bytes()) {
		return
	}
	if !*update {
		t.Fatalf("%s: not as the table says (%v); go test ./supervisor -run States -update writes it", file, err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
