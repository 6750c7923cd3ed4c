listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["one.example:443", "10.0.0.1", "10.0.0.256:80", "unix:relative", "0.0.0.0:80", "10.0.0.2:http"]
  server "two.example:443" {
    weight = 2
  }
  server "10.0.0.3:80" {}
  server "10.0.0.3:80" {}
}
