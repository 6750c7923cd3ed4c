listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
admin {
  http = "127.0.0.1:9901"
}
include = ["conf.d/*.hcl"]
