locals {
  canary = request.header["x-canary"] == "1" ? "canary" : "onee"
  fixed  = "ones"
}
listener "web" {
  address = ":8080"
  route "a" {
    hosts    = ["a"]
    upstream = request.header["x-canary"] == "1" ? "ome" : "one"
  }
  route "b" {
    hosts    = ["b"]
    upstream = local.canary
  }
  route "c" {
    hosts    = ["c"]
    upstream = local.fixed
  }
  route "d" {
    hosts    = ["d"]
    upstream = coalesce(request.header["x-to"], "${request.method == "PUT" ? "two" : "one"}", "oen")
  }
  route "e" {
    hosts    = ["e"]
    upstream = 5
  }
  route "f" {
    hosts    = ["f"]
    upstream = null
  }
  route "g" {
    hosts    = ["g"]
    upstream = request.method == "GET"
  }
  route "h" {
    hosts    = ["h"]
    upstream = upstream.name
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
