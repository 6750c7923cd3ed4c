listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "a" {
  key  = client.ip
  rate = "10"
}
rate_limit "b" {
  key  = client.ip
  rate = "10/d"
}
rate_limit "c" {
  key  = client.ip
  rate = "0/s"
}
rate_limit "d" {
  key  = client.ip
  rate = 10
}
