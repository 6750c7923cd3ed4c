package main

import "strings"

// The contestants. All have two workers, the same time-outs, three tries for a
// request, and a health check each second if they can make one: docs/balancing.md
// tells why each setting is as it is. {servers} is a line for each server, after
// the peer's own pattern.
type contestant struct {
	peer
	server string // with {address}
}

var contestants = []contestant{
	fleetNginx("nginx round_robin", ""),
	fleetNginx("nginx least_conn", "least_conn;"),
	fleetHaproxy("haproxy roundrobin", "roundrobin"),
	fleetHaproxy("haproxy leastconn", "leastconn"),
	fleetProxyd("round_robin", ejectDefault),
	fleetProxyd("least_request", ejectDefault),
	fleetProxyd("p2c", ejectDefault),
	fleetProxyd("ewma", ejectDefault),
	fleetProxyd("round_robin", ejectAtOnce),
	fleetProxyd("least_request", ejectAtOnce),
	fleetProxyd("ewma", ejectAtOnce),
}

// at returns c as a peer before these servers.
func (c contestant) at(servers []string) peer {
	var lines strings.Builder
	for _, s := range servers {
		lines.WriteString(strings.ReplaceAll(c.server, "{address}", s))
	}
	p := c.peer
	p.config = strings.Replace(p.config, "{servers}", lines.String(), 1)
	return p
}

func fleetNginx(name, policy string) contestant {
	return contestant{
		peer: peer{
			name: name, file: "nginx.conf", args: []string{"nginx", "-p", "{dir}", "-c", "{config}"},
			config: strings.Replace(fleetNginxConfig, "{policy}", policy, 1),
		},
		server: "    server {address} max_fails=1 fail_timeout=10s;\n",
	}
}

const fleetNginxConfig = `
daemon off;
worker_processes 2;
pid {dir}/nginx.pid;
error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  keepalive_timeout 10m;
  keepalive_requests 1000000000;
  upstream fleet {
    zone fleet 1m;
    {policy}
{servers}
    keepalive 512;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:{port} backlog=4096;
    location / {
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout 1s;
      proxy_read_timeout 1s;
      proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
      proxy_next_upstream_tries 3;
      proxy_pass http://fleet;
    }
  }
}
`

func fleetHaproxy(name, policy string) contestant {
	return contestant{
		peer: peer{
			name: name, file: "haproxy.cfg", args: []string{"haproxy", "-db", "-f", "{config}"},
			config: strings.Replace(fleetHaproxyConfig, "{policy}", policy, 1),
		},
		server: "  server {address} {address}\n",
	}
}

const fleetHaproxyConfig = `
global
  nbthread 2
  maxconn 4000
  spread-checks 5
defaults
  mode http
  timeout connect 1s
  timeout client 10m
  timeout server 1s
  timeout check 500ms
  timeout http-keep-alive 10m
frontend plain
  bind 127.0.0.1:{port} backlog 4096
  default_backend fleet
backend fleet
  balance {policy}
  http-reuse always
  option httpchk GET /health
  http-check expect status 200
  option redispatch 1
  retries 2
  retry-on all-retryable-errors
  default-server check inter 1s fastinter 200ms fall 2 rise 2 observe layer7 error-limit 1 on-error mark-down
{servers}
`

// When proxyd ejects: after five errors in a row, or as nginx and HAProxy are told
// to, after one.
const (
	ejectDefault = "{}"
	ejectAtOnce  = "{ errors = 1 }"
)

func fleetProxyd(policy, eject string) contestant {
	name := "proxyd " + policy
	if eject == ejectAtOnce {
		name += " errors=1"
	}
	return contestant{
		peer: peer{
			name: name, file: "proxy.hcl", args: []string{"{proxyd}", "-c", "{config}"},
			config: strings.NewReplacer("{policy}", policy, "{eject}", eject).Replace(fleetProxydConfig),
		},
		server: `    "{address}",` + "\n",
	}
}

const fleetProxydConfig = `
supervisor {
  workers   = 2
  state_dir = "{dir}/state"
}
listener "plain" {
  address  = "127.0.0.1:{port}"
  timeouts = { idle = "10m" }
  route "all" {
    upstream = "fleet"
    retry    = { attempts = 3, on = ["connect", "reset", "timeout", "500", "502", "503", "504"] }
  }
}
upstream "fleet" {
  servers = [
{servers}
  ]
  policy   = "{policy}"
  eject    = {eject}
  timeouts = { connect = "1s", first_byte = "1s" }
  health "http" {
    path     = "/health"
    interval = "1s"
    timeout  = "500ms"
    rise     = 2
    fall     = 2
  }
}
`
