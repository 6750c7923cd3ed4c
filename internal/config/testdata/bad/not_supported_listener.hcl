listener "web" {
  address = ":8080"
  tls {
    min_version = "1.2"
  }
  route "all" {
    upstream   = "one"
    rate_limit = ["per_ip"]
  }
}
concurrency_limit "per_ip" {
  key = client.ip
  max = 20
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
