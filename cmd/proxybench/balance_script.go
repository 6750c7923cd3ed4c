package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A condition is how a server is for a while. The zero value is not one: a server
// takes some time to answer.
type condition struct {
	ill   illness
	delay time.Duration // from a request to its response
}

type illness uint8

const (
	well    illness = iota
	dead            // refuses connections, and has reset those it had
	leaving         // as dead, but what it was asked before is answered
	stuck           // accepts connections and requests, and answers none
	failing         // answers 503, health checks too
	unfit           // answers 503, but passes health checks
	cutting         // resets the connection in the middle of every response
)

const (
	fleetSize = 50
	quick     = time.Millisecond // until a server that is well answers
)

var healthy = condition{well, quick}

// A change is one server's, at a time since the script began.
type change struct {
	at     time.Duration
	server int
	to     condition
}

// A script is what happens to the servers, in the order of time. Servers begin
// healthy.
type script []change

// An act is one kind of thing that happens to some servers.
type act struct {
	servers int
	what    string
	play    func(d *director, server, turn int)
}

// acts are all that happens. Who plays in which is drawn by lot; the others stay
// healthy. Times are parts of the length.
var acts = []act{
	{3, "take ten times as long", func(d *director, s, _ int) { d.spell(s, 0, 1, condition{well, 10 * quick}) }},
	{2, "take 30 times as long for half of the time", func(d *director, s, _ int) { d.spell(s, 0.25, 0.75, condition{well, 30 * quick}) }},
	{3, "refuse connections for a fifth", func(d *director, s, _ int) { d.sometime(s, 0.2, dead) }},
	{3, "accept and answer nothing for an eighth", func(d *director, s, _ int) { d.sometime(s, 0.125, stuck) }},
	{2, "answer 503 for a fifth", func(d *director, s, _ int) { d.sometime(s, 0.2, failing) }},
	{1, "answers 503 for a fifth, but not to health checks", func(d *director, s, _ int) { d.sometime(s, 0.2, unfit) }},
	{1, "resets in the middle of each response for a fifth", func(d *director, s, _ int) { d.sometime(s, 0.2, cutting) }},
	{4, "are dead and alive by turns, 1 to 4 s each", func(d *director, s, _ int) { d.flap(s) }},
	{rolled, "are restarted one after another, 1.5 s each", func(d *director, s, turn int) { d.restart(s, turn) }},
}

const (
	rolled  = 10
	restart = 1500 * time.Millisecond
)

// makeScript returns the script of that length for a seed, always the same one.
func makeScript(seed uint64, length time.Duration) script {
	d := &director{rand: rand.New(rand.NewPCG(seed, 0)), length: length}
	cast := d.rand.Perm(fleetSize)
	for _, a := range acts {
		for turn := range a.servers {
			a.play(d, cast[turn], turn)
		}
		cast = cast[a.servers:]
	}
	slices.SortStableFunc(d.script, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	return d.script
}

// at returns how a server is at a time.
func (s script) at(server int, t time.Duration) condition {
	c := healthy
	for _, x := range s {
		if x.at <= t && x.server == server {
			c = x.to
		}
	}
	return c
}

// A director writes a script.
type director struct {
	rand   *rand.Rand
	length time.Duration
	script script
}

func (d *director) add(at time.Duration, server int, to condition) {
	d.script = append(d.script, change{at, server, to})
}

// spell has a server in a condition from one part of the length to another.
func (d *director) spell(server int, from, to float64, c condition) {
	d.add(d.part(from), server, c)
	d.add(d.part(to), server, healthy)
}

func (d *director) part(x float64) time.Duration { return time.Duration(x * float64(d.length)) }

// sometime has a server ill for a part of the length, not quite at its beginning
// or end.
func (d *director) sometime(server int, part float64, ill illness) {
	from := 0.05 + d.rand.Float64()*(0.9-part)
	d.spell(server, from, from+part, condition{ill, quick})
}

func (d *director) flap(server int) {
	for t := d.pause(); t < d.length; {
		d.add(t, server, condition{dead, quick})
		t += d.pause()
		d.add(t, server, healthy)
		t += d.pause()
	}
}

func (d *director) pause() time.Duration {
	return time.Second + time.Duration(d.rand.Int64N(int64(3*time.Second)))
}

// restart has the turns of a restart begin in equal distances.
func (d *director) restart(server, turn int) {
	at := d.part(0.55 + 0.4*float64(turn)/rolled)
	d.add(at, server, condition{leaving, quick})
	d.add(at+restart, server, healthy)
}

// plot tells what happens in a script.
func plot() string {
	var b strings.Builder
	rest := fleetSize
	for _, a := range acts {
		fmt.Fprintf(&b, "  %2d %s\n", a.servers, a.what)
		rest -= a.servers
	}
	fmt.Fprintf(&b, "  %2d answer after %v all the time, as the others do otherwise\n", rest, quick)
	return b.String()
}
