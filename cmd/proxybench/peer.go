package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// A peer is a proxy to measure. All do the same work as far as they can: one
// worker, two servers with a TCP health check each second, Host rewritten,
// X-Forwarded-For added, and the request counted against a limit for each appid
// that is never reached. nginx checks no health: only its paid edition does.
type peer struct {
	name   string
	file   string   // name of its configuration
	config string   // with {port}, {a} and {b}, the servers' ports, and {dir}, a folder
	args   []string // the program first, found in PATH; {config} is the path of file
	env    []string
}

func (p peer) label() string { return p.name }

// peers are in the order of the table.
var peers = []peer{
	{name: "relay", args: []string{"{self}", "relay", "{port}", "{a}"}, env: []string{loopEnvironment}},
	{name: "nginx", file: "nginx.conf", config: nginxConfig, args: []string{"nginx", "-p", "{dir}", "-c", "{config}"}},
	{name: "haproxy", file: "haproxy.cfg", config: haproxyConfig, args: []string{"haproxy", "-db", "-f", "{config}"}},
	{name: "proxyd", file: "proxy.hcl", config: proxydConfig, args: []string{"{proxyd}", "-c", "{config}"}},
	{name: "proxyd+log", file: "proxy.hcl", config: proxydConfig + proxydLog, args: []string{"{proxyd}", "-c", "{config}"}},
}

// proxydLog makes proxyd write down each request.
const proxydLog = `
access_log "json" { output = "{dir}/access.log" }
`

const nginxConfig = `
daemon off;
master_process off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr error;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  limit_req_zone $http_appid zone=per_app:10m rate=1000000r/s;
  upstream origins {
    server 127.0.0.1:{a};
    server 127.0.0.1:{b};
    keepalive 128;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:{port} backlog=4096;
    location / {
      limit_req zone=per_app burst=1000000 nodelay;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host origin.test;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_pass http://origins;
    }
  }
}
`

const haproxyConfig = `
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 2m
  timeout server 2m
frontend plain
  bind 127.0.0.1:{port} backlog 4096
  stick-table type string len 64 size 1m expire 10s store http_req_rate(1s)
  http-request track-sc0 req.hdr(appid) if { req.hdr(appid) -m found }
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 }
  http-request set-header Host origin.test
  option forwardfor
  default_backend origins
backend origins
  balance roundrobin
  http-reuse always
  server a 127.0.0.1:{a} check inter 1s
  server b 127.0.0.1:{b} check inter 1s
`

const proxydConfig = `
supervisor {
  workers   = 1
  state_dir = "{dir}/state"
}
listener "plain" {
  address = "127.0.0.1:{port}"
  route "all" {
    upstream   = "origins"
    rate_limit = ["per_app"]
  }
}
upstream "origins" {
  servers = ["127.0.0.1:{a}", "127.0.0.1:{b}"]
  host    = "origin.test"
  health "tcp" { interval = "1s" }
}
rate_limit "per_app" {
  key  = request.header["appid"]
  rate = "100000000/s"
}
`

// A place is what differs from one start of a peer to the next.
type place struct {
	dir     string // exists, for its files
	self    string // this program
	proxyd  string
	port    int
	origins [2]int
}

// program returns the path of p's program, or an error if it is not installed.
func (p peer) program(at place) (string, error) {
	switch name := p.args[0]; name {
	case "{self}":
		return at.self, nil
	case "{proxyd}":
		path, err := exec.LookPath(at.proxyd)
		if err != nil {
			return "", fmt.Errorf("%w; 'make build' builds it", err)
		}
		return filepath.Abs(path)
	default:
		return exec.LookPath(name)
	}
}

// prepare writes p's configuration and returns how to start it.
func (p peer) prepare(at place) (launch, error) {
	program, err := p.program(at)
	if err != nil {
		return launch{}, err
	}
	config := filepath.Join(at.dir, p.file)
	fill := strings.NewReplacer("{dir}", at.dir, "{config}", config,
		"{port}", strconv.Itoa(at.port), "{a}", strconv.Itoa(at.origins[0]), "{b}", strconv.Itoa(at.origins[1]))
	if p.file != "" {
		if err := os.WriteFile(config, []byte(fill.Replace(p.config)), 0o600); err != nil {
			return launch{}, err
		}
	}
	l := launch{name: p.name, args: []string{program}, env: p.env, log: filepath.Join(at.dir, p.name+".log")}
	for _, a := range p.args[1:] {
		l.args = append(l.args, fill.Replace(a))
	}
	return l, nil
}

// start starts p on a CPU of c, in a folder below at.dir and at a port of its own,
// and returns when it answers. The place returned has that folder and port.
func (p peer) start(ctx context.Context, c *cpus, cpu int, at place) (*process, place, error) {
	var err error
	if at.dir, err = os.MkdirTemp(at.dir, p.file+"-"); err != nil {
		return nil, at, err
	}
	if at.port, err = freePort(); err != nil {
		return nil, at, err
	}
	l, err := p.prepare(at)
	if err != nil {
		return nil, at, err
	}
	l.cpu = cpu
	proxy, err := c.start(l)
	if err != nil {
		return nil, at, err
	}
	if err := awaitAnswer(ctx, proxy, at.port); err != nil {
		proxy.stop(stopPatience)
		return nil, at, err
	}
	return proxy, at, nil
}
