listener "my web" {
  address = ":8080"
  route "" { upstream = "one" }
}
listener {
  address = ":8081"
  route "all" { upstream = "one" }
}
upstream "one" "two" {
  servers = ["10.0.0.1:80"]
}
supervisor "main" {}
