listener "web" {
  address = ":8080"
  tls {
    min_version = "1.2"
  }
  route "all" {
    upstream = "one"
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
