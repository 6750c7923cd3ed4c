listener "web" {
  address = ":8080"
  route "all" {
    upstream   = "one"
    rate_limit = ["per_ip", "per_ap", "per_ip", "per_key"]
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "per_app" {
  key  = request.header["appid"]
  rate = "10/s"
}
concurrency_limit "per_ip" {
  key = client.ip
  max = 20
}
concurrency_limit "per_app" {
  key = request.header["appid"]
  max = 20
}
concurrency_limit "per_key" {
  key  = response.status
  max  = 0
  keys = 0
}
concurrency_limit "per_net" {
  rate = "10/s"
}
concurrency_limit {}
