listener "web" {
  address         = ":8080"
  proxy_protocol  = { fron = ["10.1.0.0/16"] }
  trusted_proxies = ["10.0.0.1/8", "10.0.0.0/33", "fe80::1%eth0", "::ffff:10.0.0.0/104", "office"]
  route "all" {
    when     = cidr_match(client.ip, ["10.0.0.0/8", "2001:db8::1/32"]) || cidr_match(client.ip, request.host)
    upstream = "one"
  }
}
listener "other" {
  address         = ":8081"
  trusted_proxies = [5]
  proxy_protocol = ["10.1.0.0/16"]
  route "all" {
    upstream = "one"
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
