listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "app" {
  key       = request.header["appid"]
  rate      = "10/s"
  algorithm = "gcra"
  burst     = 5
  headers   = "ietf"
  overrides = { "acme" = "5000/s" }
}
