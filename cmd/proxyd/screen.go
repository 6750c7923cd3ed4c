package main

import (
	"fmt"
	"io"
)

// A screen tells the demo's story to a person.
type screen struct {
	out     io.Writer
	paint   painter
	program string // how this program was called, for lines to paste
}

func (s screen) show(t *stage) {
	p, url := s.paint, "http://"+t.address+"/"
	s.line("")
	s.line("%s  a proxy before two TLS origins, all on loopback", p.bold("proxyd demo"))
	s.line("")
	s.line("  proxy     %s   2 workers, supervisor pid %d", p.green(url), t.proxy.pid())
	if t.moved {
		s.line("            %s", p.dim(fmt.Sprintf("(port %d is taken, so this one)", demoProxyPort)))
	}
	for _, o := range t.origins {
		s.line("  %s  https://%s/  %s, its certificate by a CA of the demo's", o.name, o.address, p.green("up"))
	}
	s.line("  server 3  https://%s/  %s, on purpose", t.down, p.red("down"))
	s.line("  config    %s", t.config)
	s.line("")
	s.line("Paste into another terminal:")
	s.line("")
	s.paste("balancing", fmt.Sprintf("for i in 1 2 3 4; do curl -s %s; done", url))
	s.paste("limit, one request a second for each appid: the next gets a 429",
		fmt.Sprintf("for i in 1 2 3; do curl -s -o /dev/null -D - -H 'appid: demo' %s; done", url))
	s.paste("status", fmt.Sprintf("%s status --state-dir %s", s.program, t.stateDir))
	s.paste("reload: allow five a second", fmt.Sprintf("sed -i s,1/s,5/s, %s && kill -HUP %d", t.config, t.proxy.pid()))
	s.line("Health: type %s or %s and Enter here to kill that origin, and again to bring it back.", p.bold("1"), p.bold("2"))
	s.line("Ctrl-C ends the demo and removes all of it. What the proxy logs follows.")
	s.line("")
}

// paste prints a line to paste under what it shows.
func (s screen) paste(what, command string) {
	s.line("  %s", s.paint.dim("# "+what))
	s.line("  %s", s.paint.bold(command))
	s.line("")
}

// toggled tells what became of the origin that was typed.
func (s screen) toggled(o *origin, err error) {
	switch {
	case err != nil:
		s.line("%s", s.paint.red(err.Error()))
	case o == nil:
		s.line("Type 1 or 2 to kill that origin or bring it back; Ctrl-C ends the demo.")
	case o.up():
		s.line("%s is %s again: the proxy sees it within a second or so.", o.name, s.paint.green("up"))
	default:
		s.line("%s is %s: requests go on without it.", o.name, s.paint.red("down"))
	}
}

func (s screen) ending() {
	s.line("\nEnding: the proxy finishes its requests, then all of it is removed.")
}

func (s screen) line(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }
