listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "app" {
  key  = cidr_match(client.ip, ["10.0.0.0/8"]) ? client.ip : request.header["appid"]
  rate = "10/s"
}
rate_limit "status" {
  key  = response.status < 400 ? client.ip : upstream.name
  rate = "10/s"
}
