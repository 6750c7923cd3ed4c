listener "web" {
  address = ":8080"
  route "a" {
    upstream     = "one"
    timeouts     = { request = "0s", first_byte = 5, whole = "1s" }
    retry        = { attempts = 11, on = ["conect", "404", "302", "5xx"], budget = "20", more = 1 }
    strip_prefix = "/v1/"
  }
  route "b" {
    upstream     = "one"
    when         = request.scheme == "http"
    retry        = { attempts = 0, budget = "101%" }
    strip_prefix = "/v1?x"
  }
  route "c" {
    upstream     = "one"
    when         = request.scheme == "http"
    retry        = 3
    strip_prefix = "v1"
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
