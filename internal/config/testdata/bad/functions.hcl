locals {
  a = ip_prefix(client.ip, 33)
  b = ip_prefix(client.ip, 24, 129)
  c = ip_prefix(client.ip, "24")
  d = ip_prefix(client.ip)
  e = hash(client.ip, 0)
  f = hash(client.ip, client.port)
  g = sample(2)
  h = sample("0.5")
  i = sample(client.port)
  j = regex_match(client.ip, "(")
  k = regex_match(client.ip, request.host)
  l = regex_match(client.ip, "(?=x)")
  m = cidr_match(client.ip)
  n = cidr_match(client.ip, "10.0.0.0/8", "x")
  o = cidr_match(sample(0.5), local.nets)
  p = hash(client.ip, 1.5)
  q = request.header["x"] < 5
  r = client.port > "5"
  s = 1 < 2 && -client.port < 1
  t = sample(-0.5)
}
listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
