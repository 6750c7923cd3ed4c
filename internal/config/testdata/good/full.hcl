# Everything but routes and balancing, none of it at its default.
locals {
  servers = ["10.0.0.1:443", "[2001:0db8::1]:443"]
  app     = coalesce(request.header["AppId"], "none")
  second  = "1s"
}

supervisor {
  workers       = 3
  pid_file      = "/run/proxyd/pid"
  state_dir     = "state"
  log           = "proxyd.log"
  ready_timeout = "5s"
  drain_timeout = "1m30s"
  stream_timeout = "1h"
}

listener "https" {
  address  = ["systemd:https", ":8443", "127.0.0.1:8080", "unix:/run/proxyd/web.sock"]
  timeouts = { header = local.second, body_idle = "2s", idle = "3s", write = "4s" }
  limits = {
    header_bytes            = "64KiB"
    headers                 = 100
    body                    = "10MiB"
    connections             = "1000"
    requests_per_connection = 500
  }
  route "all" {
    upstream   = "api"
    rate_limit = ["everyone", "per_app"]
  }
}

upstream "api" {
  servers  = local.servers
  policy   = "round_robin"
  protocol = "h1"
  host     = "${env("PROXYD_TEST_HOST")}:8443"
  timeouts = { connect = "1s", tls = "2s", first_byte = "3s", body_idle = "4s", idle = "5s" }
  limits   = { idle = 64 }
  server "10.0.0.2:443" { weight = 2 }
  server "unix:/run/api.sock" {}
  tls {
    ca     = "ca.pem"
    verify = true
  }
  health "tcp" {
    interval = "500ms"
    rise     = 2
    fall     = 3
  }
}

rate_limit "per_app" {
  key       = starts_with(request.path, "/free/") ? null : "${local.app}/${lower(request.host)}"
  rate      = "600/m"
  algorithm = "estimator"
  keys      = 5000
  headers   = "none"
}

rate_limit "everyone" {
  key  = "all"
  rate = "10000/s"
}
