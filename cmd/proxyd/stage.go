package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// The demo's names and first ports; the ports are below those that the kernel
// hands out by itself, so that no connection comes to sit on one.
const (
	demoHost       = "one.one.one.one"
	demoProxyPort  = 6188
	demoOriginPort = 6441
)

// demoConfig is the tutorial's configuration on loopback.
const demoConfig = `# The tutorial's proxy, with origins on loopback. Change it, then send HUP.

supervisor {
  workers       = 2
  state_dir     = %q
  drain_timeout = "2s"
}

listener "web" {
  address = %q
  route "all" {
    upstream   = "one"
    rate_limit = ["per_app"]
  }
}

upstream "one" {
  servers = [%q, %q, %q] # the third is down
  policy  = "round_robin"
  host    = "one.one.one.one"
  tls {
    sni = "one.one.one.one"
    ca  = %q
  }
  health "tcp" { interval = "1s" }
}

rate_limit "per_app" {
  key  = request.header["appid"] # no such header: not limited
  rate = "1/s"
}
`

// A stage is all that the demo needs: a folder, origins and a proxy. One
// goroutine owns it, the one that made it.
type stage struct {
	dir         string // the folder, removed by close
	config      string
	stateDir    string
	address     string // of the proxy
	moved       bool   // address is not the usual one
	origins     []*origin
	down        string // address of the server that is down
	releaseDown func()
	proxy       *process
}

// newStage makes the folder, the authority and the running origins.
func newStage() (_ *stage, err error) {
	dir, err := os.MkdirTemp("", "proxyd-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a folder (TMPDIR can name another place): %w", err)
	}
	s := &stage{dir: dir, config: filepath.Join(dir, "proxy.hcl"), stateDir: filepath.Join(dir, "run")}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	ca, err := newAuthority("proxyd demo")
	if err != nil {
		return nil, err
	}
	tls, err := tlsFor(ca, demoHost)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"origin 1", "origin 2"} {
		if err := nextFree(demoOriginPort, func(address string) error {
			o, err := newOrigin(name, address, tls)
			if err == nil {
				s.origins = append(s.origins, o)
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	if err := nextFree(demoOriginPort, func(address string) error {
		s.down = address
		s.releaseDown, err = hold(address)
		return err
	}); err != nil {
		return nil, err
	}
	if err := s.chooseAddress(); err != nil {
		return nil, err
	}
	return s, s.write(ca)
}

// chooseAddress takes the usual address for the proxy or the next free one.
func (s *stage) chooseAddress() error {
	return nextFree(demoProxyPort, func(address string) error {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		s.address = address
		s.moved = address != net.JoinHostPort("127.0.0.1", strconv.Itoa(demoProxyPort))
		return listener.Close()
	})
}

// write makes the files that the proxy reads.
func (s *stage) write(ca *authority) error {
	caFile := filepath.Join(s.dir, "ca.pem")
	text := fmt.Sprintf(demoConfig, s.stateDir, s.address, s.origins[0].address, s.origins[1].address, s.down, caFile)
	if err := os.WriteFile(caFile, ca.pem(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(s.config, []byte(text), 0o644)
}

// open starts the proxy and returns when it serves.
func (s *stage) open(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if s.proxy, err = startProcess(exe, "run", "-c", s.config); err != nil {
		return err
	}
	return s.awaitService(ctx, 15*time.Second)
}

// awaitService asks the proxy for a page until it gives one.
func (s *stage) awaitService(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	const pause = 25 * time.Millisecond
	for {
		last := get(ctx, client, "http://"+s.address+"/")
		if last == nil {
			return nil
		}
		select {
		case <-s.proxy.gone:
			return errors.New("the proxy did not start; its lines above say why")
		case <-ctx.Done():
			return fmt.Errorf("the proxy at %s does not serve: %w", s.address, last)
		case <-time.After(pause):
		}
	}
}

// get succeeds if the answer is 200.
func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// toggle stops or starts the origin that was typed as 1 or 2. It returns nil if
// something else was typed.
func (s *stage) toggle(typed string) (*origin, error) {
	n, err := strconv.Atoi(typed)
	if err != nil || n < 1 || n > len(s.origins) {
		return nil, nil
	}
	o := s.origins[n-1]
	if o.up() {
		o.stop()
		return o, nil
	}
	return o, o.start()
}

// close stops the proxy, then the origins, and removes the folder.
func (s *stage) close() {
	if s.proxy != nil {
		s.proxy.stop(5 * time.Second)
	}
	for _, o := range s.origins {
		o.stop()
	}
	if s.releaseDown != nil {
		s.releaseDown()
	}
	os.RemoveAll(s.dir)
}
