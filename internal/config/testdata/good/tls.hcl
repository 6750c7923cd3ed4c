listener "web" {
  address  = ":443"
  timeouts = { handshake = "3s" }
  limits   = { streams = 50 }
  tls {
    min_version = "1.3"
    alpn        = ["http/1.1"]
    client_ca   = "ca.pem"
    client_auth = "request"
    certificate "site" {
      cert = "site.crt"
      key  = "site.key"
      ocsp = "ca.pem"
    }
  }
  route "all" {
    upstream = "h2"
    request_headers {
      set = {
        "x-client" = client.cert["subject"]
        "x-tls"    = "${tls.version} ${tls.cipher} ${tls.alpn}"
      }
    }
  }
}
listener "plain" {
  address = ":80"
  h2c     = true
  route "all" { upstream = "h2c" }
}
upstream "h2" {
  servers  = ["10.0.0.1:443"]
  protocol = "h2"
  tls {
    sni  = "site.example"
    cert = "site.crt"
    key  = "site.key"
  }
}
upstream "h2c" {
  servers  = ["10.0.0.2:80"]
  protocol = "h2c"
}
