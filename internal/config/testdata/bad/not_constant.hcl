listener "web" {
  address = client.ip
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80", request.host]
  host    = request.host
}
