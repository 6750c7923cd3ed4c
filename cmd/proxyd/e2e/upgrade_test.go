package e2e

import (
	"context"
	"net/http"
	"os"
	"testing"
)

// TestAWorkerThatDiesAfterAnUpgrade kills a worker when the program's file is
// another one already, as between the upgrade of a package and the restart: what
// takes its place is the program that runs.
func TestAWorkerThatDiesAfterAnUpgrade(t *testing.T) {
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	file := p.path("proxyd")
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	p.launch(p.command(context.Background(), file, "-c", p.path("proxy.hcl")))
	p.awaitLog(`msg=serving`)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	kill(t, p.pids()[0])
	p.awaitLogs(`msg="worker serves" slot=0 `, 2)
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexit 9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	kill(t, p.pids()[1])
	p.awaitLogs(`msg="worker serves" slot=1 `, 2)
	p.get("/").want(t, http.StatusOK)
}
