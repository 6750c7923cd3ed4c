listener "web" {
  address = ":8080"
  route "none" { hosts = ["none"] }
  route "two" {
    hosts    = ["two"]
    upstream = "one"
    respond  = { status = 403 }
  }
  route "typo" {
    hosts    = ["typo"]
    redirec  = "https://example.com"
  }
  route "status" {
    hosts    = ["status"]
    redirect = { to = "https://example.com", status = 304 }
  }
  route "to" {
    hosts    = ["to"]
    redirect = { status = 308, too = "x" }
  }
  route "null" {
    hosts    = ["null"]
    redirect = env("PROXYD_TEST_NOT_SET")
  }
  route "injected" {
    hosts    = ["injected"]
    redirect = "https://example.com/\r\nset-cookie: a=b"
  }
  route "respond" {
    hosts   = ["respond"]
    respond = "no"
  }
  route "low" {
    hosts   = ["low"]
    respond = { status = 100 }
  }
  route "body" {
    hosts   = ["body"]
    respond = { status = 204, body = "no", type = "a\nb" }
  }
  route "effect" {
    hosts        = ["effect"]
    respond      = { body = "no" }
    retry        = { attempts = 3 }
    timeouts     = { request = "1s" }
    strip_prefix = "/v1"
    request_headers {
      remove = ["x"]
    }
  }
}
