listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers  = ["10.0.0.1:80"]
  protocol = "h2"
  tls {
    sni  = "one.example"
    cert = "client.crt"
    key  = "client.key"
  }
}
