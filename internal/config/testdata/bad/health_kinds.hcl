locals {
  passed = response.status < 400 || request.method == "GET"
}
listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:443"]
  health "tcp" {
    path    = "/healthz"
    host    = "one.example"
    expect  = response.status == 200
    service = "one"
    initial = "unknown"
  }
}
upstream "two" {
  servers = ["10.0.0.1:443"]
  health "http" {
    path     = "healthz"
    host     = "two example"
    service  = "two"
    expect   = response.status
    interval = "1s"
    timeout  = "2s"
  }
}
upstream "three" {
  servers = ["10.0.0.1:443"]
  health "http" {
    path   = "/health check"
    expect = response.status == 200 && request.header["a"] == "b"
  }
}
upstream "four" {
  servers = ["10.0.0.1:443"]
  health "http" {
    expect = local.passed
  }
}
upstream "five" {
  servers = ["10.0.0.1:443"]
  health "http" {
    expect  = response.header["x"] == "ok" || upstream.attempts == 1
    initial = "Up"
  }
}
upstream "six" {
  servers = ["10.0.0.1:443"]
  health "grpc" {
    path    = "/"
    expect  = response.status == 200
    service = "a b"
    host    = "six.example"
  }
}
upstream "seven" {
  servers = ["10.0.0.1:443"]
  health "gprc" {
    service = "seven"
  }
}
