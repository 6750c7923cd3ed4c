listener "web" {
  address = ":8080"
  address = ":8081"
  timeouts = { idle = "1s", idle = "2s" }
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
