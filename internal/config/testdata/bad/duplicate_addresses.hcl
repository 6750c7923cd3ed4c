listener "web" {
  address = ["127.0.0.1:8080", "unix:/run/a.sock"]
  route "all" { upstream = "one" }
}
listener "more" {
  address = [":8080", "unix:/run//a.sock", "127.0.0.1:8081", "0.0.0.0:8081"]
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
