listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "app" {
  key  = request.header["appid"]
  rate = "10/s"
}
rate_limit "app" {
  key  = request.header["appid"]
  rate = "10/s"
}
listener "web" {
  address = ":8081"
  route "all" { upstream = "one" }
}
supervisor {}
supervisor {}
