listener 8080 {
}
listener "web" {
  address  = { a = 1 }
  timeouts = "10s"
  limits   = { (client.ip) = 1, "headers" = "12" }
  route "all" {
    upstream   = ["one"]
    rate_limit = [1, true]
  }
}
upstream "one" {
  servers  = "10.0.0.1:80"
  policy   = 5
  protocol = "h1.1"
}
