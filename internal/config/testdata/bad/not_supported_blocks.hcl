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
concurrency_limit "per_ip" {
  key = client.ip
  max = 20
}
include = ["conf.d/*.hcl"]
