listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:443"]
  tls {
    ca     = "missing.pem"
    verify = "yes"
  }
}
upstream "two" {
  servers = ["10.0.0.1:443"]
  tls {
    ca  = "not_a_certificate.pem"
    sni = "two words"
  }
}
upstream "three" {
  servers = ["10.0.0.1:443"]
  tls { ca = "bad_certificate.pem" }
}
