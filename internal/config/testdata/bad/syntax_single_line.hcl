listener "web" {
  address = "127.0.0.1:6188"
  route "all" { upstream = "two" }
}
upstream "one" {
  servers = ["one.one.one.one:443"]
  tls { sni = "one.one.one.one" 
 }
}
