listener "web" {
  address         = ":8080"
  proxy_protocol  = { from = ["10.1.0.0/16"] }
  trusted_proxies = ["10.0.0.0/8"]
  tls {
    min_version = "1.2"
  }
  route "api" {
    hosts    = ["api.example.com"]
    redirect = "https://${request.host}/"
  }
  route "all" {
    upstream   = "one"
    rate_limit = ["per_ip"]
    request_headers {
      remove = ["x-internal"]
    }
  }
}
concurrency_limit "per_ip" {
  key = client.ip
  max = 20
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
