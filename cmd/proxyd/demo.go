package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/proxyd/proxyd/supervisor"
)

type demoCommand struct{}

// Help is the long text of 'proxyd demo --help'.
func (*demoCommand) Help() string {
	return `Makes a certificate authority, starts two TLS origins that it vouches for as one.one.one.one,
and a proxy before them and a third server that is down. Prints what to paste into another terminal
to see balancing, health, limits and reloads, and runs until Ctrl-C. Everything is on loopback and in
a temporary folder, and gone afterwards.`
}

// Run plays the demo until a signal ends it.
func (*demoCommand) Run() error {
	// The kernel tells the proxy to stop when the thread that started it ends:
	// a demo that is killed leaves nothing behind. So this thread must stay.
	runtime.LockOSThread()

	// A demo in the background must not be stopped for asking what was typed.
	signal.Ignore(syscall.SIGTTIN)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()

	s, err := newStage()
	if err != nil {
		return &supervisor.ExitError{Code: exitStart, Err: fmt.Errorf("demo: %w", err)}
	}
	defer s.close()
	if err := s.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // interrupted while starting: not a failure
		}
		return &supervisor.ExitError{Code: exitStart, Err: fmt.Errorf("demo: %w", err)}
	}

	screen := screen{out: os.Stdout, paint: newPainter(os.Stdout), program: os.Args[0]}
	screen.show(s)
	typed := lines(os.Stdin)
	for {
		select {
		case line, ok := <-typed:
			if !ok {
				typed = nil // end of input: nobody types, the demo goes on
				continue
			}
			screen.toggled(s.toggle(strings.TrimSpace(line)))
		case <-s.proxy.gone:
			return &supervisor.ExitError{Code: exitStart, Err: errors.New("demo: the proxy has exited; its last lines above say why")}
		case <-ctx.Done():
			cancel() // a second Ctrl-C ends the demo at once
			screen.ending()
			return nil
		}
	}
}

// lines sends what is typed line by line, and is closed at the end of input. Its
// goroutine ends with the process: a read from a terminal cannot be called off.
func lines(r io.Reader) <-chan string {
	typed := make(chan string)
	go func() {
		defer close(typed)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			typed <- scanner.Text()
		}
	}()
	return typed
}
