supervisor {
  user = "no such/user"
  via  = "a proxy"
}
listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
