listener "web" {
  address = "0.0.0.0:6188"
  route "all" {
    upstream   = "one"
    rate_limit = ["per_app"]
  }
}

upstream "one" {
  servers = ["1.1.1.1:443", "1.0.0.1:443"]
  policy  = "round_robin"
  host    = "one.one.one.one"       # Host sent upstream; default: the client's
  tls { sni = "one.one.one.one" }   # the certificate is verified unless verify = false
  health "tcp" { interval = "1s" }
}

rate_limit "per_app" {
  key  = request.header["appid"]    # no such header: not limited
  rate = "1/s"
}
