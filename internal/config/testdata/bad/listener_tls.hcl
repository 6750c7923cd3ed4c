listener "a" {
  address  = ":8443"
  h2c      = true
  timeouts = { handshake = "5s" }
  tls {
    min_version = "1.1"
    alpn        = ["h3", "h2", "h2"]
    client_auth = "request"
    certificate "one" {
      cert = "one.crt"
      key  = "two.key"
    }
    certificate "two" {
      cert = "two.key"
      key  = "two.crt"
    }
    certificate "three" {
      cert = "one.crt"
      key  = "locked.key"
    }
    certificate "four" {
      cert = "missing.crt"
      key  = "one.key"
      ocsp = "missing.ocsp"
    }
    certificate "five" {
      cert = "one.crt"
      key  = "one.key"
      ocsp = "missing.ocsp"
    }
    certificate "six" {
      cert = "one.crt"
    }
  }
  route "all" { upstream = "h2" }
}
listener "b" {
  address  = ":8444"
  timeouts = { handshake = "5s" }
  tls {
    alpn = []
  }
  route "all" { upstream = "h2" }
}
listener "c" {
  address  = ":8445"
  timeouts = { handshake = "5s" }
  tls {
    client_ca = "one.key"
    certificate "one" {
      cert = "one.crt"
      key  = "one.key"
    }
    certificate "again" {
      cert = "one.crt"
      key  = "one.key"
    }
  }
  route "all" {
    when     = client.cert["subjekt"] == "x" || tls.versoin == "y"
    upstream = "h2"
  }
}
listener "d" {
  address  = ":8446"
  timeouts = { handshake = "5s" }
  route "all" { upstream = "h2c" }
}
upstream "h2" {
  servers  = ["10.0.0.1:80"]
  protocol = "h2"
}
upstream "h2c" {
  servers  = ["10.0.0.1:80"]
  protocol = "h2c"
  tls {
    sni  = "one.example"
    cert = "one.crt"
  }
}
upstream "h3" {
  servers  = ["10.0.0.1:80"]
  protocol = "h3"
  tls {
    sni  = "one.example"
    cert = "one.crt"
    key  = "two.key"
  }
}
