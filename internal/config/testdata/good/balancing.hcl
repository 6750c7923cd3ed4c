# All that there is about balancing and limiting.
locals {
  vip      = { "acme" = "5000/s", initech = local.fast, "" = "1/s" }
  fast     = "100000/m"
  internal = ["10.0.0.53:53", "[2001:db8::53]:5353"]
}

listener "web" {
  address = ":8080"
  route "all" {
    upstream   = "hashed"
    rate_limit = ["per_app", "at_once", "smooth", "watched"]
  }
}

upstream "hashed" {
  policy          = "maglev"
  hash_key        = coalesce(request.cookie["session"], client.ip)
  slow_start      = "20s"
  panic_threshold = "30%"
  limits          = { connections = 1024, pending = 64, idle = 16 }
  eject           = { errors = 3, for = "30s", max_percent = 100 }
  server "10.0.0.1:443" { weight = 2 }
  server "10.0.0.9:443" { backup = true }
  tls { sni = "api.internal" }
  health "http" {
    path     = "/healthz?full=1"
    interval = "2s"
    expect   = response.status < 400 || response.status == 404
    initial  = "up"
  }
}

upstream "found" {
  policy = "ketama"
  hash_key = request.path
  host     = "found.example"
  eject    = {}
  discover "file" { path = "found.servers" }
  discover "dns" { name = "_http._tcp.Found.internal." }
  discover "dns" {
    name      = "found"
    port      = "8080"
    resolvers = local.internal
  }
  health "http" {
    host   = "health.example:8080"
    expect = true
  }
}

upstream "rpc" {
  policy = "p2c"
  server "10.0.0.1:50051" { backup = true }
  discover "file" { path = "/etc/rpc.servers" }
  tls { sni = "192.0.2.1" }
  health "grpc" { service = "shop.v1.Orders" }
}

rate_limit "per_app" {
  key       = request.header["appid"]
  rate      = "10/s"
  algorithm = "window"
  headers   = "both"
  overrides = local.vip
}

rate_limit "smooth" {
  key       = client.ip
  rate      = "100/s"
  algorithm = "gcra"
  burst     = 20
  headers   = "ietf"
  keys      = 1000
}

rate_limit "watched" {
  key       = client.ip
  rate      = "1/h"
  algorithm = "gcra"
  dry_run   = true
}

concurrency_limit "at_once" {
  key = client.ip
  max = 20
}

concurrency_limit "all_of_them" {
  key     = "all"
  max     = 1000000
  keys    = 1
  dry_run = true
}
