listener "web" {
  address = ":8080"
  route "all" { upstream = request.header["x-canary"] == "1" ? "canary" : "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
