locals {
  a = local.b
  b = local.a
  c = request.hots
  list = ["10.0.0.1:80"]
}
locals {
  c = 1
}
listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = local.list
  host    = local.list
}
