listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "a" {
  key  = request.heder["appid"]
  rate = "10/s"
}
rate_limit "b" {
  key  = requst.header["appid"]
  rate = "10/s"
}
rate_limit "c" {
  key  = local.office
  rate = "10/s"
}
rate_limit "d" {
  key  = lowre(client.ip)
  rate = "10/s"
}
rate_limit "e" {
  key  = request.header
  rate = "10/s"
}
rate_limit "f" {
  key  = client.ip.v4
  rate = "10/s"
}
rate_limit "g" {
  key  = request.header["two words"]
  rate = "10/s"
}
rate_limit "h" {
  key  = request.header[client.ip]
  rate = "10/s"
}
rate_limit "i" {
  key  = request
  rate = "10/s"
}
