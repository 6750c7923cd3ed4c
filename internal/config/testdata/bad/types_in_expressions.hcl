listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "a" {
  key  = request.header["x"] && true ? client.ip : null
  rate = "10/s"
}
rate_limit "b" {
  key  = (client.ip == "1.2.3.4") == "true" ? client.ip : null
  rate = "10/s"
}
rate_limit "c" {
  key  = client.ip + 1
  rate = "10/s"
}
rate_limit "d" {
  key  = lower(client.ip == "a")
  rate = "10/s"
}
rate_limit "e" {
  key  = [client.ip]
  rate = "10/s"
}
rate_limit "f" {
  key  = "${null}"
  rate = "10/s"
}
rate_limit "g" {
  key  = lower()
  rate = "10/s"
}
rate_limit "h" {
  key  = starts_with(client.ip)
  rate = "10/s"
}
rate_limit "i" {
  key  = [for x in client.ip : x]
  rate = "10/s"
}
rate_limit "j" {
  key  = null
  rate = "10/s"
}
