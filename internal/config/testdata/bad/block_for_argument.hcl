listener "web" {
  address = ":8080"
  timeouts {
    header = "5s"
  }
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
