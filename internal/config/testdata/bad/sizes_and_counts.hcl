supervisor {
  workers = "many"
}
listener "web" {
  address = ":8080"
  limits  = { header_bytes = "32k", headers = 0, body = "-1", connections = 1.5, requests_per_conection = 3 }
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
