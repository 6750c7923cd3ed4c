package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/supervisor/admin"
)

// commands are what scripts can do beyond testscript's own.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"upstream": cmdUpstream,
	"expand":   cmdExpand,
	"occupy":   cmdOccupy,
	"get":      cmdGet,
	"await":    cmdAwait,
	"signal":   cmdSignal,
	"reloads":  cmdReloads,
	"hammer":   cmdHammer,
	"exits":    cmdExits,
	"read":     cmdRead,
	"vanish":   cmdVanish,
	"workers":  cmdWorkers,
}

// A scriptState is what the commands of one script share. They run one at a time.
type scriptState struct {
	authority *authority
	origins   map[string]*origin
	hammer    *hammer
}

type stateKey struct{}

func stateOf(ts *testscript.TestScript) *scriptState { return ts.Value(stateKey{}).(*scriptState) }

// patience is how long a script waits for what must come.
const patience = 20 * time.Second

// parse reads the flags of a command and returns its arguments.
func parse(ts *testscript.TestScript, flags *flag.FlagSet, args []string, least, most int) []string {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		ts.Fatalf("%s: %v", flags.Name(), err)
	}
	if n := flags.NArg(); n < least || n > most {
		ts.Fatalf("%s: got %d arguments; want %d to %d", flags.Name(), n, least, most)
	}
	return flags.Args()
}

func mustNotNegate(ts *testscript.TestScript, neg bool, name string) {
	if neg {
		ts.Fatalf("unsupported: ! %s", name)
	}
}

// cmdUpstream runs an origin.
//
//	upstream [-tls HOST] VARIABLE NAME   starts one called NAME; $VARIABLE is its address, $WORK/ca.pem its authority
//	upstream stop|start NAME             as if killed, and started again at its address
func cmdUpstream(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "upstream")
	flags := flag.NewFlagSet("upstream", flag.ContinueOnError)
	host := flags.String("tls", "", "")
	args = parse(ts, flags, args, 2, 2)
	state := stateOf(ts)
	verb, name := args[0], args[1]
	if verb == "stop" || verb == "start" {
		o := state.origins[name]
		if o == nil {
			ts.Fatalf("upstream: there is no %s", name)
		}
		if o.stop(); verb == "start" {
			ts.Check(o.start())
		}
		return
	}
	var config *tls.Config
	if *host != "" {
		config = scriptTLS(ts, state, *host)
	}
	o, err := newOrigin(name, net.JoinHostPort(ts.Getenv("IP"), "0"), config)
	ts.Check(err)
	ts.Defer(o.stop)
	state.origins[name] = o
	ts.Setenv(verb, o.address)
}

// scriptTLS makes a certificate by the script's authority, made on first use.
func scriptTLS(ts *testscript.TestScript, state *scriptState, host string) *tls.Config {
	if state.authority == nil {
		ca, err := newAuthority("script")
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "ca.pem"), ca.pem(), 0o644))
		state.authority = ca
	}
	config, err := tlsFor(state.authority, host)
	ts.Check(err)
	return config
}

// cmdExpand replaces $NAME in files by the script's variables.
func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "expand")
	variable := regexp.MustCompile(`\$[A-Z_]+`)
	for _, name := range args {
		text := variable.ReplaceAllStringFunc(ts.ReadFile(name), func(v string) string { return ts.Getenv(v[1:]) })
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// cmdOccupy listens on addresses until the end of the script.
func cmdOccupy(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "occupy")
	for _, address := range args {
		listener, err := net.Listen("tcp", address)
		ts.Check(err)
		ts.Defer(func() { listener.Close() })
	}
}

// cmdGet makes requests one after another, each on a new connection, and prints
// status, fields and body of the answers. '! get' wants no answer.
//
//	get [-n TIMES] [-H 'name: value'] URL
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("get", flag.ContinueOnError)
	times := flags.Int("n", 1, "")
	field := flags.String("H", "", "")
	args = parse(ts, flags, args, 1, 1)
	for range *times {
		text, err := fetch(args[0], *field)
		if (err != nil) != neg {
			ts.Fatalf("get: got %v, %s; want the opposite", err, text)
		}
		fmt.Fprint(ts.Stdout(), text)
	}
}

// fetch returns the answer to one request as text.
func fetch(url, field string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if name, value, ok := strings.Cut(field, ":"); ok {
		request.Header.Set(name, strings.TrimSpace(value))
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintln(&text, response.Proto, response.Status)
	fields := make([]string, 0, len(response.Header))
	for name, values := range response.Header {
		fields = append(fields, name+": "+strings.Join(values, ", "))
	}
	slices.Sort(fields)
	fmt.Fprintf(&text, "%s\n\n%s", strings.Join(fields, "\n"), body)
	return text.String(), nil
}

// cmdAwait runs a command until its output matches.
//
//	await PATTERN [COMMAND [ARGUMENT...]]   default: proxyd status --state-dir $WORK/run
//	await PATTERN get URL
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "await")
	if len(args) == 0 {
		ts.Fatalf("usage: await PATTERN [COMMAND...]")
	}
	pattern, err := regexp.Compile(`(?ms)` + args[0])
	ts.Check(err)
	command := args[1:]
	if len(command) == 0 {
		command = []string{"proxyd", "status", "--state-dir", filepath.Join(ts.Getenv("WORK"), "run")}
	}
	var last string
	if !within(patience, func() bool {
		last = outputOf(ts, command)
		return pattern.MatchString(last)
	}) {
		ts.Fatalf("await: after %v got %s; want %s", patience, last, args[0])
	}
	fmt.Fprint(ts.Stdout(), last)
}

func outputOf(ts *testscript.TestScript, command []string) string {
	if command[0] == "get" {
		text, err := fetch(command[1], "")
		if err != nil {
			return err.Error()
		}
		return text
	}
	if command[0] == "proxyd" {
		command = slices.Concat([]string{binary}, command[1:])
	}
	c := exec.Command(command[0], command[1:]...)
	c.Dir = ts.Getenv("WORK")
	out, err := c.CombinedOutput()
	if err != nil {
		out = fmt.Appendf(out, "\n%v", err)
	}
	return string(out)
}

// cmdSignal sends a signal to the processes whose ids are in a file.
//
//	signal NAME PIDFILE
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "signal")
	if len(args) != 2 {
		ts.Fatalf("usage: signal NAME PIDFILE")
	}
	s := unix.SignalNum("SIG" + args[0])
	if s == 0 {
		ts.Fatalf("signal: there is no SIG%s", args[0])
	}
	for _, text := range strings.Fields(ts.ReadFile(args[1])) {
		pid, err := strconv.Atoi(text)
		if err != nil || pid < 2 {
			ts.Fatalf("signal: %s holds %q; want a process id", args[1], text)
		}
		ts.Check(syscall.Kill(pid, s))
	}
}

// cmdReloads puts files in the place of a configuration in turn and sends HUP
// after each. Like an editor, it replaces the file as a whole.
//
//	reloads [-n TIMES] [-every PAUSE] PIDFILE CONFIGURATION FILE...
func cmdReloads(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "reloads")
	flags := flag.NewFlagSet("reloads", flag.ContinueOnError)
	times := flags.Int("n", 10, "")
	every := flags.Duration("every", 100*time.Millisecond, "")
	args = parse(ts, flags, args, 3, 10)
	files := args[2:]
	fresh := ts.MkAbs(args[1] + ".new")
	ticker := time.NewTicker(*every)
	defer ticker.Stop()
	for i := range *times {
		ts.Check(os.WriteFile(fresh, []byte(ts.ReadFile(files[i%len(files)])), 0o644))
		ts.Check(os.Rename(fresh, ts.MkAbs(args[1])))
		cmdSignal(ts, false, []string{"HUP", args[0]})
		<-ticker.C
	}
}

// cmdExits runs a command that must exit with a code.
//
//	exits CODE COMMAND [ARGUMENT...]
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "exits")
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT...]")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("exits: %v", err)
		}
		code = exit.ExitCode()
	}
	if got := strconv.Itoa(code); got != args[0] {
		ts.Fatalf("exits: got %s; want %s", got, args[0])
	}
}

// cmdRead sets a variable to what a file holds, blanks aside.
//
//	read VARIABLE FILE
func cmdRead(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "read")
	if len(args) != 2 {
		ts.Fatalf("usage: read VARIABLE FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// cmdVanish waits until files are gone.
func cmdVanish(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "vanish")
	for _, name := range args {
		if !within(patience, func() bool {
			_, err := os.Stat(ts.MkAbs(name))
			return errors.Is(err, fs.ErrNotExist)
		}) {
			ts.Fatalf("vanish: %s is still there after %v", name, patience)
		}
	}
}

// cmdWorkers prints the process ids of the workers by slot, one a line.
func cmdWorkers(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "workers")
	client, err := admin.Dial(filepath.Join(ts.Getenv("WORK"), "run", "admin.sock"))
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	status, err := client.Status(ctx)
	ts.Check(err)
	for _, w := range status.Workers {
		fmt.Fprintln(ts.Stdout(), w.Pid)
	}
}
