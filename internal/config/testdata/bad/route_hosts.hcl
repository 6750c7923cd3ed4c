listener "web" {
  address = ":8080"
  route "a" {
    hosts    = ["example.com:8080", "https://example.com", "www.*.com", "*", "münchen.de", "1.2.3", "a..b", "", "[::1"]
    upstream = "one"
  }
  route "b" {
    hosts    = ["Example.com", "example.com.", "::1", "[0::1]", "*.example.com"]
    upstream = "one"
  }
  route "c" {
    hosts    = []
    upstream = "one"
  }
  route "d" {
    hosts    = [request.host, 5]
    upstream = "one"
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
