listener "web" {
  address = ":8080"
  route "all" {
    upstream   = "oen"
    rate_limit = ["apps", "app", "app"]
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "app" {
  key  = request.header["appid"]
  rate = "10/s"
}
