listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  policy     = "p2c"
  protocol   = "h2"
  slow_start = "20s"
  limits     = { connections = 1024, idle = 10 }
  server "10.0.0.1:80" { backup = true }
  discover "dns" {
    name = "_http._tcp.api.internal"
  }
  health "http" {
    path = "/healthz"
  }
  eject = { errors = 5 }
}
